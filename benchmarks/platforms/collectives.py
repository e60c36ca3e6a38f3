"""What devices say to each other in a program that several run together."""

from collections.abc import Iterator
from dataclasses import dataclass

from .kernels import moved
from .program import Program

KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)


@dataclass(frozen=True)
class Collective:
    """One exchange: its kind, and the bytes of the result that each device holds after it."""

    kind: str
    bytes: int
    times: int = 1


def _within(program: Program, computation: str, times: int) -> Iterator[Collective]:
    lines = program.computations.get(computation, [])
    types = {line.name: line.types for line in lines}
    for line in lines:
        kind = line.opcode.removesuffix("-start")
        if kind in KINDS:
            results = moved(program, line, types)[1]
            yield Collective(kind, sum(array.unpadded for array in results), times)
        # A compiler may put an exchange into a fusion, or run it beside other work.
        trips = 1 if line.trips is None else line.trips
        for name in line.called():
            yield from _within(program, name, times * trips)


def collectives(program: Program) -> list[Collective]:
    """All of them. What the compiler put together, several arrays in one exchange, is one."""
    return list(_within(program, program.entry, 1))


def counted(program: Program) -> dict[str, int]:
    """How many there are, and the bytes of all."""
    found = collectives(program)
    return {
        "collectives": sum(one.times for one in found),
        "bytes": sum(one.times * one.bytes for one in found),
    }
