"""The table and the picture of `docs/residual.md`: a residual and its norm, in one pass and in two.

`python benchmarks/residual.py` prints the table, writes it into the page and draws the picture, in
a minute or two.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.marked_part import with_part  # noqa: E402
from benchmarks.speed.cells import TIMES  # noqa: E402
from benchmarks.speed.environment import cores, restart_with_settings  # noqa: E402

if __name__ == "__main__":
    restart_with_settings()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.speed.timing import round_robin  # noqa: E402
from inox.functional import add_layer_norm, layer_norm  # noqa: E402
from inox.kernels.cpu.library import library  # noqa: E402

PAGE, PICTURE = ROOT / "docs" / "residual.md", ROOT / "docs" / "images" / "residual.png"
SIZES = ((8192, 768), (2048, 4096))
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NAMES = ("one pass", "two passes", "torch")


class Program:
    """A call, timed."""

    def __init__(self, call):
        self.call = call
        call()

    def seconds(self, calls=1):
        """The time of one call, averaged over `calls`."""
        start = time.perf_counter()
        for _ in range(calls):
            self.call()
        return (time.perf_counter() - start) / calls


def two_passes(x, residual, scale, bias):
    """The sum, then the norm of it."""
    total = residual + x
    return layer_norm(total, scale, bias), total


def forward_and_backward(function):
    """Both results, and the gradients of everything."""

    def program(x, residual, scale, bias, dy, dr):
        results, pullback = jax.vjp(function, x, residual, scale, bias)
        return results, pullback((dy, dr))

    return jax.jit(program)


def torch_programs(arrays, dtype, channels):
    """The same in PyTorch, forward, and forward and backward."""
    x, residual, dy, dr = (torch.tensor(np.asarray(a, np.float32)).to(dtype) for a in arrays)
    scale, bias = torch.ones(channels, dtype=dtype), torch.zeros(channels, dtype=dtype)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, residual, scale, bias)]

    def forward():
        with torch.no_grad():
            total = residual + x
            return torch.nn.functional.layer_norm(total, (channels,), scale, bias), total

    def both():
        total = leaves[1] + leaves[0]
        y = torch.nn.functional.layer_norm(total, (channels,), leaves[2], leaves[3])
        return torch.autograd.grad((y, total), leaves, (dy, dr))

    return forward, both


def measured(rounds):
    """`(dtype, shape, pass) -> seconds of each contestant, a list of rounds`."""
    torch.set_num_threads(cores())
    generator = np.random.default_rng(0)
    found = {}
    for name, torch_dtype in DTYPES.items():
        for shape in SIZES:
            arrays = [jnp.asarray(generator.standard_normal(shape), name) for _ in range(4)]
            parameters = jnp.ones(shape[-1]), jnp.zeros(shape[-1])
            x, residual, dy, dr = arrays
            theirs = torch_programs(arrays, torch_dtype, shape[-1])
            for index, (title, wrap, given) in enumerate((
                ("forward", jax.jit, (x, residual, *parameters)),
                ("forward + backward", forward_and_backward, (x, residual, *parameters, dy, dr)),
            )):  # fmt: skip
                ours = [wrap(function) for function in (add_layer_norm, two_passes)]
                programs = [
                    lambda program=program, given=given: jax.block_until_ready(program(*given))
                    for program in ours
                ]
                programs.append(theirs[index])
                seconds = round_robin(dict(zip(NAMES, map(Program, programs), strict=True)), rounds)
                found[name, shape, title] = seconds
    return found


def ratio(seconds, name):
    """How many times longer than in one pass, the median of the rounds' ratios."""
    pairs = zip(seconds[name], seconds["one pass"], strict=True)
    return statistics.median(other / own for other, own in pairs)


def table(found):
    """A row for each dtype, shape and pass."""
    lines = [
        "| | one pass | sum, then norm | torch |",
        "|---|---|---|---|",
    ]
    for (dtype, shape, title), seconds in found.items():
        own = 1e3 * statistics.median(seconds["one pass"])
        others = " | ".join(f"{ratio(seconds, name):.2f}{TIMES}" for name in NAMES[1:])
        label = f"{dtype}, {shape[0]} {TIMES} {shape[1]}, {title}"
        lines.append(f"| {label} | {own:.1f} ms | {others} |")
    return "\n".join(lines)


def draw(found):
    """A bar for each contestant, the time in one pass being 1."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    colours = ("#d1495b", "#edae49", "#6b705c")
    figure, panel = plt.subplots(figsize=(9, 4.2))
    labels = [f"{d}\n{s[0]} {TIMES} {s[1]}\n{t}" for d, s, t in found]
    labels = [label.replace(" + ", " +\n") for label in labels]
    for index, (name, colour) in enumerate(zip(NAMES, colours, strict=True)):
        heights = [ratio(seconds, name) for seconds in found.values()]
        places = np.arange(len(found)) + 0.27 * (index - 1)
        bars = panel.bar(places, heights, 0.25, color=colour, label=name)
        panel.bar_label(bars, fmt="%.2f", fontsize=8)
    panel.set_xticks(np.arange(len(found)), labels, fontsize=8)
    panel.set_ylabel("time, in one pass = 1")
    panel.set_title("A residual added and layer norm, on CPU")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, ncols=3, loc="upper left")
    panel.set_ylim(0, 1.25 * panel.get_ylim()[1])
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main():
    """Measures, prints, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each one runs")
    rounds = parser.parse_args().rounds
    found = measured(rounds)
    text = f"{table(found)}\n\n{cores()} cores, kernels for {library().instruction_set}."
    print(text)
    PAGE.write_text(with_part(PAGE.read_text("utf-8"), "times", text), "utf-8")
    draw(found)


if __name__ == "__main__":
    main()
