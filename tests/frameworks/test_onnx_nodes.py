"""ONNX's node tests of the normalizations, computed by ours.

ONNX publishes cases for each of its operators: inputs, attributes, and the outputs that NumPy gives
in float32. The 46 of its five normalization operators and the one of MeanVarianceNormalization are
all here, made by the installed `onnx` itself. What it calls "expanded" are the same numbers again,
for another graph. LpNormalization (six cases) divides by a sum of powers, not by a mean: it is not
one of our operations. StringNormalizer is about text.

ONNX has channels first; the functions below move them, and say which of our operations with which
axes an operator is.
"""

import importlib
import pkgutil
from collections import Counter

import jax.numpy as jnp
import numpy as np
import onnx
import onnx.backend.test.case.node as onnx_nodes
import pytest

from inox.functional import batch_norm, group_norm, layer_norm, moments, rms_norm, standardize
from inox.nn import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
    Statistics,
    export_state,
)
from tests.accuracy.metric import ulp

# Fewer than these would mean that ONNX's cases were not found.
LEAST = {
    "BatchNormalization": 4,
    "GroupNormalization": 2,
    "InstanceNormalization": 2,
    "LayerNormalization": 19,
    "MeanVarianceNormalization": 1,
    "RMSNormalization": 19,
}
# In the unit of the published bounds, that of the larger of y and the scale. Ours: the 5 that are
# published. Theirs: 6, for a standardized number of up to 3 is half an ulp off for the deviation,
# for the root, for its reciprocal and for the product each, and the mean and variance add as much.
# Measured are 3, of kernels and formulas alike.
MOST_ULP = 11
# Their variance is E[x²] - E[x]². The case's E[x²] is about 4 times the variance, so the 4 ulp that
# both terms err by are up to 16 of the variance, of which half arrives in the root.
MOST_ULP_OF_ONE_PASS = 20


def cases():
    """ONNX's cases of the operators above, each once."""
    drawn = np.random.get_state()  # noqa: NPY002 - theirs seed the global generator
    with np.errstate(all="ignore"):  # one of LpNormalization divides 0 by 0
        for module in pkgutil.iter_modules(onnx_nodes.__path__, f"{onnx_nodes.__name__}."):
            if "norm" in module.name.split(".")[-1]:
                importlib.import_module(module.name)  # which makes its cases
    np.random.set_state(drawn)  # noqa: NPY002 (likewise)
    found = {case.name: case for case in onnx_nodes._NodeTestCases}
    return [
        case
        for case in found.values()
        if operator(case) in LEAST and not case.name.partition("_expanded")[1]
    ]


def operator(case):
    return case.model.graph.node[0].op_type


def attributes(case):
    """What the node sets, with ONNX's defaults for the rest."""
    node = case.model.graph.node[0]
    schema = onnx.defs.get_schema(node.op_type, case.model.opset_import[0].version)
    defaults = {
        name: onnx.helper.get_attribute_value(attribute.default_value)
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name
    }
    given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    return {**defaults, **given}


CASES = cases()


def name_of(case):
    return case.name.removeprefix("test_")


def last(x):
    """Channels last."""
    return jnp.moveaxis(x, 1, -1)


def first(y):
    """Channels first."""
    return jnp.moveaxis(y, -1, 1)


def normalized_axes(x, axis):
    """ONNX names the first of the axes that are normalized."""
    return tuple(range(axis - x.ndim if axis >= 0 else axis, 0))


def batch_normalization(settings, x, scale, bias, mean, var):
    keywords = {name: settings[name] for name in ("epsilon", "implementation")}
    if not settings["training_mode"]:
        y, _ = batch_norm(last(x), scale, bias, statistics=(mean, var), **keywords)
        return [first(y)]
    y, batch = batch_norm(last(x), scale, bias, **keywords)
    momentum = jnp.float32(settings["momentum"])
    old_and_new = zip((mean, var), (batch.mean, batch.var), strict=True)
    return [first(y), *(momentum * old + (1 - momentum) * new for old, new in old_and_new)]


def batch_normalization_layer(settings, x, scale, bias, mean, var):
    keywords = {name: settings[name] for name in ("epsilon", "momentum", "implementation")}
    layer, state = export_state(BatchNorm(x.shape[1], scale=scale, bias=bias, **keywords))
    state = {**state, layer.stats: Statistics(mean, var)}
    training = bool(settings["training_mode"])
    y, state = layer(last(x), state, training=training)
    return [first(y), *state[layer.stats]] if training else [first(y)]


def group_keywords(settings, x):
    names = ("epsilon", "implementation")
    return {"axis": tuple(range(1 - x.ndim, 0)), **{name: settings[name] for name in names}}


def group_normalization(settings, x, scale, bias):
    keywords = group_keywords(settings, x)
    return [first(group_norm(last(x), settings["num_groups"], scale, bias, **keywords))]


