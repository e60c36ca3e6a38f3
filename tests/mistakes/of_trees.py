"""Mistakes with trees, states and attributes, and with a layer's configuration as a whole."""

import jax
import jax.numpy as jnp

from inox import functional, nn
from tests.mistakes.registry import CHANNELS, Mistake, X, ones


def exported(**options):
    return nn.export_state(nn.BatchNorm(CHANNELS, **options))


def assigned(layer, name, value):
    setattr(layer, name, value)


def moments(channels=CHANNELS, **changed):
    return functional.moments(X[..., :channels], (0, 1))._replace(**changed)


def mistake(name, call, kind, *fragments):
    """A call that needs no x, which is the same under `jit`."""
    return Mistake(name, lambda x: call(), kind, fragments)


SWITCHES = [
    mistake(
        f"{layer.__name__}({name}='no')",
        lambda layer=layer, name=name: layer(CHANNELS, **{name: "no"}),
        TypeError,
        *(name, "'no'", "True or False"),
    )
    for layer, name in [
        (nn.BatchNorm, "warmup"),
        (nn.BatchNorm, "skip_nonfinite"),
        (nn.BatchRenorm, "skip_nonfinite"),
    ]
] + [
    mistake(
        f"{type(layer).__name__}.{name} = 'no'",
        lambda layer=layer, name=name: assigned(layer, name, "no"),
        TypeError,
        *(name, "'no'", "True or False"),
    )
    for layer, name in [
        (nn.BatchNorm(CHANNELS), "warmup"),
        (nn.BatchNorm(CHANNELS), "skip_nonfinite"),
        (nn.GroupNorm(1), "center"),
    ]
]
SIZES = [
    mistake(
        f"BatchNorm.virtual_batch = {value!r}",
        lambda value=value: assigned(nn.BatchNorm(CHANNELS), "virtual_batch", value),
        kind,
        *("virtual_batch", repr(value)),
    )
    for value, kind in [(0, ValueError), ("2", TypeError)]
] + [
    mistake(
        "BatchNorm.channel_axis = 1.0",
        lambda: assigned(nn.BatchNorm(CHANNELS), "channel_axis", 1.0),
        TypeError,
        *("channel_axis", "1.0", "(N, C, H, W)"),
    ),
    mistake(
        "BatchNorm.virtual_batch = 2 with channel_axis=0",
        lambda: assigned(nn.BatchNorm(CHANNELS, channel_axis=0), "virtual_batch", 2),
        ValueError,
        *("virtual_batch=2", "channel_axis=0", "channel_axis=1"),
    ),
]
NAMES = [
    mistake(
        f"BatchNorm(axis_name={value!r})",
        lambda value=value: nn.BatchNorm(CHANNELS, axis_name=value),
        kind,
        *("axis_name", found, cure),
    )
    for value, kind, found, cure in [
        (3, TypeError, "3", "jax.vmap"),
        (True, TypeError, "True", "jax.vmap"),
        ((), ValueError, "()", "Leave it out"),
        (("a", "a"), ValueError, "('a', 'a')", "once"),
    ]
]
SHAPES = [
    mistake(
        "BatchNorm(scale of other channels)",
        lambda: nn.BatchNorm(CHANNELS, scale=ones(3)),
        ValueError,
        *("scale", "(3,)", "6 channels", "Give it shape"),
    ),
    mistake(
        "BatchNorm(bias of other channels)",
        lambda: nn.BatchNorm(CHANNELS, bias=ones(3)),
        ValueError,
        *("bias", "(3,)", "6 channels", "Give it shape"),
    ),
    mistake(
        "GroupNorm(axis without the last)",
        lambda: nn.GroupNorm(2, axis=-2),
        ValueError,
        *("axis", "-2", "last axis"),
    ),
    mistake(
        "GroupNorm(groups that do not divide the scale)",
        lambda: nn.GroupNorm(3, scale=ones(8)),
        ValueError,
        *("groups", "groups=3", "(8,)", "divisor"),
    ),
]
MODES = [
    mistake(
        f"train({value!r})",
        lambda value=value, train=train: train(value),
        TypeError,
        *("mode", repr(value), "train(False)"),
    )
    for value in ("eval", None, 0)
    for train in [lambda mode: nn.BatchNorm(CHANNELS).train(mode)]
] + [
    mistake(
        "train(mode, layer)",
        lambda: nn.train(False, nn.BatchNorm(CHANNELS)),
        TypeError,
        *("mode", "BatchNorm", "train(False)"),
    ),
]
ATTRIBUTES = [
    mistake(
        "RMSNorm.bias assigned",
        lambda: assigned(nn.RMSNorm(), "bias", ones(CHANNELS)),
        TypeError,
        *("bias", "ndarray", "LayerNorm"),
    ),
    mistake(
        "epsilon assigned",
        lambda: assigned(nn.LayerNorm(), "epsilon", -1.0),
        ValueError,
        *("epsilon", "-1.0", "small positive number"),
    ),
    mistake(
        "momentum assigned",
        lambda: assigned(nn.BatchNorm(CHANNELS), "momentum", 3.0),
        ValueError,
        *("momentum", "3.0", "[0, 1]"),
    ),
    mistake(
        "momentum of another number of channels assigned",
        lambda: assigned(nn.BatchNorm(CHANNELS), "momentum", jnp.full(4, 0.5)),
        ValueError,
        *("momentum", "(4,)", "(6,)", "jax.vmap"),
    ),
    mistake(
        "scale assigned",
        lambda: assigned(nn.LayerNorm(), "scale", True),
        TypeError,
        *("scale", "True", "jnp.ones"),
    ),
]
TREES = [
    mistake(
        f"Parameter({name})",
        lambda value=value: nn.Parameter(value),
        TypeError,
        *("value", type(value).__name__, "Parameter(jnp.ones(8))"),
    )
    for name, value in [("None", None), ("a text", "a"), ("a layer", nn.LayerNorm())]
] + [
    mistake(
        f"partition({value!r})",
        lambda value=value: nn.LayerNorm().partition(value),
        TypeError,
        *("filters", repr(value), "partition(nn.Parameter)"),
    )
    for value in (3, "scale", ("scale",))
]
TREES += [
    mistake(
        "a definition called without dicts",
        lambda: nn.LayerNorm().partition()[0](None),
        TypeError,
        *("arrays", "NoneType", "static(parameters, rest)"),
    ),
    mistake(
        "export_state(prefix=3)",
        lambda: nn.export_state(nn.BatchNorm(CHANNELS), prefix=3),
        TypeError,
        *("prefix", "3", "prefix='teacher'"),
    ),
    mistake(
        "update_state(a list)",
        lambda: nn.update_state([1], {}),
        TypeError,
        *("state", "list", "export_state"),
    ),
    mistake(
        "update_state(a list of changes)",
        lambda: nn.update_state({}, [1]),
        TypeError,
        *("mutation", "list", "by key"),
    ),
    mistake(
        "join_states(a list)",
        lambda: nn.join_states([{}, {}]),
        TypeError,
        *("states", "list", "join_states(first, second)"),
    ),
]


