r"""Checkpoints of PyTorch: a layer takes its arrays out of a `state_dict`, and gives them back.

>>> import jax.numpy as jnp, numpy as np
>>> from inox.nn import BatchNorm, export_state
>>> state_dict = {
...     "bn1.weight": np.full(2, 2, np.float32),
...     "bn1.bias": np.full(2, 1, np.float32),
...     "bn1.running_mean": np.array([1, 5], np.float32),
...     "bn1.running_var": np.array([4, 9], np.float32),
...     "bn1.num_batches_tracked": np.array(100),
... }
>>> layer, state = export_state(BatchNorm(2, scale=jnp.ones(2), bias=jnp.zeros(2)))
>>> layer, state = load(layer, state, state_dict, "bn1")
>>> y, _ = layer(jnp.array([[3.0, 8.0]]), state, training=False)
>>> print(y.round(1))
[[3. 3.]]

The layer says what is expected: built with a scale, it wants a `weight`, built with 64 channels,
64 numbers. What a `state_dict` does not hold stays as the layer has it: epsilon and momentum. Give
the torch module itself in place of its `state_dict`, and these are compared as well.

The running statistics are taken as they are, so in evaluation mode the layer does what torch's
does. Torch's running variance is the unbiased one, :math:`n / (n - 1)` times ours for batches of
:math:`n` elements a channel. The count is not part of the checkpoint; training on, our biased ones
replace it at the rate of the momentum.
"""

from .state_dict import dump, load, to_tensors

__all__ = ["dump", "load", "to_tensors"]
