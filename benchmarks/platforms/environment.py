"""What the compilers read when they start, and what is installed of them."""

import importlib.util
import os
import warnings

HOST_DEVICES = 8
VARIABLES = {
    # What is computed, which is next to nothing, is computed here.
    "JAX_PLATFORMS": "cpu",
    # The compiler for TPU looks for the machine that it is part of, and for its chips. There is
    # none: these tell it not to ask, and what to assume.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    # Two processes that compile don't share a chip.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # That no driver is found is no news.
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# The distributions that make the programs what they are.
DISTRIBUTIONS = (
    "jax",
    "jaxlib",
    "libtpu",
    "jax-cuda12-plugin",
    "jax-cuda12-pjrt",
    "nvidia-cuda-nvcc-cu12",
    "flax",
    "equinox",
)


def set_variables() -> None:
    """Before the first import of jax. What the caller set stays."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        several = f"--xla_force_host_platform_device_count={HOST_DEVICES}"
        os.environ["XLA_FLAGS"] = f"{flags} {several}".strip()
    # The kernels of the CPU aren't built for this environment: `make bench` measures them.
    warnings.filterwarnings("ignore", "The CPU kernels of Inox", RuntimeWarning)


def missing(modules: tuple[str, ...]) -> list[str]:
    """Those that are not installed."""
    return [name for name in modules if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # nor is the package that it would be in
        return False
