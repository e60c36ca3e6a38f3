"""Results of a benchmark as a file of them holds it, on numbers made up for the purpose."""


def results(sections):
    """Those of one machine, with these sections."""
    return {
        "date": "2026-01-02",
        "quick": False,
        "machine": {"platform": "cpu", "cores": 2, "processor": {"name": "a processor"}},
        "versions": {"jax": "1.2"},
        "missing": [],
        "sections": sections,
    }
