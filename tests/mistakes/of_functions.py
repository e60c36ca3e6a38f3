"""Mistakes in calls of `inox.functional`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from inox import functional
from tests.mistakes import values
from tests.mistakes.registry import CHANNELS, SHAPE, Mistake, each, ones, zeros

FUNCTIONS = {
    "layer_norm": functional.layer_norm,
    "rms_norm": functional.rms_norm,
    "group_norm": functools.partial(functional.group_norm, groups=3),
    "batch_norm": functional.batch_norm,
    "standardize": functional.standardize,
    "moments": functools.partial(functional.moments, axis=-1),
}


def functions(*names):
    return {name: FUNCTIONS[name] for name in names}


SCALED = functions("layer_norm", "rms_norm", "group_norm", "batch_norm")
SHIFTED = functions("layer_norm", "group_norm", "batch_norm")
WITH_AXIS = {name: f for name, f in FUNCTIONS.items() if name != "batch_norm"}
WITH_EPSILON = {name: f for name, f in FUNCTIONS.items() if name != "moments"}
POOLED = functions("batch_norm", "moments")
RMS = functions("rms_norm")
RMS_SCALED = {"rms_norm(scale)": functools.partial(functional.rms_norm, scale=ones(CHANNELS))}


def of_x(function):
    """The function as one of x by name, which ignores the array that the call is given."""
    return lambda _, x: function(x)


def given(mean=None, var=None):
    """Batch norm by given statistics, one of them wrong."""
    mean = zeros(CHANNELS) if mean is None else mean
    return lambda x: functional.batch_norm(
        x, statistics=(mean, ones(CHANNELS) if var is None else var)
    )


STATISTICS = {
    "integers": (zeros(CHANNELS, dtype=int), TypeError, ("int64", "floating-point", "asarray")),
    "list of integers": ([1] * CHANNELS, TypeError, ("int64", "floating-point", "asarray")),
    "JAX integers": (jnp.ones(CHANNELS, int), TypeError, ("int32", "floating-point", "asarray")),
    "booleans": (ones(CHANNELS, dtype=bool), TypeError, ("bool", "floating-point", "asarray")),
    "complex": (ones(CHANNELS, dtype=complex), TypeError, ("complex", "real", "apart")),
    "None": (None, TypeError, ("None", "Pass an array")),
    "text": ("zeros", TypeError, ("'zeros'", "array of numbers")),
    "dict": ({"a": 1}, TypeError, ("{'a': 1}", "arrays that it holds")),
    "number": (1.0, ValueError, ("()", "one value a channel", "Reduce")),
    "another number of channels": (ones(5), ValueError, ("(5,)", "(6,)", "Reduce")),
    "kept dimensions": (ones(1, 1, CHANNELS), ValueError, ("(1, 1, 6)", "(6,)", "Reduce")),
}

NO_PAIRS = {
    "array": (ones(2, CHANNELS), TypeError, ("ndarray", "pair (mean, var)", "stats")),
    "dict": ({"mean": zeros(6), "variance": ones(6)}, TypeError, ("dict", "pair", "stats")),
    "three": ((zeros(6), ones(6), ones(6)), TypeError, ("tuple", "pair (mean, var)", "stats")),
    "one": ((zeros(6),), TypeError, ("tuple", "pair (mean, var)", "stats")),
    "text": ("running", TypeError, ("str", "pair (mean, var)", "stats")),
    "True": (True, TypeError, ("bool", "pair (mean, var)", "stats")),
}

SWITCHES = {
    label: (value, TypeError, (repr(value), "True or False", "bool"))
    for label, value in {"text": "no", "number": 1, "None": None, "tuple": ()}.items()
}

PART = functional.Moments(ones(2), zeros(2), ones(2))


def merged(*parts):
    return lambda x: functional.merge_moments(*parts)


def vector(function):
    return lambda x: function(x[0, 0])


def bound(axis_name):
    """Batch norm under a vmap whose axis has another name."""
    return lambda x: jax.vmap(
        lambda x: functional.batch_norm(x, axis_name=axis_name), axis_name="batch"
    )(x)


def in_groups(x, axis_index_groups):
    """Batch norm under a vmap whose positions are in groups."""

    def call(x):
        return functional.batch_norm(x, axis_name="b", axis_index_groups=axis_index_groups)

    return jax.vmap(call, axis_name="b")(x)


SINGLE = [
    Mistake(
        f"batch_norm(statistics {name}={label})",
        given(**{name: value}),
        kind,
        (f"statistics {name}", *fragments),
    )
    for name in ("mean", "var")
    for label, (value, kind, fragments) in STATISTICS.items()
    if value is not None
] + [
    Mistake(
        "batch_norm(axis_index_groups without axis_name)",
        lambda x: functional.batch_norm(x, axis_index_groups=((0, 1),)),
        ValueError,
        ("axis_index_groups", "axis_name=None", "axis_name='devices'"),
    ),
    Mistake(
        "batch_norm(axis_index_groups of another axis)",
        lambda x: in_groups(x, ((0, 1), (2, 3))),
        ValueError,
        ("axis_index_groups", "'b', which has 2", "found 4", "group of its own"),
    ),
    Mistake(
        "batch_norm(negative variance)",
        given(var=-ones(CHANNELS)),
        ValueError,
        ("statistics var", "-1", "negative", "(mean, var)"),
    ),
    Mistake(
        "batch_norm(one negative variance)",
        given(var=np.array([1, 1, 1, 1, 1, -0.25])),
        ValueError,
        ("statistics var", "-0.25", "negative", "(mean, var)"),
    ),
    Mistake(
        "batch_norm(variance and mean swapped)",
        given(mean=ones(CHANNELS), var=jnp.full(CHANNELS, -3.0)),
        ValueError,
        ("statistics var", "-3", "negative", "(mean, var)"),
    ),
    Mistake(
        "batch_norm(vector)",
        vector(functional.batch_norm),
        ValueError,
        ("x must", "(6,)", "batch axis", "x[None]"),
    ),
    Mistake(
        "batch_norm(scalar)",
        lambda x: functional.batch_norm(x[0, 0, 0]),
        ValueError,
        ("x must", "()", "batch axis", "x[None]"),
    ),
    *(
        Mistake(
            f"{name}(scalar)",
            lambda x, function=function: function(x[0, 0, 0]),
            ValueError,
            ("axis", "scalar", "x[None]"),
        )
        for name, function in WITH_AXIS.items()
        if name != "group_norm"
    ),
    Mistake(
        "group_norm(axis without the last)",
        lambda x: functional.group_norm(x, 3, axis=(0, 1)),
        ValueError,
        ("axis", "(0, 1)", "last", "-1"),
    ),
    *(
        Mistake(
            f"group_norm(groups={groups})",
            lambda x, groups=groups: functional.group_norm(x, groups),
            ValueError,
            ("groups", str(groups), str(SHAPE), "divisor of 6"),
        )
        for groups in (4, 5, 12)
    ),
    Mistake(
        "group_norm(traced groups)",
        lambda x: jax.jit(functional.group_norm)(x, 3),
        TypeError,
        ("groups", "traced", "known before"),
    ),
    Mistake(
        "layer_norm(traced axis)",
        lambda x: jax.jit(lambda x, axis: functional.layer_norm(x, axis=axis))(x, -1),
        TypeError,
        ("axis", "traced", "-1"),
    ),
    Mistake(
        "moments(traced keepdims)",
        lambda x: jax.jit(lambda x, k: functional.moments(x, 0, keepdims=k))(x, True),
        TypeError,
        ("keepdims", "traced", "known before"),
    ),
    Mistake(
        "batch_norm(axis_name, nothing bound)",
        lambda x: functional.batch_norm(x, axis_name="batch"),
        ValueError,
        ("axis_name 'batch'", "not bound", "none", "jax.vmap"),
    ),
    Mistake(
        "moments(axis_name, nothing bound)",
        lambda x: functional.moments(x, 0, axis_name="batch"),
        ValueError,
        ("axis_name 'batch'", "not bound", "none", "jax.vmap"),
    ),
    Mistake(
        "batch_norm(axis_name, misspelt)",
        bound("btach"),
        ValueError,
        ("axis_name 'btach'", "'batch'", "jax.vmap"),
    ),
    Mistake(
        "batch_norm(axis_name, one of two)",
        bound(("batch", "devices")),
        ValueError,
        ("axis_name 'devices'", "'batch'", "jax.vmap"),
    ),
    Mistake("merge_moments()", merged(), ValueError, ("moments", "empty", "at least one")),
    Mistake("merge_moments(list)", merged([PART, PART]), TypeError, ("moments", "list", "*items")),
    Mistake(
        "merge_moments(tuple)", merged(tuple(PART)), TypeError, ("moments", "tuple", "Moments")
    ),
    Mistake(
        "merge_moments(None)", merged(PART, None), TypeError, ("moments", "NoneType", "Moments")
    ),
    Mistake(
        "merge_moments(shapes)",
        merged(PART, functional.Moments(ones(3), ones(3), ones(3))),
        ValueError,
        ("moments", "(2,)", "(3,)", "same axes"),
    ),
    Mistake(
        "merge_moments(negative count)",
        merged(PART, PART._replace(count=-ones(2))),
        ValueError,
        ("moments count", "-1", "negative", "moments() returned"),
    ),
    Mistake(
        "merge_moments(negative variance)",
        merged(PART, PART._replace(var=np.array([1.0, -2.0]))),
        ValueError,
        ("moments var", "-2", "negative", "moments() returned"),
    ),
    Mistake(
        "merge_moments(complex mean)",
        merged(PART, PART._replace(mean=ones(2, dtype=complex))),
        TypeError,
        ("mean", "complex", "real"),
    ),
]

MISTAKES = [
    *each({name: of_x(function) for name, function in FUNCTIONS.items()}, "x", values.X_VALUES),
    *each(SCALED, "scale", values.SCALES | values.SCALE_SHAPES),
    *each(SHIFTED, "bias", values.SCALES | values.SCALE_SHAPES),
    *each(WITH_AXIS, "axis", values.AXES | values.AXES_OF_X),
    *each(WITH_EPSILON, "epsilon", values.EPSILONS),
    *each(FUNCTIONS, "where", values.MASKS),
    *each(FUNCTIONS, "implementation", values.IMPLEMENTATIONS),
    *each(RMS_SCALED, "scale_offset", values.OFFSETS),
    *each(RMS, "scale_offset", values.LONE_OFFSETS),
    *each(RMS, "normalized_dtype", values.ROUNDINGS | values.WIDE_ROUNDINGS),
    *each(POOLED, "axis_name", values.AXIS_NAMES),
    *each(functions("group_norm"), "groups", values.GROUPS),
    *each(functions("batch_norm"), "statistics", NO_PAIRS),
    *each(functions("group_norm"), "center", SWITCHES),
    *each(POOLED, "weights", values.WEIGHTS),
    *each({"batch_norm": in_groups}, "axis_index_groups", values.INDEX_GROUPS),
    *each(functions("moments"), "keepdims", SWITCHES),
    *SINGLE,
]
