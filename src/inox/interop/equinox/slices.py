"""The layers that normalize each sample by itself: layer, RMS and group norm."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...functional.scalar_arguments import positive_integer
from ..core import Over, normalize
from .arguments import check_settings, dtype_of, sample, shape_of
from .library import eqx

Array = jax.Array

# Stands for a state that was not passed: None is one that was.
ABSENT: Any = object()


class _WholeArray(eqx.Module):
    """What layer and RMS norm share: all of an array of one shape is a slice."""

    shape: tuple[int, ...] = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    use_weight: bool = eqx.field(static=True)
    use_bias: bool = eqx.field(static=True)
    weight: Array | None
    bias: Array | None

    def __init__(
        self,
        shape: int | Sequence[int],
        eps: float,
        use_weight: bool,
        use_bias: bool,
        dtype: Any,
    ):
        check_settings(eps, use_weight=use_weight, use_bias=use_bias)
        self.shape = shape_of(shape)
        self.eps = eps
        self.use_weight = use_weight
        self.use_bias = use_bias
        self.weight = jnp.ones(self.shape, dtype_of(dtype)) if use_weight else None
        self.bias = jnp.zeros(self.shape, dtype_of(dtype)) if use_bias else None

    def _normalized(self, x: Any, centred: bool) -> Array:
        x = sample(x)
        if x.shape != self.shape:
            name = type(self).__name__
            raise ValueError(
                f"x must have the shape that {name} was built for, {self.shape}; found "
                f"{x.shape}. It normalizes one whole array: for each item of a batch or sequence "
                "apart, write jax.vmap(layer)(x), once for each axis in front."
            )
        over = Over(tuple(range(x.ndim)), self.eps, centred=centred)
        weight = self.weight if self.use_weight else None
        return normalize(over, x, weight, self.bias if self.use_bias else None)


class LayerNorm(_WholeArray):
    r"""Normalizes a whole array, in place of `equinox.nn.LayerNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    Args:
        shape: The shape of x, of a single sample.
        eps: A numerical stability term :math:`\epsilon`, in units of the variance.
        use_weight: Whether there is a weight :math:`\gamma`, of the shape of x.
        use_bias: Whether there is a bias :math:`\beta`, likewise.
        dtype: Their dtype; None for the default floating-point type.
        elementwise_affine: The deprecated name of both switches.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If epsilon or the shape is negative.

    Example:
        >>> layer = LayerNorm(2, eps=0.0)
        >>> print(jax.vmap(layer)(jnp.array([[1.0, 3.0], [3000.0, 3002.0]])))
        [[-1.  1.]
         [-1.  1.]]

    References:
        | Layer Normalization (Ba et al., 2016)
        | https://arxiv.org/abs/1607.06450
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        eps: float = 1e-5,
        use_weight: bool = True,
        use_bias: bool = True,
        dtype: Any = None,
        *,
        elementwise_affine: bool | None = None,
    ):
        if elementwise_affine is not None:
            warnings.warn(
                "LayerNorm(elementwise_affine=...) is deprecated in favour of "
                "LayerNorm(use_weight=...) and LayerNorm(use_bias=...)",
                stacklevel=2,
            )
            use_weight = use_bias = elementwise_affine
        super().__init__(shape, eps, use_weight, use_bias, dtype)

    @jax.named_scope("inox.LayerNorm")
    def __call__(self, x: Array, state: Any = ABSENT, *, key: Array | None = None) -> Any:
        """Normalizes one sample.

        Args:
            x: The input, of the layer's shape.
            state: Handed back as it came, for calls as those of a batch norm.
            key: Ignored.

        Returns:
            The output, with the shape and dtype of `x` (integers become the default float); with
            a state, the pair of both.

        Raises:
            ValueError: If `x` has another shape.
        """
        del key
        y = self._normalized(x, centred=True)
        return y if state is ABSENT else (y, state)


class RMSNorm(_WholeArray):
    r"""Divides an array by its root mean square, in place of `equinox.nn.RMSNorm`.

    .. math:: y = \frac{x}{\sqrt{\mathbb{E}[|x|^2] + \epsilon}} \gamma + \beta

    Args:
        shape: The shape of x, of a single sample.
        eps: A numerical stability term :math:`\epsilon`, in units of the mean square.
        use_weight: Whether there is a weight :math:`\gamma`, of the shape of x.
        use_bias: Whether there is a bias :math:`\beta`, likewise.
        dtype: Their dtype; None for the default floating-point type.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If epsilon or the shape is negative.

    Example:
        >>> print(RMSNorm(2, eps=0.0)(jnp.array([1.0, 7.0])))
        [0.2 1.4]

    References:
        | Root Mean Square Layer Normalization (Zhang & Sennrich, 2019)
        | https://arxiv.org/abs/1910.07467
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        eps: float = 1e-5,
        use_weight: bool = True,
        use_bias: bool = True,
        dtype: Any = None,
    ):
        super().__init__(shape, eps, use_weight, use_bias, dtype)

    @jax.named_scope("inox.RMSNorm")
    def __call__(self, x: Array, state: Any = ABSENT, *, key: Array | None = None) -> Any:
        """Normalizes one sample.

        Args:
            x: The input, of the layer's shape.
            state: Handed back as it came, for calls as those of a batch norm.
            key: Ignored.

        Returns:
            The output, with the shape and dtype of `x` (integers become the default float); with
            a state, the pair of both.

        Raises:
            ValueError: If `x` has another shape.
        """
        del key
        y = self._normalized(x, centred=False)
        return y if state is ABSENT else (y, state)


class GroupNorm(eqx.Module):
    r"""Normalizes groups of channels, which are in front, in place of `equinox.nn.GroupNorm`.

    .. math:: y = \frac{x - \mathbb{E}[x]}{\sqrt{\mathbb{V}[x] + \epsilon}} \gamma + \beta

    with mean and variance over the channels of a group and all that follows them.

    Args:
        groups: The number of groups, which divides the channels.
        channels: The number of channels; None where there is no weight and bias.
        eps: A numerical stability term :math:`\epsilon`, in units of the variance.
        channelwise_affine: Whether there is a weight :math:`\gamma` and a bias :math:`\beta` for
            each channel.
        dtype: Their dtype; None for the default floating-point type.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If `groups` doesn't divide the channels, the channels are missing, or epsilon
            is negative.

    Example:
        >>> x = jnp.array([1.0, 3.0, 10.0, 30.0])
        >>> print(GroupNorm(groups=2, channels=4, eps=0.0)(x))
        [-1.  1. -1.  1.]

    References:
        | Group Normalization (Wu & He, 2018)
        | https://arxiv.org/abs/1803.08494
    """

    groups: int = eqx.field(static=True)
    channels: int | None = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    channelwise_affine: bool = eqx.field(static=True)
    weight: Array | None
    bias: Array | None

    def __init__(
        self,
        groups: int,
        channels: int | None = None,
        eps: float = 1e-5,
        channelwise_affine: bool = True,
        dtype: Any = None,
    ):
        check_settings(eps, channelwise_affine=channelwise_affine)
        self.groups = positive_integer(groups, "groups")
        self.channels = None if channels is None else positive_integer(channels, "channels")
        self.eps = eps
        self.channelwise_affine = channelwise_affine
        if self.channels is None and channelwise_affine:
            raise ValueError(
                "channels must be given, as each has a weight and a bias; found None. Write how "
                "many there are, or channelwise_affine=False."
            )
        if self.channels is not None and self.channels % self.groups:
            raise ValueError(
                f"groups must divide the number of channels; found groups={groups} and "
                f"channels={channels}. Choose a divisor of {channels}."
            )
        self.weight = self.bias = None
        if self.channels is not None and channelwise_affine:
            self.weight = jnp.ones(self.channels, dtype_of(dtype))
            self.bias = jnp.zeros(self.channels, dtype_of(dtype))

    @jax.named_scope("inox.GroupNorm")
    def __call__(self, x: Array, state: Any = ABSENT, *, key: Array | None = None) -> Any:
        """Normalizes one sample.

        Args:
            x: The input, with shape :math:`(C, *)`.
            state: Handed back as it came, for calls as those of a batch norm.
            key: Ignored.

        Returns:
            The output, with the shape and dtype of `x` (integers become the default float); with
            a state, the pair of both.

        Raises:
            ValueError: If `x` has no axis of channels, or another number of them.
        """
        del key
        x = sample(x)
        found = x.shape[0] if x.ndim else None
        affine = self.channelwise_affine
        if found is None or found % self.groups or (affine and found != self.channels):
            wanted = f"{self.channels}" if affine else f"a multiple of {self.groups}"
            raise ValueError(
                f"x must have {wanted} channels in front, (C, *); found shape {x.shape}. A batch "
                "goes through jax.vmap(layer)(x); channels that are last are moved in front."
            )
        split = (self.groups, found // self.groups)
        grouped = x.reshape(*split, *x.shape[1:])
        aligned = split + (1,) * (x.ndim - 1)
        weight, bias = (
            array.reshape(aligned) if affine and array is not None else None
            for array in (self.weight, self.bias)
        )
        over = Over(tuple(range(1, grouped.ndim)), self.eps)
        y = normalize(over, grouped, weight, bias).reshape(x.shape)
        return y if state is ABSENT else (y, state)