def updated(changed):
    layer, state = exported()
    return layer.update_running(state, changed)


STATES = [
    mistake(
        "update_running(a pair)",
        lambda: updated((ones(CHANNELS), ones(CHANNELS))),
        TypeError,
        *("moments", "tuple", "Moments(count"),
    ),
    mistake(
        "update_running(moments of other channels)",
        lambda: updated(moments(2)),
        ValueError,
        *("moments", "(2,)", "6 channels"),
    ),
    Mistake(
        "BatchNorm(state in a half type)",
        lambda x: exported()[0](
            x, jax.tree.map(lambda leaf: leaf.astype(jnp.float16), exported()[1])
        ),
        TypeError,
        ("state['.stats']", "float16", "Cast"),
    ),
    Mistake(
        "BatchNorm(one element a channel)",
        lambda x: exported()[0](x[:1, :1], exported()[1]),
        ValueError,
        ("x", "(1, 1, 6)", "one element a channel"),
    ),
    Mistake(
        "BatchNorm(training='no')",
        lambda x: exported()[0](x, exported()[1], training="no"),
        TypeError,
        ("training", "'no'", "True or False"),
    ),
]

MISTAKES = SWITCHES + SIZES + NAMES + SHAPES + MODES + ATTRIBUTES + TREES + STATES
