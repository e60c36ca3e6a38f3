"""Every norm with a kernel, as one function of arrays; what its compiled programs hold."""

import re
from collections import Counter

import jax
import numpy as np

from inox import functional

CHANNELS = 64
# (x, scale, bias, implementation) -> y
NORMS = {
    "layer": lambda x, s, b, i: functional.layer_norm(x, s, b, implementation=i),
    "rms": lambda x, s, b, i: (
        functional.rms_norm(x, s, implementation=i) + (0 * b[None]).astype(x.dtype)
    ),
    "group": lambda x, s, b, i: functional.group_norm(x, 4, s, b, implementation=i),
    "batch": lambda x, s, b, i: functional.batch_norm(x, s, b, implementation=i)[0],
}
# (x, implementation) -> y, for four-dimensional x: one way each to view an array as slices
VIEWS = {
    "layer norm": lambda x, i: functional.layer_norm(x, implementation=i),
    "layer norm, over everything": lambda x, i: functional.layer_norm(
        x, axis=(0, 1, 2, 3), implementation=i
    ),
    "layer norm, first axis": lambda x, i: functional.layer_norm(x, axis=0, implementation=i),
    "rms norm, middle axes": lambda x, i: functional.rms_norm(x, axis=(1, 2), implementation=i),
    "group norm, per position": lambda x, i: functional.group_norm(x, 2, implementation=i),
    "group norm, over the image": lambda x, i: functional.group_norm(
        x, 2, axis=(-3, -2, -1), implementation=i
    ),
    "instance norm": lambda x, i: functional.layer_norm(x, axis=(-3, -2), implementation=i),
    "batch norm": lambda x, i: functional.batch_norm(x, implementation=i)[0],
}


def arrays(rows=32, seed=0):
    """x, dy, scale and bias."""
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, rows, CHANNELS)).astype(np.float32)
    scale, bias = rng.uniform(0.5, 2, (2, CHANNELS)).astype(np.float32)
    return 3 + 2 * x, dy, scale, bias


def forward(norm, implementation=None):
    return lambda x, dy, scale, bias: norm(x, scale, bias, implementation)


def both(norm, implementation=None):
    """Forward and backward."""

    def run(x, dy, scale, bias):
        y, pull = jax.vjp(lambda *a: norm(*a, implementation), x, scale, bias)
        return y, pull(dy)

    return run


def kernels_in(text):
    """How often each kernel is called in a program's text."""
    return Counter(re.findall(r'custom_call_target="(inox_\w+)\.v\d+"', text))


def collectives_in(text):
    """How often each collective occurs in a compiled program.

    Whatever stands between the equals sign and the name is a type, which may be a tuple with
    spaces in it.
    """
    names = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
    return Counter(re.findall(rf" = .*? ({names})(?:-start)?\(", text))
