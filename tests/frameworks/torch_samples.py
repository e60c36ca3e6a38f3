"""Torch's own samples of the normalizations, and what they are with ours.

Torch keeps, for each of its operators, sample inputs for its tests. All of the ten normalizations
are here: the functions of `torch.nn.functional` and the native ones behind them, which give the
statistics as well. The variant "without_cudnn" has the same samples again. Local response norm and
`renorm` are not among our operations. Torch has channels first; :func:`ours` moves them, and says
which of our operations with which axes an operator is.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

from inox.functional import batch_norm, group_norm, layer_norm, rms_norm
from tests.accuracy.oracle import Slices

# For each operator the names of what follows x, in order, and fewer samples than which would mean
# that they were not found.
AFFINE = ("weight", "bias")
RUNNING = ("running_mean", "running_var")
OPERATORS = {
    "nn.functional.batch_norm": (12, (*RUNNING, *AFFINE)),
    "nn.functional.group_norm": (21, ("groups",)),
    "nn.functional.instance_norm": (9, ()),
    "nn.functional.layer_norm": (6, ("normalized_shape", *AFFINE)),
    "nn.functional.rms_norm": (6, ("normalized_shape", "weight")),
    "native_batch_norm": (10, (*AFFINE, *RUNNING, "training", "momentum", "eps")),
    "_native_batch_norm_legit": (10, (*AFFINE, *RUNNING, "training", "momentum", "eps")),
    "_batch_norm_with_update": (9, (*AFFINE, *RUNNING, "momentum", "eps")),
    "native_group_norm": (21, (*AFFINE, "samples", "channels", "size", "groups", "eps")),
    "native_layer_norm": (20, ("normalized_shape", *AFFINE, "eps")),
}
INFORMATION = {
    info.name: info for info in op_db if info.name in OPERATORS and not info.variant_test_name
}

# What torch's functions take where a sample doesn't say.
DEFAULTS: dict[str, Any] = {"weight": None, "bias": None, "eps": 1e-5, "momentum": 0.1}
DEFAULTS |= {"running_mean": None, "running_var": None}


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sample of an operator, by its place among them."""

    operator: str
    number: int
    positional: tuple[Any, ...]
    keywords: dict[str, Any]

    def named(self, positional=None, keywords=None):
        """The arguments by name, `x` the first."""
        positional = self.positional if positional is None else positional
        names = OPERATORS[self.operator][1]
        if self.operator == "_native_batch_norm_legit" and len(positional) == 6:
            names = (*AFFINE, "training", "momentum", "eps")  # the one without running statistics
        given = dict(zip(("x", *names), positional, strict=False))
        given |= self.keywords if keywords is None else keywords
        return {**DEFAULTS, "training": self.operator == "_batch_norm_with_update", **given}

    def __str__(self):
        return f"{self.operator.removeprefix('nn.functional.')}-{self.number}"


def samples():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [
            Sample(name, number, (sample.input, *sample.args), sample.kwargs)
            for name, info in INFORMATION.items()
            for number, sample in enumerate(info.sample_inputs("cpu", torch.float64))
        ]


SAMPLES = samples()


def rounded(value, dtype):
    """A tensor's numbers as the dtype has them, in float64; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().to(dtype).to(torch.float64)


def array(tensor, dtype):
    return None if tensor is None else jnp.asarray(tensor.detach().numpy(), dtype)


def last(x):
    """Channels last."""
    return x if x is None or x.ndim < 2 else np.moveaxis(x, 1, -1)


@dataclasses.dataclass(frozen=True)
class Ours:
    """An operator as ours: the layout of x, the axes, and the function of x, scale and bias."""

    slices: Slices
    channels_last: bool
    function: Any
    centred: bool = True
    statistics: Any = None


def ours(operator, named, dtype):
    """Which of our functions, over which axes, an operator with its arguments is."""
    shape, epsilon = tuple(named["x"].shape), named["eps"]
    moved = (*shape[:1], *shape[2:], *shape[1:2])
    spatial = tuple(range(1 - len(shape), -1))
    if "batch_norm" in operator:
        statistics = None
        if not named["training"]:
            kept = jnp.float64 if dtype == jnp.float64 else jnp.float32
            statistics = tuple(array(named[name], kept) for name in RUNNING)

        def function(x, scale, bias):
            return batch_norm(x, scale, bias, statistics=statistics, epsilon=epsilon)[0]

        axes = tuple(range(-len(shape), -1))
        return Ours(Slices(moved, axes), True, function, statistics=statistics)
    if "instance_norm" in operator:

        def function(x, scale, bias):
            return layer_norm(x, scale, bias, axis=spatial, epsilon=epsilon)

        return Ours(Slices(moved, spatial), True, function)
    if "group_norm" in operator:
        axes, groups = (*spatial, -1), named["groups"]

        def function(x, scale, bias):
            return group_norm(x, groups, scale, bias, axis=axes, epsilon=epsilon)

        return Ours(Slices(moved, axes, groups), True, function)
    axes = tuple(range(-len(named["normalized_shape"]), 0))
    if "rms_norm" in operator:

        def function(x, scale, bias):
            assert bias is None
            return rms_norm(x, scale, axis=axes, epsilon=epsilon)

        return Ours(Slices(shape, axes), False, function, centred=False)

    def function(x, scale, bias):
        return layer_norm(x, scale, bias, axis=axes, epsilon=epsilon)

    return Ours(Slices(shape, axes), False, function)


@dataclasses.dataclass(frozen=True)
class Reference:
    """What torch makes of the numbers of a dtype, in float64 and with channels first."""

    named: dict[str, Any]
    outputs: tuple[torch.Tensor, ...]
    dy: torch.Tensor
    gradients: dict[str, torch.Tensor]


def reference(sample, dtype, rng):
    """The operator in float64, on the numbers that the dtype has, with its derivative."""
    positional = [rounded(value, dtype) for value in sample.positional]
    keywords = {name: rounded(value, dtype) for name, value in sample.keywords.items()}
    if sample.operator == "nn.functional.rms_norm":
        # Not said, it is that of the dtype of x.
        keywords.setdefault("eps", torch.finfo(dtype).eps)
    named = sample.named(positional, keywords)
    wanted = {name: named[name] for name in ("x", *AFFINE) if named[name] is not None}
    for tensor in wanted.values():
        tensor.requires_grad_()
    outputs = INFORMATION[sample.operator].op(*positional, **keywords)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    dy = rounded(torch.tensor(rng.standard_normal(outputs[0].shape)), dtype)
    found = torch.autograd.grad(outputs[0], tuple(wanted.values()), dy)
    return Reference(named, outputs, dy, dict(zip(wanted, found, strict=True)))
