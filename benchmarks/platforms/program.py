"""The text of an optimised program (HLO), as instructions with the arrays they read and write."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

# A line for each kind of number: more would hide what is missing.
BITS = {
    "pred": 8, "token": 0, "opaque": 0,
    "s2": 2, "s4": 4, "s8": 8, "s16": 16, "s32": 32, "s64": 64,
    "u2": 2, "u4": 4, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
    "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128,
    "f8e3m4": 8, "f8e4m3": 8, "f8e4m3fn": 8, "f8e4m3fnuz": 8, "f8e4m3b11fnuz": 8,
    "f8e5m2": 8, "f8e5m2fnuz": 8, "f8e8m0fnu": 8, "f4e2m1fn": 4,
}  # fmt: skip


class Array(NamedTuple):
    """A type of an instruction: `f32[90112,768]{1,0:T(8,128)S(1)}`.

    Braces: the axes from the innermost on, the tile that the innermost ones are padded to, and the
    memory space, 0 for the device's main memory.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    space: int = 0

    @property
    def size(self) -> int:
        """The number of elements, without padding."""
        return math.prod(self.shape)

    @property
    def unpadded(self) -> int:
        """Bytes of the elements alone, as they cross a link between devices."""
        return self.size * BITS[self.dtype] // 8


ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([0-9,]*)\](?:\{([^{}]*)\})?")
TILE, SPACE = re.compile(r"T\(([0-9,]+)\)"), re.compile(r"S\((\d+)\)")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _padded(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The sizes from the innermost axis on, up to the next multiple of the tile."""
    order = _numbers(layout.partition(":")[0]) or tuple(reversed(range(len(shape))))
    sizes = [shape[axis] for axis in order]
    tile = TILE.search(layout)
    if tile is None or not sizes:
        return tuple(sizes)
    for place, length in enumerate(reversed(_numbers(tile[1]))):
        if place < len(sizes):
            sizes[place] = -(-sizes[place] // length) * length
    return tuple(sizes)


def arrays(text: str) -> list[Array]:
    """The arrays in a type: one, or those of a tuple."""
    found = []
    for dtype, sizes, layout in ARRAY.findall(text):
        if dtype not in BITS:
            continue
        shape, space = _numbers(sizes), SPACE.search(layout)
        held = math.prod(_padded(shape, layout)) * BITS[dtype] // 8
        found.append(Array(dtype, shape, held, int(space[1]) if space else 0))
    return found


@dataclass(frozen=True)
class Instruction:
    """A line: `%name = types opcode(%operand, ...), attributes`."""

    name: str
    types: list[Array]
    opcode: str
    operands: list[str]
    inside: str
    attributes: str

    def called(self) -> list[str]:
        """The computations it names, in the order of the text."""
        found = re.findall(
            r"(?:calls|body|to_apply|true_computation|false_computation|branch_computations)="
            r"(\{[^}]*\}|%[\w.\-]+)",
            self.attributes,
        )
        return [name for group in found for name in re.findall(r"%([\w.\-]+)", group)]

    @property
    def trips(self) -> int | None:
        """How often a loop runs, and once for what is none; None where that is up to the data."""
        told = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', self.attributes)
        if told:
            return int(told[1])
        return None if self.opcode == "while" else 1


@dataclass
class Program:
    """The computations by name, and which one starts."""

    computations: dict[str, list[Instruction]] = field(default_factory=dict)
    entry: str = ""

    def instructions(self) -> Iterator[Instruction]:
        """All, whichever computation they are in."""
        for lines in self.computations.values():
            yield from lines


HEADING = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")


def _closing(text: str, start: int) -> int:
    """The place of the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"a parenthesis isn't closed in the program's line {text!r}")


def _instruction(name: str, text: str) -> Instruction | None:
    if text.startswith("("):
        end = _closing(text, 0) + 1
        types, rest = text[:end], text[end:].lstrip()
    else:
        types, _, rest = text.partition(" ")
    opcode = re.match(r"([\w\-]+)\(", rest)
    if opcode is None:
        return None
    end = _closing(rest, opcode.end() - 1)
    inside = rest[opcode.end() : end]
    operands = re.findall(r"%([\w.\-]+)", inside)
    return Instruction(name, arrays(types), opcode[1], operands, inside, rest[end + 1 :])


def read(text: str) -> Program:
    """The program of a text, as `compiled.as_text()` gives it."""
    program, lines = Program(), None
    for line in text.splitlines():
        if heading := HEADING.match(line):
            lines = program.computations[heading[2]] = []
            program.entry = heading[2] if heading[1] else program.entry
        elif line.startswith("}"):
            lines = None
        elif lines is not None and (found := LINE.match(line)):
            instruction = _instruction(*found.groups())
            if instruction is not None:
                lines.append(instruction)
    if not program.entry:
        raise ValueError("the text is no optimised program: no computation is marked ENTRY")
    return program
