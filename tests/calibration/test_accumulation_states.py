"""Pooled states that a checkpoint has changed, and states that don't belong."""

import pytest

from inox.calibration import accumulate, commit
from inox.nn import BatchNorm, export_state
from inox.nn.normalization.pooled_moments import pooling_key
from tests.calibration.networks import assert_exact_moments, message_has, rows

CHANNELS = 3


def test_a_checkpoint_of_the_pooled_state():
    """A pool that a library has made a dict or a list of is taken back."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.0))
    x = rows(1, 8).reshape(2, 4, CHANNELS)
    pooling, pooled = accumulate(layer, state)
    _, pooled = pooling(x[0], pooled)
    key = pooling_key(layer.stats)
    for restored in (pooled[key]._asdict(), list(pooled[key])):
        _, after = pooling(x[1], {**pooled, str(key): restored})
        assert_exact_moments(*commit(layer, state, after)[layer.stats], x)


def test_mistakes_are_told():
    """Each mistake has a message with the cure, and is raised before any work."""
    layer, state = export_state(BatchNorm(CHANNELS))
    _, pooled = accumulate(layer, state)
    with pytest.raises(ValueError, match="export_state") as error:
        accumulate(BatchNorm(CHANNELS), {})
    message_has(error, "model", "stats")
    with pytest.raises(ValueError, match="pooled lacks") as error:
        commit(layer, state, state)
    message_has(error, "'.stats'", "accumulate(model, state)")
    with pytest.raises(TypeError, match="state must be"):
        commit(layer, pooled[pooling_key(layer.stats)], pooled)
    with pytest.raises(TypeError, match="state must be"):
        accumulate(layer, None)
    with pytest.raises(ValueError, match="lacks the key"):
        accumulate(layer, {})
    with pytest.raises(ValueError, match="must be PooledMoments") as error:
        layer(rows(0, 4), {**state, pooling_key(layer.stats): state[layer.stats]})
    message_has(error, "(3,)", "accumulate")
