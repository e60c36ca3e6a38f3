"""Mistakes in the construction of layers, in their calls, and in what is done with state."""

import functools

import jax.numpy as jnp
import numpy as np

from inox import nn
from tests.mistakes import values
from tests.mistakes.registry import CHANNELS, SHAPE, Mistake, X, each, ones, zeros

LAYERS = {
    "LayerNorm": nn.LayerNorm,
    "RMSNorm": nn.RMSNorm,
    "GroupNorm": functools.partial(nn.GroupNorm, groups=3),
    "InstanceNorm": functools.partial(nn.InstanceNorm, axis=(-3, -2)),
    "BatchNorm": functools.partial(nn.BatchNorm, CHANNELS),
    "BatchRenorm": functools.partial(nn.BatchRenorm, CHANNELS),
}
STATEFUL = ("BatchNorm", "BatchRenorm")


def built(*names):
    """Constructors, as functions that ignore the array of the call."""
    return {
        name: lambda _, name=name, **arguments: LAYERS[name](**arguments)
        for name in names or LAYERS
    }


def called(build, training=True):
    """A layer as a function of x (and of `where`, and of a state, where it has one)."""

    def call(x, **arguments):
        layer, state = nn.export_state(build())
        if not state:
            return layer(x, **arguments)
        layer.train(training)
        return layer(x, **{"state": state} | arguments)

    return call


CALLED = {name: called(build) for name, build in LAYERS.items()} | {
    "BatchNorm in evaluation": called(LAYERS["BatchNorm"], training=False)
}


def with_x(call):
    return lambda _, x: call(x)


CHANNEL_COUNTS = {
    "zero": (0, ValueError, ("0", "above 0", "8")),
    "negative": (-3, ValueError, ("-3", "above 0", "8")),
    "True": (True, ValueError, ("True", "above 0", "8")),
    "float": (4.0, TypeError, ("4.0", "integer", "8")),
    "shape": ((4,), TypeError, ("(4,)", "integer", "8")),
    "None": (None, TypeError, ("None", "integer", "8")),
    "text": ("4", TypeError, ("'4'", "integer", "8")),
    "array": (ones(4), TypeError, ("float32", "integer", "8")),
}

PARAMETERS = {
    "parameter of booleans": (
        nn.Parameter(ones(CHANNELS, dtype=bool)),
        TypeError,
        ("bool", "switch", "None"),
    ),
    "complex parameter": (
        nn.Parameter(ones(CHANNELS, dtype=np.complex64)),
        TypeError,
        ("complex64", "real", "apart"),
    ),
}
# A parameter is what a layer takes.
SCALES = PARAMETERS | {k: v for k, v in values.SCALES.items() if k != "parameter"}


def stateful_call(mistake):
    """A call of a batch norm, exported with its state, that `mistake(layer, state, x)` makes."""

    def call(x):
        layer, state = nn.export_state(nn.BatchNorm(CHANNELS))
        return mistake(layer, state, x)

    return call


STATES = {
    "None": (None, TypeError, ("NoneType", "dict", "export_state")),
    "list": ([], TypeError, ("list", "dict", "export_state")),
    "pair": ((nn.LayerNorm(), {}), TypeError, ("tuple", "dict", "export_state")),
    "layer": (nn.LayerNorm(), TypeError, ("LayerNorm", "dict", "export_state")),
    "array": (X, TypeError, ("ndarray", "dict", "export_state")),
    "True": (True, TypeError, ("bool", "dict", "export_state")),
    "empty": ({}, ValueError, ("lacks", "'.stats'", "export_state")),
    "of another model": ({"['a'].stats": 1}, ValueError, ("lacks", "['a'].stats", "newest")),
    "without entry": ({".stats": None}, ValueError, (".stats", "NoneType", "Statistics(mean")),
    "one array": ({".stats": zeros(2, CHANNELS)}, ValueError, (".stats", "ndarray", "Statistics")),
    "one of two": ({".stats": (zeros(CHANNELS),)}, ValueError, (".stats", "tuple", "Statistics")),
    "another size": ({".stats": (zeros(5), ones(5))}, ValueError, (".stats", "(5,)", "prefix")),
}

VIRTUAL_BATCHES = {name: value for name, value in values.GROUPS.items() if name != "None"}

