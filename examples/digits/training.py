"""Training one network: the step, the epochs, and what is remembered of them."""

import operator
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field

import data
import jax
import numpy as np
import optax
from checkpoint import Saver
from convergence import Distance, distances
from data import Images
from evaluation import Score, evaluate, loss_and_correct
from jax import Array
from network import Network, make_network
from tqdm import tqdm

import inox.nn as nn

LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-2
DISTANCES_MEASURED = 50


@dataclass
class History:
    """What happened while one network was trained."""

    norm: str
    test: list[Score] = field(default_factory=list)  # in evaluation mode, after each epoch
    distances: dict[str, list[Distance]] = field(default_factory=dict)  # by layer, over the steps
    final: dict[tuple[str, str], Score] = field(default_factory=dict)  # by images and mode
    seconds_a_step: float = 0.0
    seconds: float = 0.0


def make_optimizer(model: Network, steps: int) -> optax.GradientTransformation:
    """AdamW whose learning rate falls to zero along a cosine.

    Weight decay leaves the scale and bias of the norms alone: they are not weights, and pulling
    them to zero would switch off the channels they belong to.
    """
    decayed = jax.tree.map(operator.not_, nn.is_norm_parameter(model))
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, steps)
    return optax.adamw(schedule, weight_decay=WEIGHT_DECAY, mask=decayed)


def make_step(optimizer: optax.GradientTransformation) -> Callable:
    """Returns the compiled training step. Model and state go in, new ones come out."""

    def loss_function(model: Network, state: dict, batch: Images) -> tuple[Array, tuple]:
        logits, state = model(batch.pixels, state)
        loss, correct = loss_and_correct(logits, batch.labels)
        return loss, (state, correct)

    @jax.jit
    def step(model: Network, state: dict, memory: optax.OptState, batch: Images) -> tuple:
        gradient = jax.value_and_grad(loss_function, has_aux=True)
        (loss, (state, correct)), gradients = gradient(model, state, batch)
        updates, memory = optimizer.update(gradients, memory, model)
        model = optax.apply_updates(model, updates)
        return model, state, memory, loss, correct

    return step


def train(
    norm: str, options: Namespace, train_images: Images, test_images: Images, saver: Saver
) -> History:
    """Trains a network, saves it after each epoch and returns its history."""
    model, state = make_network(options.seed, norm)
    steps = options.epochs * (len(train_images.labels) // options.batch_size)
    optimizer = make_optimizer(model, steps)
    memory = optimizer.init(model)
    step = make_step(optimizer)

    history = History(norm)
    # Closer together at the start, where the running statistics change most.
    measured = set(np.geomspace(1, steps, DISTANCES_MEASURED).astype(int).tolist())
    generator = np.random.default_rng(options.seed)
    durations = []
    test_accuracy = "-"
    start = time.perf_counter()
    with tqdm(total=steps, desc=f"{norm:5}", unit="step", mininterval=0.5) as progress:
        for epoch in range(1, options.epochs + 1):
            for batch in data.batches(train_images, options.batch_size, generator):
                before = time.perf_counter()
                model, state, memory, loss, correct = step(model, state, memory, batch)
                # JAX computes in the background: reading the numbers waits for them.
                numbers = {
                    "loss": f"{float(loss):.3f}",
                    "accuracy": f"{int(correct) / options.batch_size:.1%}",
                }
                durations.append(time.perf_counter() - before)
                progress.update()
                progress.set_postfix(numbers, test=test_accuracy, refresh=False)
                if progress.n in measured:
                    for path, distance in distances(model, state, train_images, progress.n).items():
                        history.distances.setdefault(path, []).append(distance)
            score = evaluate(model, state, test_images)
            history.test.append(score)
            test_accuracy = f"{score.accuracy:.1%}"
            record = {"norm": norm, "epoch": epoch, **score._asdict()}
            saver.save(epoch, model, state, record)
        progress.set_postfix(numbers, test=test_accuracy)
    history.seconds = time.perf_counter() - start
    # The median leaves out the first step, which is mostly compilation.
    history.seconds_a_step = float(np.median(durations))
    for name, images in (("train", train_images), ("test", test_images)):
        for mode in ("training", "evaluation"):
            score = evaluate(model, state, images, training=mode == "training")
            history.final[name, mode] = score
    return history
