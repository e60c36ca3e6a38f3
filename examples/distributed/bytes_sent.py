"""How many bytes a device sends in a training step of each layer: by arithmetic and by compiling.

`python bytes_sent.py` compiles the layers for up to 64 virtual devices, reads the collectives in
the compiled programs, fails if they are not those of `traffic.py`, draws both, and with `--page`
puts the table into the documentation.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from collectives import Collective, collectives_in
from tabulate import tabulate
from traffic import LAYERS, Layer

DEVICES = (1, 2, 4, 8, 16, 32, 64)
FAR = (1_000, 10_000)  # by arithmetic alone
CHANNELS = 512  # of the table and the figure
# Rows of each device, and channels: as shown, with more rows, with more channels.
SIZES = ((2, CHANNELS), (4, CHANNELS), (2, 2 * CHANNELS))
START, END = "<!-- bytes: written by bytes_sent.py -->", "<!-- end of bytes -->"

Found = dict[str, list[Collective]]


def measure(devices: int) -> list[Found]:
    """The collectives of each layer's forward and backward pass, at each of `SIZES`.

    In a process of its own, as the number of virtual devices is fixed when JAX starts.
    """
    flags = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(devices)],
        env=os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return [
        {name: [Collective(*one) for one in collectives] for name, collectives in found.items()}
        for found in json.loads(done.stdout)
    ]


def compile_here(devices: int) -> list[dict[str, Any]]:
    """What `measure` asks of its process."""
    import jax
    from programs import program
    from traffic import usable

    if len(jax.devices()) < devices:
        raise RuntimeError(f"{devices} devices are needed, there are {len(jax.devices())}")
    return [
        {
            layer.name: collectives_in(program(layer, devices, rows, channels))
            for layer in LAYERS
            if usable(layer)
        }
        for rows, channels in SIZES
    ]


def by_kind(collectives: list[Collective]) -> dict[str, int]:
    """The bytes of all collectives of a kind: a compiler may join two or leave them apart."""
    total: dict[str, int] = {}
    for one in collectives:
        total[one.kind] = total.get(one.kind, 0) + one.bytes
    return total


def differences(found: Found, devices: int, channels: int) -> list[str]:
    """Where the compiled programs are not those of the arithmetic."""
    return [
        f"{name}, {devices} devices, {channels} channels: compiled {by_kind(collectives)}, "
        f"by arithmetic {by_kind(expected)}"
        for name, collectives in found.items()
        for expected in [Layer.named(name).collectives(devices, channels)]
        if by_kind(collectives) != by_kind(expected)
    ]


def told(number: float) -> str:
    """Bytes, short enough for a table."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f} B"


def table() -> str:
    """The bytes that a device sends a step, as a table of Markdown."""
    shown = (2, 8, 64, *FAR)
    head = ["layer", *(f"{n:,} devices" for n in shown)]
    rows = [[layer.name, *(told(layer.sent(n, CHANNELS)) for n in shown)] for layer in LAYERS]
    return tabulate(rows, head, tablefmt="pipe", stralign=None)


def draw(found: dict[int, Found], path: Path) -> None:
    """Bytes against devices: lines by arithmetic, dots as compiled."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = ("#7F7F7F", "#0072B2", "#D55E00", "#CC79A7")
    drawn = [layer for layer in LAYERS if layer.curve]
    devices = [n for n in (*DEVICES, 128, 256, 512, *FAR) if n > 1]
    for layer, colour in zip(drawn, colours, strict=True):
        sent = [layer.sent(n, CHANNELS) for n in devices]
        axis.plot(devices, sent, color=colour, label=layer.curve)
        dots = {n: each[layer.name] for n, each in found.items() if n > 1 and layer.name in each}
        sent = [sum(one.sent(n) for one in collectives) for n, collectives in dots.items()]
        axis.plot(list(dots), sent, "o", color=colour, markersize=4)
    axis.set(
        title=f"Forward and backward pass, {CHANNELS} channels (dots: as compiled)",
        xlabel="devices",
        ylabel="bytes a device sends",
        xscale="log",
        yscale="log",
    )
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"Figure: {path}")


def main() -> int:
    """Measures, compares, prints. Returns 1 where arithmetic and programs differ, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument(
        "--devices", type=int, nargs="+", default=DEVICES, help="numbers to compile for"
    )
    parser.add_argument("--figure", type=Path, default=Path("out/distributed/bytes.png"))
    parser.add_argument("--page", type=Path, help="a Markdown file to put the table into")
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(compile_here(chosen.measure)))
        return 0
    found, wrong = {}, []
    for devices in chosen.devices:
        compiled = measure(devices)
        for (_, channels), each in zip(SIZES, compiled, strict=True):
            wrong += differences(each, devices, channels)
        found[devices] = compiled[0]
        print(f"{devices:3} devices: {len(SIZES)} sizes of {len(compiled[0])} layers", flush=True)
    print("\n" + table() + "\n")
    draw(found, chosen.figure)
    if chosen.page:
        text = chosen.page.read_text(encoding="utf-8")
        before, rest = text.split(START)
        _, after = rest.split(END)
        text = f"{before}{START}\n{table()}\n{END}{after}"
        chosen.page.write_text(text, encoding="utf-8")
    print("\n".join(wrong) or "Arithmetic and compiled programs agree.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
