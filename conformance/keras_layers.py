"""Keras' normalization layers with their numbers from our functions.

`inox.interop.keras` carries weights and has no classes, so Keras' own layer holds weights and
configuration here, and what it computes of them is ours: the part that both speak of. Keras runs on
its backend for JAX.
"""

import jax.numpy as jnp
import keras

from inox import functional

# So that Keras finds the class that a configuration names.
serializable = keras.saving.register_keras_serializable(package="conformance")


def _value(variable):
    """The array in a variable of Keras; None where the layer has none."""
    return None if variable is None else jnp.asarray(variable.value)


@serializable
class LayerNormalization(keras.layers.LayerNormalization):
    """By :func:`inox.functional.layer_norm`."""

    def call(self, inputs):
        """Each slice by its own mean and variance."""
        if self.rms_scaling:
            raise NotImplementedError("rms_scaling: Keras calls it deprecated and incorrect")
        inputs = jnp.asarray(inputs)
        # Weights have the shape of the axes in ascending order.
        axes = sorted(axis % inputs.ndim for axis in _listed(self.axis))
        scale, bias = (_along(_value(p), inputs, axes) for p in (self.gamma, self.beta))
        y = functional.layer_norm(inputs, scale, bias, axis=axes, epsilon=self.epsilon)
        return y.astype(self.compute_dtype)


@serializable
class RMSNormalization(keras.layers.RMSNormalization):
    """By :func:`inox.functional.rms_norm`."""

    def call(self, x):
        """Each slice by the mean of its squares."""
        x = jnp.asarray(x)
        axes = sorted(axis % x.ndim for axis in _listed(self.axis))
        scale = _along(_value(self.scale), x, axes)
        return functional.rms_norm(x, scale, axis=axes, epsilon=self.epsilon)


@serializable
class GroupNormalization(keras.layers.GroupNormalization):
    """By :func:`inox.functional.group_norm`."""

    def call(self, inputs):
        """Each group of channels of a sample by its own mean and variance."""
        inputs = jnp.moveaxis(jnp.asarray(inputs), self.axis, -1)
        y = functional.group_norm(
            inputs,
            self.groups,
            _value(self.gamma) if self.scale else None,
            _value(self.beta) if self.center else None,
            axis=tuple(range(1, inputs.ndim)),
            epsilon=self.epsilon,
        )
        return jnp.moveaxis(y, -1, self.axis).astype(self.compute_dtype)


@serializable
class BatchNormalization(keras.layers.BatchNormalization):
    """By :func:`inox.functional.batch_norm`."""

    def call(self, inputs, training=None, mask=None):
        """Each channel by the batch's mean and variance, or by the running ones."""
        if self.renorm:
            raise NotImplementedError("renorm: a layer of its own here, inox.nn.BatchRenorm")
        inputs = jnp.asarray(inputs)
        gamma = _value(self.gamma) if self.scale else None
        beta = _value(self.beta) if self.center else None
        kept = self.axis % inputs.ndim
        axes = [axis for axis in range(inputs.ndim) if axis != kept]
        scale, bias = (_along(p, inputs, [kept]) for p in (gamma, beta))
        running = _value(self.moving_mean), _value(self.moving_variance)
        settings = {"axis": axes, "epsilon": self.epsilon}
        if not (training and self.trainable):
            y, _ = functional.batch_norm(inputs, scale, bias, statistics=running, **settings)
            return y.astype(self.compute_dtype)
        where = None if mask is None else jnp.asarray(mask, bool)[..., None]
        y, moments = functional.batch_norm(inputs, scale, bias, where=where, **settings)
        variables = self.moving_mean, self.moving_variance
        for variable, old, new in zip(variables, running, moments[1:], strict=True):
            variable.assign(self.momentum * old + (1 - self.momentum) * new)
        return y.astype(self.compute_dtype)


def _listed(axis):
    return [axis] if isinstance(axis, int) else list(axis)


def _along(parameter, x, axes):
    """A parameter with the rank of `x`, of size 1 along all but some axes."""
    if parameter is None:
        return None
    return parameter.reshape([n if axis in axes else 1 for axis, n in enumerate(x.shape)])
