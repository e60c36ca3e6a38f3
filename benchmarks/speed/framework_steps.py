"""Steps of a model that is a function of its parameters and its state."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from .framework_models import LEARNING_RATE, Steps, cross_entropy

# (parameters, state, x, whether in training) -> y, state
Applied = Callable[[Any, Any, Any, bool], tuple[Any, Any]]


def with_adam(
    apply: Applied,
    parameters: Any,
    state: Any,
    batch: Any,
    per_call: Callable[[], Any],
    called: str,
) -> Steps:
    """A step of Adam, and one in evaluation."""
    optimizer = optax.adam(LEARNING_RATE)

    def train(carried: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        parameters, state, memory = carried

        def loss_of(parameters: Any) -> Any:
            y, after = apply(parameters, state, x, True)
            return cross_entropy(y, labels), after

        (loss, state), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
        updates, memory = optimizer.update(gradients, memory, parameters)
        return (optax.apply_updates(parameters, updates), state, memory), loss

    def evaluate(carried: Any, x: Any) -> Any:
        parameters, state, _ = carried
        return apply(parameters, state, x, False)[0]

    carried = parameters, state, optimizer.init(parameters)
    return Steps(carried, batch, train, evaluate, per_call, called)


def flattened(tree: Any) -> Any:
    """The tree taken apart and put together, as at each call of a compiled function."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, leaves)
