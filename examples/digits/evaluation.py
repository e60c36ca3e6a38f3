"""How well a network does, in training mode and in evaluation mode."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from data import Images
from jax import Array
from network import Network


class Score(NamedTuple):
    """The mean loss over some images, and how many of them were told correctly."""

    loss: float
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """The correct share, between 0 and 1."""
        return self.correct / self.images


def loss_and_correct(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Returns the mean cross entropy and the number of correct answers."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), jnp.sum(logits.argmax(axis=-1) == labels)


@partial(jax.jit, static_argnames="training")
def forward(model: Network, state: dict, images: Images, training: bool) -> tuple[Array, Array]:
    """Returns the mean loss and the number of correct answers in either mode."""
    # Inside `jax.jit` the model is a copy: setting its mode leaves the caller's model alone.
    model.train(training)
    # In training mode the call returns new running statistics. Dropping them is all it takes to
    # look at the network without changing it.
    logits, _ = model(images.pixels, state)
    return loss_and_correct(logits, images.labels)


def evaluate(model: Network, state: dict, images: Images, *, training: bool = False) -> Score:
    """Scores a network on all images at once.

    In evaluation mode batch norm uses its running statistics. In training mode it uses the
    statistics of the batch, which are here those of all images.
    """
    loss, correct = forward(model, state, images, training)
    return Score(float(loss), int(correct), len(images.labels))
