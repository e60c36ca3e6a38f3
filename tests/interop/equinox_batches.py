"""Batches for Equinox's batch norm, ours or its own, and what they come to in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

MODES = ["batch", "ema"]
# Rounding of y (half a unit), of the statistics and of scale and bias, in units of float32.
CLOSE = {"rtol": 1e-6, "atol": 3e-6}


def build(source, mode, **settings):
    """A layer of 3 channels and its state."""
    return eqx.nn.make_with_state(source.BatchNorm)(3, "batch", mode=mode, **settings)


def with_parameters(layer, rng):
    """The layer with weight and bias drawn at random."""
    arrays = rng.uniform(0.5, 2, (2, 3)).astype(np.float32)
    return eqx.tree_at(
        lambda layer: (layer.weight, layer.bias), layer, [jnp.asarray(a) for a in arrays]
    )


@eqx.filter_jit
def batched(layer, x, state, inference=None):
    """A batch of samples."""
    call = jax.vmap(
        lambda x, state: layer(x, state, inference=inference),
        axis_name="batch",
        in_axes=(0, None),
        out_axes=(0, None),
    )
    return call(x, state)


def copied(state):
    """A state of the same arrays: Equinox lets each be used once."""
    return jax.tree.map(lambda leaf: leaf, state)


def statistics(layer, state):
    """What the state holds of the layer: mean, variance, and the flag or counter."""
    if layer.mode == "ema":
        indices = layer.ema_state_index, layer.ema_first_time_index
    else:
        indices = layer.batch_state_index, layer.batch_counter
    (mean, var), other = map(state.get, indices)
    return np.asarray(mean, np.float64), np.asarray(var, np.float64), other.item()


def moments64(x):
    """Mean and biased variance of each channel in float64."""
    flat = np.moveaxis(np.asarray(x, np.float64), 1, -1).reshape(-1, x.shape[1])
    return flat.mean(0), flat.var(0)


def normalized64(x, mean, var, layer=None, eps=1e-5):
    """`x` by mean and variance of its channels, with the layer's weight and bias, in float64."""
    along = (-1, *(1,) * (x.ndim - 2))
    y = (np.asarray(x, np.float64) - mean.reshape(along)) / np.sqrt(var.reshape(along) + eps)
    if layer is None:
        return y
    weight, bias = (np.asarray(a, np.float64).reshape(along) for a in (layer.weight, layer.bias))
    return y * weight + bias


def batches(rng, shape, number=4):
    """Batches whose mean and spread differ from channel to channel and from batch to batch."""
    along = (1, 3, *(1,) * (len(shape) - 2))
    for step in range(number):
        spread = rng.uniform(0.5, 3, along)
        x = step + rng.standard_normal(along) + spread * rng.standard_normal(shape)
        yield x.astype(np.float32)