CHANNEL_AXES = {
    "float": (1.0, TypeError, ("1.0", "integer", "(N, C, H, W)")),
    "True": (True, TypeError, ("True", "integer", "(N, C, H, W)")),
    "None": (None, TypeError, ("None", "integer", "(N, C, H, W)")),
    "tuple": ((1,), TypeError, ("(1,)", "integer", "(N, C, H, W)")),
}

LIMITS = {
    "below": (0.5, ValueError, ("0.5", "at least 1", "the paper uses 3")),
    "NaN": (float("nan"), ValueError, ("nan", "at least 1", "the paper uses 3")),
}
STEPS = {
    "float": (1.5, TypeError, ("1.5", "integer", "number of batches")),
    "text": ("1000", TypeError, ("'1000'", "integer", "number of batches")),
    "True": (True, TypeError, ("True", "integer", "number of batches")),
    "negative": (-1, ValueError, ("-1", "2**24", "number of batches")),
    "beyond float32": (2**25, ValueError, ("33554432", "2**24", "number of batches")),
}

# Without axes instance norm finds its own.
NAMED_AXES = {name: value for name, value in values.AXES.items() if name != "None"}

SINGLE = [
    Mistake(
        "BatchNorm(vector)",
        stateful_call(lambda layer, state, x: layer(x[0, 0], state)),
        ValueError,
        ("x must", "(6,)", "batch axis", "x[None]"),
    ),
    Mistake(
        "BatchNorm(other channels)",
        stateful_call(lambda layer, state, x: layer(x[..., :4], state)),
        ValueError,
        ("x must", "channels=6", "(2, 3, 4)", "channels=4"),
    ),
    Mistake(
        "BatchNorm(channel_axis=3) of three axes",
        lambda x: called(lambda: nn.BatchNorm(CHANNELS, channel_axis=3))(x),
        ValueError,
        ("channel_axis 3", str(SHAPE), "-3 to 2"),
    ),
    Mistake(
        "BatchNorm(channel_axis=1), the channels last",
        lambda x: called(lambda: nn.BatchNorm(CHANNELS, channel_axis=1))(x),
        ValueError,
        ("x must", "axis 1", str(SHAPE), "channels=3"),
    ),
    Mistake(
        "BatchNorm(channel_axis=1, scale of two axes)",
        lambda x: nn.BatchNorm(CHANNELS, channel_axis=1, scale=ones(CHANNELS, 1)),
        ValueError,
        ("scale", "(6,)", "(6, 1)", "lined up"),
    ),
    Mistake(
        "BatchNorm(channel_axis=0, virtual_batch=2)",
        lambda x: nn.BatchNorm(CHANNELS, channel_axis=0, virtual_batch=2),
        ValueError,
        ("virtual_batch=2", "channel_axis=0", "samples first"),
    ),
    Mistake(
        "BatchNorm(virtual_batch=4) of 2 samples",
        lambda x: called(lambda: nn.BatchNorm(CHANNELS, virtual_batch=4))(x),
        ValueError,
        ("virtual_batch=4", str(SHAPE), "2 samples", "divisor"),
    ),
    Mistake(
        "BatchNorm(virtual_batch=1) of one element",
        lambda x: called(lambda: nn.BatchNorm(CHANNELS, virtual_batch=1))(x[:, 0]),
        ValueError,
        ("virtual_batch=1", "(2, 6)", "no variance", "more samples"),
    ),
    Mistake(
        "BatchNorm(channels first)",
        stateful_call(lambda layer, state, x: layer(jnp.moveaxis(x, -1, 1), state)),
        ValueError,
        ("x must", "channels=6", "(2, 6, 3)", "last"),
    ),
    Mistake(
        "BatchNorm(state, x)",
        stateful_call(lambda layer, state, x: layer(state, x)),
        TypeError,
        ("x must", "StateKey", "arrays that it holds"),
    ),
    Mistake(
        "BatchNorm(its own result)",
        stateful_call(lambda layer, state, x: layer(layer(x, state), state)),
        TypeError,
        ("x must", "tuple of", "y, state = layer(x, state)", "pass y"),
    ),
    Mistake(
        "LayerNorm(result of BatchNorm)",
        stateful_call(lambda layer, state, x: nn.LayerNorm()(layer(x, state))),
        TypeError,
        ("x must", "tuple of", "y, state = layer(x, state)", "pass y"),
    ),
    Mistake(
        "BatchNorm, not exported",
        lambda x: nn.BatchNorm(CHANNELS)(x, {}),
        ValueError,
        ("state", "not exported", "export_state"),
    ),
    Mistake(
        "BatchNorm(axis_name) outside of a map",
        lambda x: called(lambda: nn.BatchNorm(CHANNELS, axis_name="batch"))(x),
        ValueError,
        ("axis_name 'batch'", "not bound", "jax.vmap"),
    ),
    Mistake(
        "GroupNorm(4) of 6 channels",
        lambda x: nn.GroupNorm(4)(x),
        ValueError,
        ("groups=4", "6", str(SHAPE), "divisor"),
    ),
    Mistake(
        "InstanceNorm(axes that x has not)",
        lambda x: nn.InstanceNorm((-3, -2))(x[0]),
        ValueError,
        ("axis -3", "(3, 6)", "-2 to 1"),
    ),
    Mistake(
        "LayerNorm(6), the size of the last axis",
        lambda x: nn.LayerNorm(6)(x),
        ValueError,
        ("axis 6", str(SHAPE), "not its size"),
    ),
    Mistake(
        "update_state(unknown key)",
        stateful_call(lambda layer, state, x: nn.update_state(state, {"other": 1})),
        ValueError,
        ("mutation", "'other'", "['.stats']", "export_state"),
    ),
    Mistake(
        "update_state(state of another model)",
        stateful_call(lambda layer, state, x: nn.update_state({}, state)),
        ValueError,
        ("mutation", "'.stats'", "export_state"),
    ),
]

