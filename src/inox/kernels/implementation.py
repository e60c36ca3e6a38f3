"""Which implementation carries an operation out: the one place that knows them all."""

IMPLEMENTATIONS = ("xla", "cpu")


def check_implementation(implementation: str | None) -> None:
    """Raises where `implementation` is not known, or not part of this build."""
    if implementation is None or implementation == "xla":
        return
    if implementation not in IMPLEMENTATIONS:
        known = ", ".join(map(repr, IMPLEMENTATIONS))
        raise ValueError(
            f"implementation must be None or one of {known}; found {implementation!r}. "
            "None picks the best one for the platform."
        )
    raise ValueError(
        f"implementation={implementation!r} asks for the {implementation.upper()} kernels, which "
        "are not part of this build. Use implementation=None (the best there is) or 'xla'."
    )
