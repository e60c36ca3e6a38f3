"""How far what two processes have written is apart."""

from collections import Counter
from pathlib import Path

import numpy as np
from records import read

KINDS = {"losses": "losses", "parameters/": "parameters", "state/": "running statistics"}


def same_bits(first: Path, second: Path) -> bool:
    """Whether two processes hold the same losses, parameters and running statistics exactly."""
    one, other = read(first)[0], read(second)[0]
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )


def largest_differences(first: Path, second: Path) -> dict[str, float]:
    """By kind of array: the largest difference, relative to the largest number of its array."""
    one, other = read(first)[0], read(second)[0]
    return {
        kind: max(
            float(np.abs(one[name] - other[name]).max() / np.abs(other[name]).max())
            for name in other
            if name.startswith(prefix)
        )
        for prefix, kind in KINDS.items()
    }


def program_line(path: Path) -> str:
    """The compiled training step in a line: kernels and collectives."""
    _, record = read(path)
    kernels = sum(record["kernels"].values())
    kinds = Counter(one["kind"] for one in record["collectives"])
    told = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "no collectives"
    return (
        f"{record['processes']} process(es), {record['devices']} device(s), {kernels} calls of "
        f"compiled kernels, {told}"
    )
