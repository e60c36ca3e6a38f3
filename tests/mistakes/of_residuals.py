"""Mistakes in the sum of a residual and what is added to it, in functions and layers."""

import functools

import numpy as np

from inox import functional, nn
from tests.mistakes import values
from tests.mistakes.registry import CHANNELS, SHAPE, Mistake, X, each, ones

RESIDUAL = X + 1
FUNCTIONS = {
    "add_layer_norm": lambda x, **arguments: functional.add_layer_norm(
        x, **{"residual": RESIDUAL} | arguments
    ),
    "add_rms_norm": lambda x, **arguments: functional.add_rms_norm(
        x, **{"residual": RESIDUAL} | arguments
    ),
}
SCALED = {
    name: functools.partial(function, scale=ones(CHANNELS)) for name, function in FUNCTIONS.items()
}
LAYERS = {"AddLayerNorm": nn.AddLayerNorm, "AddRMSNorm": nn.AddRMSNorm}
BUILT = {
    name: lambda _, layer=layer, **arguments: layer(**arguments) for name, layer in LAYERS.items()
}
CALLED = {
    name: lambda x, layer=layer, **arguments: layer()(x, **{"residual": RESIDUAL} | arguments)
    for name, layer in LAYERS.items()
}
OF_X = {
    name: lambda _, x, function=function: function(x, residual=RESIDUAL)
    for name, function in FUNCTIONS.items()
}

RESIDUAL_SHAPES = {
    "one row": (ones(CHANNELS), ValueError, ("(6,)", str(SHAPE), "broadcast_to")),
    "a smaller batch": (
        ones(1, 3, CHANNELS),
        ValueError,
        ("(1, 3, 6)", str(SHAPE), "broadcast_to"),
    ),
    "a larger batch": (ones(4, 3, CHANNELS), ValueError, ("(4, 3, 6)", str(SHAPE))),
}
WIDE = {"wide": (np.float64, ValueError, ("float64", "wider than float32", "x.astype"))}
SWITCHES = {
    label: (value, TypeError, (repr(value), "True or False", "bool"))
    for label, value in {"text": "yes", "number": 1, "None": None}.items()
}

MISTAKES: list[Mistake] = [
    *each(OF_X, "x", values.X_VALUES),
    *each(FUNCTIONS | CALLED, "residual", values.X_VALUES | RESIDUAL_SHAPES),
    *each(FUNCTIONS, "gate", values.SCALES | values.SCALE_SHAPES),
    *each(FUNCTIONS, "scale", values.SCALES | values.SCALE_SHAPES),
    *each(FUNCTIONS, "axis", values.AXES | values.AXES_OF_X),
    *each(FUNCTIONS | BUILT, "epsilon", values.EPSILONS),
    *each(FUNCTIONS | CALLED, "where", values.MASKS),
    *each(FUNCTIONS, "implementation", values.IMPLEMENTATIONS),
    *each(SCALED, "scale_offset", values.OFFSETS),
    *each(FUNCTIONS | BUILT, "scale_offset", values.LONE_OFFSETS),
    *each(FUNCTIONS | BUILT, "out_dtype", values.ROUNDINGS),
    *each(FUNCTIONS | BUILT, "residual_dtype", values.ROUNDINGS),
    *each(FUNCTIONS | BUILT, "normalize_rounded", SWITCHES),
    *each(FUNCTIONS, "out_dtype", WIDE),
    *each(FUNCTIONS, "residual_dtype", WIDE),
]
