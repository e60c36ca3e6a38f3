"""The tables of `docs/presets.md`: how close the presets are to published formulas, and their cost.

`python -m benchmarks.presets` prints them and writes them into the page, in a minute or two.
"""

import argparse
import functools
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.markdown_table import markdown_table
from benchmarks.marked_part import with_part
from benchmarks.speed.environment import cores, restart_with_settings
from benchmarks.speed.timing import round_robin
from inox.functional import rms_norm
from inox.kernels.cpu.library import library

PAGE = Path(__file__).resolve().parents[1] / "docs" / "presets.md"
BF16 = jnp.bfloat16
ROWS, CHANNELS = 2048, 2048
SIZES = ((4096, 768), (512, 4096))


# ---- the published formulas, as they stand, in jax.numpy


def hat(x):
    """The normalized x in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def llama(x, w):
    """Rounded to the dtype of x before the weight."""
    return (w * hat(x).astype(x.dtype)).astype(x.dtype)


def gemma(x, w):
    """1 + weight in float32, rounded once."""
    return (hat(x) * (1.0 + w.astype(jnp.float32))).astype(x.dtype)


def olmo2(x, w):
    """float32 until the end."""
    return (w.astype(jnp.float32) * hat(x)).astype(x.dtype)


def t5x(x, w):
    """Normalized x and weight rounded to the dtype of x."""
    return hat(x).astype(x.dtype) * w.astype(x.dtype)


def plain(x, w):
    """No argument beside the scale."""
    return rms_norm(x, w)


def rounded(x, w):
    """Llama, Mistral, Qwen, and T5 with weights in the dtype of x."""
    return rms_norm(x, w, normalized_dtype=x.dtype)


def offset(x, w):
    """Gemma."""
    return rms_norm(x, w, scale_offset=1.0)


def rounded_offset(x, w):
    """Both at once."""
    return rms_norm(x, w, scale_offset=1.0, normalized_dtype=x.dtype)


def folded(x, w):
    """1 + w computed in the dtype of w."""
    return rms_norm(x, w + 1)


def rounded_both(x, w):
    """T5X and MaxText."""
    return rms_norm(x, w.astype(x.dtype), normalized_dtype=x.dtype)


# The family, its formula, the dtype of its scale, the right preset, and wrong ones by name.
FAMILIES = (
    ("Llama", llama, BF16, rounded, {"no `normalized_dtype`": plain}),
    ("T5, bfloat16 weights", llama, BF16, rounded, {"no `normalized_dtype`": plain}),
    (
        "T5X, MaxText",
        t5x,
        jnp.float32,
        rounded_both,
        {
            "no `normalized_dtype`": plain,
            "scale not converted": rounded,
        },
    ),
    (
        "Gemma",
        gemma,
        BF16,
        offset,
        {
            "Llama's rounding": rounded_offset,
            "1 + w in bfloat16": folded,
        },
    ),
    ("OLMo 2, gpt-oss", olmo2, BF16, plain, {"Llama's rounding": rounded}),
)


def same_bits(one, other):
    """The share of elements in which two arrays are equal."""
    return float(np.mean(np.asarray(one) == np.asarray(other)))


def per_cent(share):
    """A share, as the table has it."""
    return f"{100 * share:.2f} %"


def agreement():
    """A row for each family: the share of elements with the formula's bits."""
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(ROWS, CHANNELS)), BF16)
    rows = []
    for name, formula, dtype, right, wrong in FAMILIES:
        w = jnp.asarray(generator.normal(0 if formula is gemma else 1, 0.3, CHANNELS), dtype)
        published = formula(x, w)  # outside of `jit`: one rounding after another
        others = "; ".join(
            f"{label}: {per_cent(same_bits(jax.jit(call)(x, w), published))}"
            for label, call in wrong.items()
        )
        rows.append([name, per_cent(same_bits(jax.jit(right)(x, w), published)), others])
    head = ["formula", "right preset: same bits", "wrong preset: same bits"]
    return markdown_table(head, rows)


class Program:
    """A compiled call, timed."""

    def __init__(self, call, *operands):
        self.call, self.operands = jax.jit(call), operands
        jax.block_until_ready(self.call(*operands))

    def seconds(self, calls=1):
        """The time of one call, averaged over `calls`."""
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(self.call(*self.operands))
        return (time.perf_counter() - start) / calls


def trained(call, x, w, dy):
    """y and both gradients."""
    y, pullback = jax.vjp(call, x, w)
    return y, pullback(dy)


CALLS = {
    "plain": plain,
    "scale_offset": offset,
    "normalized_dtype": lambda x, w: rms_norm(x, w, normalized_dtype=BF16),
    "both": lambda x, w: rms_norm(x, w, scale_offset=1.0, normalized_dtype=BF16),
    "Llama's formula, XLA": llama,
    "Gemma's formula, XLA": gemma,
}


def cost(rounds):
    """Times of every preset over that of the plain norm, forward and with both gradients."""
    names = [name for name in CALLS if name != "plain"]
    rows = []
    generator = np.random.default_rng(0)
    for dtype in (BF16, jnp.float32):
        for shape in SIZES:
            x, dy = (jnp.asarray(generator.normal(size=shape), dtype) for _ in range(2))
            w = jnp.asarray(generator.normal(1, 0.3, shape[-1]), jnp.float32)
            for which in ("forward", "and backward"):
                programs = {
                    name: Program(call, x, w)
                    if which == "forward"
                    else Program(functools.partial(trained, call), x, w, dy)
                    for name, call in CALLS.items()
                }
                seconds = round_robin(programs, rounds, calls=3)
                ratios = [
                    statistics.median(
                        a / b for a, b in zip(seconds[name], seconds["plain"], strict=True)
                    )
                    for name in names
                ]
                rows.append(
                    [
                        f"{jnp.dtype(dtype).name} {shape}",
                        which,
                        f"{1e3 * statistics.median(seconds['plain']):.2f} ms",
                        *(f"{ratio:.2f}" for ratio in ratios),
                    ]
                )
    return markdown_table(["x", "pass", "plain", *names], rows)


def main():
    """Measures, prints, and writes the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.presets", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    close, slow = agreement(), cost(rounds)
    where = (
        f"jax {jax.__version__}, kernels for {library().instruction_set or 'none'}, "
        f"{cores()} cores, medians of {rounds} rounds:"
    )
    print(f"{close}\n\n{where}\n\n{slow}")
    if PAGE.exists():
        page = PAGE.read_text(encoding="utf-8")
        page = with_part(page, "agreement", f"\n{close}\n")
        PAGE.write_text(with_part(page, "cost", f"{where}\n\n{slow}\n"), encoding="utf-8")


if __name__ == "__main__":
    restart_with_settings()
    main()
