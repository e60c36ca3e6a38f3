"""What a compiled program sends between devices, read in its text (HLO)."""

import re
from collections import Counter
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}
BYTES |= {"f64": 8, "s64": 8, "u64": 8}
# What stands between the equals sign and the name is a type: an array's, or a tuple of them.
LINE = re.compile(rf" = (?P<type>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
ARRAY = re.compile(r"\b(?P<dtype>[a-z]+\d+|pred)\[(?P<shape>[\d,]*)\]")


class Collective(NamedTuple):
    """One collective of a program: its kind, and the bytes of its result on each device."""

    kind: str
    bytes: int

    def sent(self, devices: int) -> float:
        """The bytes that a device sends, and receives, in a ring of `devices`.

        All-gather: each of the d parts of the result passes every device but the one that it came
        from, (d - 1) / d of the result. All-reduce: a reduce-scatter and an all-gather of the
        result's d parts, twice that. These are the least for any algorithm (Patarasu & Yuan, 2009,
        for the all-reduce); trees send more for large arrays and take fewer turns.
        """
        turns = {"all-gather": 1, "all-reduce": 2}[self.kind]
        return turns * self.bytes * (devices - 1) / devices


def collectives_in(text: str) -> list[Collective]:
    """The collectives of a compiled program, in the order of its text."""
    found = []
    for match in LINE.finditer(text):
        sizes = [
            BYTES[array["dtype"]] * _product(array["shape"])
            for array in ARRAY.finditer(match["type"])
        ]
        if match["start"] and match["kind"] == "all-gather":
            sizes = sizes[len(sizes) // 2 :]  # before the results stand the operands
        found.append(Collective(match["kind"], sum(sizes)))
    return found


def kernels_in(text: str) -> Counter[str]:
    """How often each compiled kernel of Inox is called in a program."""
    return Counter(re.findall(r'custom_call_target="(inox_\w+)\.v\d+"', text))


def _product(shape: str) -> int:
    result = 1
    for size in filter(None, shape.split(",")):
        result *= int(size)
    return result
