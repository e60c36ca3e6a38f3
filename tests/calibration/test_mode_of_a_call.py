"""The mode of a single call, `training=`, in microbatches and passes."""

import jax
import numpy as np
import pytest

from inox.calibration import accumulate, commit, drift, recalibrate
from inox.nn import BatchNorm, Module, export_state, freeze, train
from tests.calibration.networks import assert_exact_moments, message_has, rows, same_bits

CHANNELS = 3


class Chain(Module):
    """Two batch norms, the second after a nonlinearity, whose mode can be that of the call."""

    def __init__(self):
        self.first, self.second = BatchNorm(CHANNELS, momentum=0.0), BatchNorm(CHANNELS)

    def __call__(self, x, state, training=None):
        y, state = self.first(x, state, training=training)
        return self.second(jax.nn.relu(y), state, training=training)


def in_training(model, state, x):
    """Each call is one of training mode."""
    return model(x, state, training=True)[1]


def in_evaluation(model, state, x):
    """Each call is one of evaluation mode."""
    return model(x, state, training=False)[1]


def as_set(model, state, x):
    """The mode is the model's."""
    return model(x, state)[1]


@pytest.mark.parametrize("mode", [True, False])
def test_microbatches_in_the_mode_of_the_call(mode):
    """Calls in training mode pool, whatever the model's own; in evaluation mode they don't."""
    model, state = export_state(Chain())
    train(model, mode)
    data = rows(0, 8).reshape(2, 4, CHANNELS)
    pooling, pooled = accumulate(model, state)
    after = pooled
    for x in data:
        after = in_training(pooling, after, x)
    committed = commit(model, state, after)
    assert_exact_moments(*committed[model.first.stats], data)
    same_bits(after[model.first.stats], state[model.first.stats])
    same_bits(in_evaluation(pooling, pooled, data[0]), pooled)
    same_bits(commit(model, state, in_evaluation(pooling, pooled, data[0])), state)


@pytest.mark.parametrize("sequential", [False, True])
def test_a_pass_in_the_mode_of_the_call(sequential):
    """`training=True` in `apply` gives what the layers' own mode gives, for frozen ones, too."""
    model, state = export_state(Chain())
    batches = np.split(np.sort(rows(0, 32), axis=0), 4)
    options = {"progress": False, "sequential": sequential}
    for first in (model.first, freeze(model.first)):
        model.first = first
        found = recalibrate(in_training, model, state, batches, **options)
        same_bits(found, recalibrate(as_set, model, state, batches, **options))
    for run in (recalibrate, drift):
        with pytest.raises(ValueError, match="never reached") as error:
            run(in_evaluation, model, state, batches, **options)
        message_has(error, ".second.stats", "evaluation mode")
