"""The variable of the environment that switches the kernels of a process off."""

import os

SWITCH = "INOX_KERNELS"
ON, OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")


def switched_off() -> str:
    """Why the kernels are not in use, or nothing."""
    switch = os.environ.get(SWITCH, "")
    return f"switched off by {SWITCH}={switch}" if switch.lower() in OFF else ""