RMS = functools.partial(nn.RMSNorm, scale=ones(CHANNELS))
SCALED = {"RMSNorm(scale)": lambda _, **arguments: RMS(**arguments)}


def assigned(x, **arguments):
    """A layer whose attribute is set after it was built."""
    layer = RMS()
    for name, value in arguments.items():
        setattr(layer, name, value)
    return layer(x)


def scale_taken(x, scale_offset):
    """A layer whose scale is taken away, and its offset left."""
    layer = RMS(scale_offset=scale_offset)
    layer.scale = None
    return layer(x)


MISTAKES = [
    *each(built("LayerNorm", "RMSNorm", "GroupNorm"), "axis", values.AXES),
    *each(built("InstanceNorm"), "axis", NAMED_AXES),
    *each(built(), "epsilon", values.EPSILONS),
    *each(built(), "scale", SCALES),
    *each(built(*(name for name in LAYERS if name != "RMSNorm")), "bias", SCALES),
    *each(SCALED, "scale_offset", values.OFFSETS),
    *each(built("RMSNorm"), "scale_offset", values.LONE_OFFSETS),
    *each({"RMSNorm without its scale": scale_taken}, "scale_offset", values.LONE_OFFSETS),
    *each(SCALED, "normalized_dtype", values.ROUNDINGS),
    *each({"RMSNorm, assigned": assigned}, "scale_offset", values.OFFSETS),
    *each(
        {"RMSNorm, assigned": assigned},
        "normalized_dtype",
        values.ROUNDINGS | values.WIDE_ROUNDINGS,
    ),
    *each(built(*STATEFUL), "momentum", values.MOMENTA),
    *each({"BatchNorm": lambda _, channels: nn.BatchNorm(channels)}, "channels", CHANNEL_COUNTS),
    *each({"GroupNorm": lambda _, groups: nn.GroupNorm(groups)}, "groups", values.GROUPS),
    *each(built("BatchNorm"), "virtual_batch", VIRTUAL_BATCHES),
    *each(built("BatchNorm"), "channel_axis", CHANNEL_AXES),
    *each(
        {"BatchNorm": functools.partial(built()["BatchNorm"], axis_name="b")},
        "axis_index_groups",
        values.INDEX_GROUPS,
    ),
    *each(built("BatchRenorm"), "r_max", LIMITS),
    *each(built("BatchRenorm"), "steps", STEPS),
    *each({name: with_x(call) for name, call in CALLED.items()}, "x", values.X_VALUES),
    *each(CALLED, "where", values.MASKS),
    *each({"BatchNorm": CALLED["BatchNorm"]}, "weights", values.WEIGHTS),
    *each({name: CALLED[name] for name in STATEFUL}, "state", STATES),
    *SINGLE,
]