def group_normalization_layer(settings, x, scale, bias):
    keywords = group_keywords(settings, x)
    layer = GroupNorm(settings["num_groups"], scale=scale, bias=bias, **keywords)
    return [first(layer(last(x)))]


def instance_keywords(settings, x):
    names = ("epsilon", "implementation")
    return {"axis": tuple(range(1 - x.ndim, -1)), **{name: settings[name] for name in names}}


def instance_normalization(settings, x, scale, bias):
    return [first(layer_norm(last(x), scale, bias, **instance_keywords(settings, x)))]


def instance_normalization_layer(settings, x, scale, bias):
    layer = InstanceNorm(scale=scale, bias=bias, **instance_keywords(settings, x))
    return [first(layer(last(x)))]


def row_keywords(settings, x):
    """ONNX names the first of the axes that are normalized."""
    axis, names = settings["axis"], ("epsilon", "implementation")
    axes = tuple(range(axis - x.ndim if axis >= 0 else axis, 0))
    return {"axis": axes, **{name: settings[name] for name in names}}


def layer_normalization(settings, x, scale, bias):
    keywords = row_keywords(settings, x)
    y = layer_norm(x, scale, bias, **keywords)
    epsilon = keywords.pop("epsilon")
    _, mean, var = moments(x, keepdims=True, **keywords)
    return [y, mean, 1 / jnp.sqrt(var + epsilon)]


def layer_normalization_layer(settings, x, scale, bias):
    return [LayerNorm(scale=scale, bias=bias, **row_keywords(settings, x))(x)]


def rms_normalization(settings, x, scale):
    return [rms_norm(x, scale, **row_keywords(settings, x))]


def rms_normalization_layer(settings, x, scale):
    return [RMSNorm(scale=scale, **row_keywords(settings, x))(x)]


def mean_variance_normalization(settings, x):
    """ONNX adds 1e-9 to the standard deviation: next to one of 0.3 that is 0.06 ulp."""
    implementation = settings["implementation"]
    return [standardize(x, tuple(settings["axes"]), 0.0, implementation=implementation)]


OURS = {
    "BatchNormalization": (batch_normalization, batch_normalization_layer),
    "GroupNormalization": (group_normalization, group_normalization_layer),
    "InstanceNormalization": (instance_normalization, instance_normalization_layer),
    "LayerNormalization": (layer_normalization, layer_normalization_layer),
    "MeanVarianceNormalization": (mean_variance_normalization,),
    "RMSNormalization": (rms_normalization, rms_normalization_layer),
}


def worst(actual, expected, floor):
    """The largest difference, in ulp of the larger of the expected number and the floor."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float32
    unit = ulp(np.maximum(np.abs(expected), np.broadcast_to(floor, expected.shape)), actual.dtype)
    return float(np.max(np.abs(actual.astype(np.longdouble) - expected) / unit))


def scale_of(case, inputs):
    """The size of the scale at each element of y: what y is measured by where it cancels."""
    if len(inputs) == 1:
        return 1.0
    scale = np.abs(inputs[1])
    if operator(case) in ("LayerNormalization", "RMSNormalization"):
        return scale
    return scale.reshape(-1, *(1,) * (inputs[0].ndim - 2))


def test_all_cases_are_there():
    """The tests below would pass on an empty list; and all 46 normalizations are among them."""
    counts = Counter(map(operator, CASES))
    assert {name: counts[name] for name in LEAST if counts[name] < LEAST[name]} == {}
    assert sum(counts.values()) - counts["MeanVarianceNormalization"] >= 46
    assert set(OURS) == set(LEAST)


@pytest.mark.parametrize("implementation", [None, "xla"], ids=["best", "formulas"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_node(case, implementation):
    """Functions and layers give ONNX's outputs, those of running statistics included."""
    settings = {**attributes(case), "implementation": implementation}
    most = MOST_ULP_OF_ONE_PASS if operator(case) == "MeanVarianceNormalization" else MOST_ULP
    ((inputs, outputs),) = case.data_sets
    x = inputs[0]
    spread = np.std(x.astype(np.float64))
    function, *layers = OURS[operator(case)]
    results = function(settings, *map(jnp.asarray, inputs))
    assert len(results) == len(outputs)
    # A layer may keep to itself what a function gives: a mean and a reciprocal root.
    for found in (results, *(layer(settings, *map(jnp.asarray, inputs)) for layer in layers)):
        assert worst(found[0], outputs[0], scale_of(case, inputs)) <= most
        # What else there is: a mean, measured by the spread where it is small, and a variance or
        # its reciprocal root.
        for actual, expected, floor in zip(found[1:], outputs[1:], (spread, 0.0), strict=False):
            assert worst(actual, expected, floor) <= most
