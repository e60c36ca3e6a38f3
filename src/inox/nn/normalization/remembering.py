"""What a layer remembers of its batches, how it is read from a state and how a batch moves it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...functional.array_arguments import ArrayLike
from ...functional.moments import Moments
from ..state import State, StateEntry, StateKey
from . import entries
from .base import NormalizationLayer, constant, static_number
from .batch_arguments import check_momentum
from .running import Statistics, updated

Array = jax.Array


class RememberingLayer(NormalizationLayer):
    """Base class of the layers with running statistics, without what they do to a batch.

    Example:
        >>> from inox.nn import BatchNorm
        >>> isinstance(BatchNorm(3), RememberingLayer)
        True
    """

    channels: int
    momentum: float | Array
    training: bool
    frozen: bool
    skip_nonfinite: bool
    stats: StateEntry | StateKey
    batches: StateEntry | StateKey | None

    def _converted(self, name: str, value: Any) -> Any:
        if name == "momentum" and self._takes_number(name, value):
            # A class of one's own may assign it before the channels are.
            check_momentum(value, getattr(self, "channels", None))
            return static_number(value)
        return super()._converted(name, value)

    def update_running(
        self,
        state: Mapping[str, Any],
        moments: Moments,
        *,
        elements: ArrayLike | None = None,
    ) -> State:
        """Moves the running statistics as a batch with these moments does in training.

        Args:
            state: The state dictionary.
            moments: Count, mean and variance of the batch, with shape :math:`(C)`.
            elements: How many elements of each channel have a weight above 0, where the count is a
                sum of weights; None for the count. A channel with fewer than two is not moved.

        Returns:
            The updated state dictionary.

        Raises:
            TypeError: If `state` isn't a dict, holds integers or numbers of a half type, or
                `moments` are no :class:`.Moments` of real numbers.
            ValueError: If `state` lacks the layer's entry, `moments` or `elements` have other
                shapes, or a count or variance is negative.
        """
        moments = entries.checked_moments(moments, self.channels)
        number = entries.checked_elements(elements, self.channels)
        return self._moved(state, *self._trained(state), moments, number)

    def _moved(
        self,
        state: Mapping[str, Any],
        running: Statistics,
        batches: Array | None,
        moments: Moments,
        elements: Array | None = None,
    ) -> State:
        momentum = constant(self.momentum if batches is None else self._momentum(batches))
        changed: dict[Any, Any] = {}
        changed[self.stats], seen = updated(
            running, moments, momentum, self.skip_nonfinite, elements=elements
        )
        if batches is not None:
            # float32 stops counting at 2**24, where the momentum has long been reached.
            changed[self.batches] = batches + seen.astype(batches.dtype)
        return entries.replaced(state, changed)

    def _momentum(self, batches: Array) -> float | Array:
        """The momentum after so many batches: at first they are averaged equally."""
        equal = batches / (batches + jnp.ones_like(batches))
        return jnp.minimum(jnp.asarray(self.momentum, equal.dtype), equal)

    def running_statistics(self, state: Mapping[str, Any]) -> Statistics:
        """The running statistics in a state, also as a checkpoint library has left them.

        Args:
            state: The state dictionary.

        Returns:
            Mean and variance of each channel.

        Raises:
            TypeError: If `state` isn't a dict.
            ValueError: If `state` lacks the layer's entry, or it isn't one of this layer.
        """
        return entries.statistics(
            entries.entry(state, self.stats, "stats"), self.stats, self.channels
        )

    def _trained(self, state: Mapping[str, Any]) -> tuple[Statistics, Array | None]:
        """The running statistics and the number of batches, as training can move them."""
        running, batches = self.running_statistics(state), None
        if self.batches is not None:
            batches = entries.number_of_batches(
                entries.entry(state, self.batches, "batches"), self.batches, self.channels
            )
            entries.check_trainable({self.batches: (batches,)})
        entries.check_trainable({self.stats: running})
        return running, batches

    def _set_mode(self, mode: bool) -> None:
        self.training = mode and not self.frozen
