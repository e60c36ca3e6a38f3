"""Torch's own samples of the normalizations, computed by ours and differentiated.

The reference is torch's operator in float64 with torch's own derivative; ours computes float64,
float32 and bfloat16 from the same numbers. `torch_samples.py` says which samples these are.
"""

import dataclasses

import expecttest  # noqa: F401 - what torch's samples need besides torch
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from inox.check.bounds import bound
from inox.functional import moments
from inox.nn import BatchNorm, Statistics, export_state
from tests.accuracy.metric import errors, ulp, worst
from tests.accuracy.oracle import normalized, reduce_to, widened
from tests.frameworks.torch_samples import (
    AFFINE,
    INFORMATION,
    OPERATORS,
    RUNNING,
    SAMPLES,
    Sample,
    array,
    last,
    ours,
    reference,
)

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
        if x.dtype == np.float64:
            # Torch's gradient of the scale is a sum of dy (x rstd - mean rstd), which rounds more
            # than dy xhat where x is large against its spread.
            size = np.abs(widened(x)) * found.slices.unrows(exact.rstd[:, None])
            terms = exact.dscale_terms + reduce_to(np.abs(widened(dy)) * size, np.shape(scale))
            exact = dataclasses.replace(exact, dscale_terms=terms)
        return errors(dataclasses.replace(exact, **expected), scale, **results)
    # By given statistics nothing holds x - mean and y within a range: where they cancel, the unit
    # is that of the larger of the two, as it is in the sum of the gradient of the scale.
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


def training_batch(sample):
    return sample.named()["training"] and "batch_norm" in sample.operator


# The native operators give the mean and the reciprocal root of the variance as well.
WITH_STATISTICS = [
    sample
    for sample in SAMPLES
    if "native" in sample.operator or "update" in sample.operator
    if sample.named()["training"] or "batch_norm" not in sample.operator
    if sample.named()["eps"] > 0 and sample.named()["x"].numel()
]


@pytest.mark.parametrize("sample", WITH_STATISTICS, ids=str)
def test_statistics(sample, rng):
    """Moments of half types and float32 are those that the native operators give in float64."""
    for dtype in ("float32", "bfloat16"):
        theirs = reference(sample, getattr(torch, dtype), rng)
        found = ours(sample.operator, theirs.named, jnp.dtype(dtype))
        x = array(theirs.named["x"], dtype)
        x = jnp.asarray(last(x)) if found.channels_last else x
        _, mean, var = moments(x.reshape(found.slices.view), found.slices.view_axis)
        expected = [output.detach().numpy().reshape(mean.shape) for output in theirs.outputs[1:3]]
        spread = 1 / expected[1]  # and a bit of epsilon, which the mean is not measured finer than
        floor = ulp(np.maximum(np.abs(expected[0]), spread), mean.dtype)
        assert worst(mean, expected[0].astype(np.longdouble), floor) <= bound("mean", dtype)
        rstd = 1 / np.sqrt(np.asarray(var) + np.float32(theirs.named["eps"]))
        # Half the error of the variance, and one each for the sum, the root and the quotient.
        most = bound("var", dtype) / 2 + 3
        assert worst(rstd, expected[1].astype(np.longdouble), ulp(expected[1], rstd.dtype)) <= most


RUNNING_SAMPLES = [
    sample
    for sample in SAMPLES
    if training_batch(sample) and sample.named()["running_mean"] is not None
    if sample.named()["x"].numel()
]


@pytest.mark.parametrize("sample", RUNNING_SAMPLES, ids=str)
def test_running_statistics(sample, rng, x64):
    """A layer's state moves as torch's running statistics do, but for the unbiased variance.

    Torch's momentum is one minus ours; one outside of [0, 1], which it takes, is refused. What its
    variance gets of a batch of n elements a channel is n / (n - 1) times ours.
    """
    before = [jnp.asarray(sample.named()[name].detach().numpy()) for name in RUNNING]
    theirs = reference(sample, torch.float64, rng)
    new, epsilon = theirs.named["momentum"], theirs.named["eps"]
    channels = theirs.named["x"].shape[1]
    if not 0 <= new <= 1:
        with pytest.raises(ValueError, match="momentum"):
            BatchNorm(channels, epsilon, 1 - new)
        return
    layer, state = export_state(BatchNorm(channels, epsilon, 1 - new))
    x = jnp.asarray(last(array(theirs.named["x"], jnp.float64)))
    _, state = layer(x, {**state, layer.stats: Statistics(*before)})
    mean, var = state[layer.stats]
    count = x.size // channels
    added = (var - (1 - new) * before[1]) / (count - 1)
    # Both average numbers of order one in float64: two products and a sum, and the moments' few.
    close = {"rtol": 16 * 2.0**-52, "atol": 16 * 2.0**-52}
    np.testing.assert_allclose(mean, theirs.named["running_mean"].numpy(), **close)
    np.testing.assert_allclose(var + added, theirs.named["running_var"].numpy(), **close)


def mistakes():
    """Torch's samples of mistakes, of the operators that have some."""
    return [
        (name, mistake)
        for name, info in INFORMATION.items()
        if info.error_inputs_func is not None
        for mistake in info.error_inputs("cpu")
    ]


def test_mistakes():
    """What torch refuses, ours refuses and names, where it is a mistake with us as well."""
    seen = set()
    for operator, mistake in mistakes():
        (kind,) = (
            words for words in (*SAME_MISTAKE, *OTHER_MISTAKE) if words in mistake.error_regex
        )
        seen.add(kind)
        if kind in SAME_MISTAKE:
            sample = mistake.sample_input
            named = Sample(operator, 0, (sample.input, *sample.args), sample.kwargs).named()
            found = ours(operator, named, jnp.float32)
            x, scale, bias = (array(named[name], jnp.float32) for name in ("x", *AFFINE))
            with pytest.raises(ValueError, match=SAME_MISTAKE[kind]):
                found.function(jnp.asarray(last(x)) if found.channels_last else x, scale, bias)
    assert seen == {*SAME_MISTAKE, *OTHER_MISTAKE}
