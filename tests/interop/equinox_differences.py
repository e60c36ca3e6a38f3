"""The numbers of the table in docs/interop-equinox.md: (ours, the framework's own) by name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from inox.interop import equinox as ours

AXES = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}


def standard_normal(*shape):
    """Numbers whose mean is 0 and variance 1 over the first axis."""
    z = np.random.default_rng(0).standard_normal(shape)
    return (z - z.mean(0)) / z.std(0)


def batch_norm(source, x, steps=1, **settings):
    """Outputs in training and evaluation after some steps on one batch, the layer and its state."""
    layer, state = eqx.nn.make_with_state(source.BatchNorm)(x.shape[1], "batch", **settings)
    y = None
    for _ in range(steps):
        y, state = jax.vmap(layer, **AXES)(x, state)
    copy = jax.tree.map(lambda leaf: leaf, state)
    evaluated, _ = jax.vmap(eqx.nn.inference_mode(layer), **AXES)(x, copy)
    return y, evaluated, layer, state


def variance_of_evaluation(source, steps):
    """By which variance a batch of variance 1 is evaluated after some steps of mode "batch"."""
    x = jnp.asarray(standard_normal(512, 1), jnp.float32)
    _, evaluated, *_ = batch_norm(source, x, steps, mode="batch")
    return float(1 / np.var(np.asarray(evaluated, np.float64)))


def factor_before_training(source):
    """What mode "ema" multiplies by before the first batch."""
    _, evaluated, *_ = batch_norm(source, jnp.ones((2, 1)), 0, mode="ema")
    return float(evaluated[0, 0])


def error_at_large_mean(source, name):
    """How far y is off where the mean is 3000 times the spread, at most."""
    x = np.asarray(3000.1 + standard_normal(4096, 4), np.float32).T.copy()
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    if name == "LayerNorm":
        y = jax.jit(jax.vmap(source.LayerNorm(4096)))(x)
    elif name == "GroupNorm":
        y = eqx.filter_jit(source.GroupNorm(4, 4))(x)
    else:
        y = batch_norm(source, x.T, mode="batch")[0].T
    return float(np.abs(np.asarray(y, np.float64) - expected).max())


def dtype_of_half(source):
    """The dtype of what BatchNorm makes of bfloat16, and how far the variance it stores is off."""
    x = jnp.asarray(5 + standard_normal(512, 1), jnp.bfloat16)
    y, _, layer, state = batch_norm(source, x, mode="batch", momentum=0.0)
    var = float(state.get(layer.batch_state_index)[1][0])
    truth = float(np.asarray(x, np.float64).var())
    return y.dtype.name, abs(var / truth - 1)


def half_in_ema(source):
    """Whether mode "ema" takes bfloat16, with its statistics in float32."""
    try:
        return batch_norm(source, jnp.ones((2, 1), jnp.bfloat16), mode="ema")[0].dtype.name
    except TypeError as error:
        return type(error).__name__


def single_in_half_state(source):
    """Whether statistics kept in bfloat16 take float32 samples."""
    try:
        return batch_norm(source, jnp.ones((2, 1)), mode="batch", dtype=jnp.bfloat16)[0].dtype.name
    except ValueError as error:
        return type(error).__name__


def of_integers(source):
    """What LayerNorm makes of 1, 2, 3, 6."""
    return source.LayerNorm(4)(jnp.array([1, 2, 3, 6])).tolist()


def square_of_complex(source):
    """The mean absolute square of what RMSNorm makes of complex numbers."""
    z = standard_normal(256, 2)
    x = jnp.asarray(z[:, 0] + 1j * z[:, 1], jnp.complex64)
    y = source.RMSNorm(256, use_bias=False)(x)
    return float(np.mean(np.abs(np.asarray(y)) ** 2))


def variance_after_single_samples(source):
    """The running variance after a batch of 64 and then 100 batches of one sample."""
    x = jnp.asarray(standard_normal(64, 1), jnp.float32)
    _, _, layer, state = batch_norm(source, x, mode="ema")
    for _ in range(100):
        _, state = jax.vmap(layer, **AXES)(x[:1], state)
    return float(state.get(layer.ema_state_index)[1][0])


def spread_of_large_numbers(source):
    """The spread of what LayerNorm makes of numbers with a spread of 1e20."""
    y = source.LayerNorm(256)(jnp.asarray(1e20 * standard_normal(256), jnp.float32))
    return float(np.std(np.asarray(y, np.float64)))


NUMBERS = {
    "evaluation after 1 step": lambda source: variance_of_evaluation(source, 1),
    "evaluation after 100 steps": lambda source: variance_of_evaluation(source, 100),
    "evaluation before training": factor_before_training,
    "large mean, LayerNorm": lambda source: error_at_large_mean(source, "LayerNorm"),
    "large mean, GroupNorm": lambda source: error_at_large_mean(source, "GroupNorm"),
    "large mean, BatchNorm": lambda source: error_at_large_mean(source, "BatchNorm"),
    "half": dtype_of_half,
    "half in ema": half_in_ema,
    "float32 for a bfloat16 state": single_in_half_state,
    "integers": of_integers,
    "complex": square_of_complex,
    "single samples": variance_after_single_samples,
    "large numbers": spread_of_large_numbers,
}


def measured(name):
    """A number of ours and of the framework's own."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return NUMBERS[name](ours), NUMBERS[name](eqx.nn)
