"""Torch's own samples of the normalizations, computed by ours and differentiated.

Torch keeps, for each of its operators, sample inputs for its tests. All of the ten normalizations
are here: the functions of `torch.nn.functional` and the native ones behind them, which give the
statistics as well. The reference is the operator in float64 with torch's own derivative; ours
computes float64, float32 and bfloat16 from the same numbers. The variant "without_cudnn" has the
same samples again. Local response norm and `renorm` are not among our operations.

Torch has channels first; :func:`ours` moves them, and says which of our operations with which axes
an operator is.
"""

import dataclasses
import re
from typing import Any

import expecttest  # noqa: F401 - what torch's samples need besides torch
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db

from inox.functional import batch_norm, group_norm, layer_norm, moments, rms_norm
from inox.nn import BatchNorm, Statistics, export_state
from tests.accuracy.bounds import bound
from tests.accuracy.metric import errors, ulp, worst
from tests.accuracy.oracle import Slices, normalized, widened

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

# Of torch's samples of mistakes, those that can be said to ours; the argument that the error names.
SAME_MISTAKE = {
    "Expected weight to be of same shape": "scale",
    "Expected bias to be of same shape": "bias",
    "to be divisible by num_groups": "groups",
}
# And those that can't, with the reason.
OTHER_MISTAKE = {
    "Expected normalized_shape to be at least 1-dimensional": "ours names axes, and has no shape",
    "Given normalized_shape=": "ours names axes, whose sizes are those of x",
    "Expected at least 2 dimensions": "with channels last an array of channels alone is legitimate",
}


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
        given = {**DEFAULTS, "training": not_said_is_training(self.operator), **given}
        return {name: value for name, value in given.items() if value is not ...}

    def __str__(self):
        return f"{self.operator.removeprefix('nn.functional.')}-{self.number}"


def not_said_is_training(operator):
    return operator == "_batch_norm_with_update"


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
    """What torch makes of the numbers of a dtype, in float64: results and gradients, torch's axes."""

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


def refusal(sample, named):
    """The argument that ours refuses in a sample; None where it computes it."""
    if named["eps"] < 0:
        return "epsilon"  # torch takes a negative one, and gives NaN where the variance is smaller
    if named["x"].ndim < 2 and "batch_norm" in sample.operator:
        return "axis"  # torch takes an empty array without channels
    return None


def test_all_samples_are_there():
    """The tests below would pass on an empty list."""
    counts = {name: sum(s.operator == name for s in SAMPLES) for name in OPERATORS}
    assert {name: counts[name] for name in counts if counts[name] < OPERATORS[name][0]} == {}


def measured(found, named, x, dy, scale, bias, results, expected):
    """The error of each result against the expected one, in the units of the published bounds."""
    scale, bias = (np.ones(()) if scale is None else scale), (0.0 if bias is None else bias)
    expected = {name: value.astype(np.longdouble) for name, value in expected.items()}
    if found.statistics is None:
        exact = normalized(found.slices, x, dy, scale, bias, named["eps"], centred=found.centred)
        return errors(dataclasses.replace(exact, **expected), scale, **results)
    # By given statistics nothing holds x - mean and y within a range: where they cancel, the unit is
    # that of the larger of the two, as it is in the sum of the gradient of the scale.
    mean, var = map(widened, found.statistics)
    size = (np.abs(widened(x)) + np.abs(mean)) / np.sqrt(var + named["eps"])
    terms, channels = np.abs(widened(dy)), tuple(range(x.ndim - 1))
    floors = {
        "y": np.maximum(np.abs(widened(scale)) * size, np.abs(widened(bias))),
        "dx": 0.0,
        "dscale": (terms * np.maximum(size, 1)).sum(channels),
        "dbias": terms.sum(channels),
    }
    return {
        name: worst(
            result,
            expected[name],
            ulp(np.maximum(np.abs(expected[name]), floors[name]), result.dtype),
        )
        for name, result in results.items()
    }


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_sample(sample, dtype, rng, x64):
    """Outputs and gradients keep the published bounds; in float64, where torch errs too, twice."""
    theirs = reference(sample, getattr(torch, dtype), rng)
    found = ours(sample.operator, theirs.named, jnp.dtype(dtype))
    move = last if found.channels_last else np.asarray
    x, scale, bias = (array(theirs.named[name], dtype) for name in ("x", *AFFINE))
    x, dy = jnp.asarray(move(x)), jnp.asarray(move(theirs.dy.numpy()), dtype)
    if (argument := refusal(sample, theirs.named)) is not None:
        with pytest.raises(ValueError, match=argument):
            found.function(x, scale, bias)
        return
    y, backward = jax.vjp(found.function, x, scale, bias)
    assert (y.shape, y.dtype) == (found.slices.shape, x.dtype)
    dx, dscale, dbias = backward(dy)
    results = {"y": y, "dx": dx, "dscale": dscale, "dbias": dbias}
    results = {name: np.asarray(value) for name, value in results.items() if value is not None}
    expected = {"y": move(theirs.outputs[0].detach().numpy())}
    for name, result in (("x", "dx"), ("weight", "dscale"), ("bias", "dbias")):
        if name in theirs.gradients:
            gradient = theirs.gradients[name].numpy()
            expected[result] = move(gradient) if name == "x" else gradient
    assert set(results) == set(expected)
    if not x.size:  # the gradients of parameters are sums of nothing
        for name, result in results.items():
            np.testing.assert_array_equal(widened(result), expected[name])
        return
    error = measured(found, theirs.named, x, dy, scale, bias, results, expected)
    factor = 2 if dtype == "float64" else 1
    assert {k: v for k, v in error.items() if not v <= factor * bound(k, dtype)} == {}


STATISTICS = [s for s in SAMPLES if s.operator not in INFORMATION or s.operator[:2] != "nn"]
