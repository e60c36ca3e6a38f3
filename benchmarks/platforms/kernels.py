"""The kernels of a program: what the device starts one after the other, and the bytes they move.

A kernel is an instruction of the computation that starts, or of a loop or a call in it. Inside a
fusion nothing reaches the memory. Counted are operands and results in the device's main memory,
each once: a kernel that reads an array twice over, with the second reading from a cache or not, is
not told from one that reads it once. Of a choice made while the program runs the branch that moves
least is counted, and of a loop whose number of rounds is up to the data no round: the others are
for data that are rare. Instructions on single numbers are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .program import Array, Instruction, Program

# What moves nothing: names, views and numbers known when the program was compiled.
WITHOUT_KERNEL = {
    "parameter",
    "constant",
    "bitcast",
    "tuple",
    "get-tuple-element",
    "after-all",
    "add-dependency",
    "opt-barrier",
    "partition-id",
    "replica-id",
}
ENTERED = ("while", "call", "conditional", "async-start")
SLICES = ("slice", "dynamic-slice")
# Custom calls by which the compiler for TPU names memory.
NAMES_OF_MEMORY = re.compile(r'custom_call_target="(ConcatBitcast|AllocateBuffer)"')
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclass(frozen=True)
class Kernel:
    """What one reads and writes, and how often it runs."""

    name: str
    opcode: str
    reads: list[Array]
    writes: list[Array]
    cycles: int
    times: int = 1

    @property
    def bytes(self) -> int:
        """Through main memory, whenever it runs."""
        return self.times * sum(a.bytes for a in self.reads + self.writes if a.space == 0)

    @property
    def is_prefetch(self) -> bool:
        """Whether it only moves an array, beside other kernels, to or from on-chip memory."""
        return self.opcode in ("copy-start", "slice-start")


def _sliced(program: Program, fusion: Instruction) -> dict[int, list[Array]]:
    """The operands of a fusion that are read in slices alone, and the slices."""
    found: dict[int, list[Array]] = {}
    for name in fusion.called()[:1]:
        lines = program.computations.get(name, [])
        for line in lines:
            if line.opcode != "parameter":
                continue
            users = _users(lines, line.name)
            if users and all(user.opcode in SLICES for user in users):
                found[int(line.inside)] = [array for user in users for array in user.types]
    return found


def _users(lines: list[Instruction], name: str) -> list[Instruction]:
    """What reads the elements of an array, under that name or another."""
    users: list[Instruction] = []
    for line in lines:
        if name in line.operands:
            users += _users(lines, line.name) if line.opcode == "bitcast" else [line]
    return users


def moved(
    program: Program, line: Instruction, types: dict[str, list[Array]]
) -> tuple[list[Array], list[Array]]:
    """What an instruction reads and writes."""
    operands = [types.get(name, []) for name in line.operands]
    reads = [array for of_one in operands for array in of_one]
    if line.opcode == "copy-start":
        return reads, line.types[:1]
    if line.opcode == "slice-start":  # types: operand, result, state
        result = line.types[len(reads) : len(reads) + 1]
        return [array._replace(space=reads[0].space) for array in result], result
    if line.opcode.endswith("-start"):
        return reads, line.types[len(reads) :] if len(line.types) > len(reads) else line.types
    if line.opcode in SLICES:
        space = reads[0].space if reads else 0
        return [array._replace(space=space) for array in line.types], line.types
    if line.opcode == "fusion":
        sliced = _sliced(program, line)
        # A slice has no layout of its own in memory; the whole is never less than it.
        reads = [
            array
            for place, of_one in enumerate(operands)
            for array in (
                [part._replace(space=of_one[0].space) for part in sliced[place]]
                if place in sliced and sum(p.bytes for p in sliced[place]) < of_one[0].bytes
                else of_one
            )
        ]
    return reads, line.types


def _kernels(program: Program, computation: str, times: int) -> Iterator[Kernel]:
    lines = program.computations[computation]
    types = {line.name: line.types for line in lines}
    for line in lines:
        if line.opcode in WITHOUT_KERNEL or line.opcode.endswith(("-done", "-update")):
            continue
        if line.opcode in ENTERED:
            if line.trips is None:
                continue
            called = [name for name in line.called() if name in program.computations]
            entered = [list(_kernels(program, name, times * line.trips)) for name in called]
            if line.opcode == "conditional":
                entered = [min(entered, key=lambda branch: sum(kernel.bytes for kernel in branch))]
            for branch in entered:
                yield from branch
            continue
        if line.opcode == "custom-call" and NAMES_OF_MEMORY.search(line.attributes):
            continue
        reads, writes = moved(program, line, types)
        if all(array.size <= 1 for array in reads + writes):
            continue
        cycles = CYCLES.search(line.attributes)
        told = int(cycles[1]) if cycles else 0
        yield Kernel(line.name, line.opcode, reads, writes, told, times)


def kernels(program: Program) -> list[Kernel]:
    """All of them, in the order of the program."""
    return list(_kernels(program, program.entry, 1))
