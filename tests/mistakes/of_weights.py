"""Mistakes in calls of the functions of weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from inox.functional import SpectralState, spectral_norm, spectral_state, weight_norm
from inox.functional import weight_standardize as standardize
from tests.mistakes import values
from tests.mistakes.registry import CHANNELS, SHAPE, Mistake, each, key, ones, zeros

STATE = SpectralState(zeros(6), ones(CHANNELS), *zeros(3))
GAIN = ones(CHANNELS)
KERNELS = {
    "weight_norm": ("v", functools.partial(weight_norm, g=GAIN)),
    "weight_standardize": ("w", standardize),
    "spectral_state": ("w", spectral_state),
    "spectral_norm": ("w", functools.partial(spectral_norm, state=STATE)),
}
OF_AXIS = {
    name: lambda x, axis, f=function: f(x, axis=axis) for name, (_, function) in KERNELS.items()
}

GAINS = {
    str(shape): (ones(*shape), ValueError, (str(shape), "one value a channel", "(6,)", "axis"))
    for shape in [(5,), (2,), (6, 1), (1, 6), (2, 3, 6)]
}
KEYS = {
    "number": (0, TypeError, ("found 0", "jax.random.key(0)")),
    "text": ("0", TypeError, ("'0'", "jax.random.key(0)")),
    "several": (jax.random.split(key()), TypeError, ("shape (2,)", "one key", "jax.random.key")),
    "floats": (jnp.ones(2), TypeError, ("float32", "jax.random.key(0)")),
}
STEPS = {
    "True": (True, ValueError, ("True", "integer")),
    "float": (1.0, TypeError, ("1.0", "integer", "such as")),
    "None": (None, TypeError, ("None", "integer", "such as")),
    "negative": (-1, ValueError, ("-1", "integer")),
}
STATES = {
    "None": (None, TypeError, ("None", "SpectralState", "spectral_state(w)")),
    "dict": (STATE._asdict(), TypeError, ("SpectralState(**state)", "checkpoint")),
    "tuple": (tuple(STATE), TypeError, ("tuple", "SpectralState(*state)", "checkpoint")),
    "pair": ((GAIN, STATE), TypeError, ("tuple", "SpectralState", "spectral_state(w)")),
    "other inputs": (
        STATE._replace(inputs=zeros(5)),
        ValueError,
        ("inputs", "(5,)", "(6,)", str(SHAPE), "jax.vmap"),
    ),
    "other outputs": (
        STATE._replace(outputs=zeros(3)),
        ValueError,
        ("outputs", "(3,)", "(6,)", str(SHAPE), "same kernel"),
    ),
    "stacked": (
        jax.tree.map(lambda leaf: np.stack([leaf] * 2), STATE),
        ValueError,
        ("inputs", "(2, 6)", "jax.vmap"),
    ),
}
SINGLE = [
    *(
        Mistake(
            f"{name}(bias)",
            lambda x, function=function: function(x[0, 0]),
            ValueError,
            (f"{argument} of shape (6,)", "no axis but axis=-1", "(*, I, O)"),
        )
        for name, (argument, function) in KERNELS.items()
    ),
    *(
        Mistake(
            f"{name}(scalar)",
            lambda x, function=function: function(x[0, 0, 0]),
            ValueError,
            ("axis", f"{argument} of shape ()", f"{argument}[None]"),
        )
        for name, (argument, function) in KERNELS.items()
    ),
]
STANDARDIZE = {"weight_standardize": standardize}
NORM = {"weight_norm": weight_norm}
SPECTRAL = {"spectral_norm": spectral_norm}

MISTAKES = [
    *(
        mistake
        for name, (argument, function) in KERNELS.items()
        for mistake in each(
            {name: lambda _, f=function, **given: f(*given.values())}, argument, values.X_VALUES
        )
    ),
    *each(OF_AXIS, "axis", values.AXES),
    *each(STANDARDIZE, "epsilon", values.EPSILONS),
    *each(NORM, "g", values.SCALES | GAINS),
    *each({"spectral_state": spectral_state}, "key", KEYS),
    *each({"spectral_state": spectral_state}, "steps", STEPS),
    *each({"spectral_norm": functools.partial(spectral_norm, state=STATE)}, "steps", STEPS),
    *each(SPECTRAL, "state", STATES),
    *SINGLE,
]
