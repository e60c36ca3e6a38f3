"""Which implementation carries an operation out: the one place that knows them all."""

from .cpu.library import library

IMPLEMENTATIONS = ("xla", "cpu")


def check_name(implementation: str | None) -> None:
    """Raises where `implementation` is not known."""
    if implementation is None:
        return
    if not isinstance(implementation, str) or implementation not in IMPLEMENTATIONS:  # pyright: ignore[reportUnnecessaryIsInstance]
        known = ", ".join(map(repr, IMPLEMENTATIONS))
        raise ValueError(
            f"implementation must be None or one of {known}; found {implementation!r}. "
            "None picks the best one for the platform."
        )


def check_implementation(implementation: str | None) -> None:
    """Raises where `implementation` is not known, or not part of this build."""
    if implementation is None or implementation == "xla":
        return
    check_name(implementation)
    if not library().available:
        raise ValueError(
            f"implementation={implementation!r} asks for the CPU kernels, which are not in use: "
            f"{library().reason}. Use implementation=None (the best there is) or 'xla'."
        )
