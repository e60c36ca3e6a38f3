"""The reference document, sentence by sentence, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, example, group64, run, standardize64

from inox.nn import BatchNorm, GroupNorm, LayerNorm, export_state


@pytest.mark.parametrize("shape", [(6, 4), (3, 5, 4), (2, 3, 5, 4), (2, 2, 3, 2, 4)], ids=str)
def test_batch_norm_normalizes_over_the_batch_and_the_spatial_axes(shape):
    """Training: y = (x - E[x]) / sqrt(V[x] + epsilon), all axes but the last pooled."""
    x = example(shape=shape)
    layer, state = export_state(BatchNorm(4))
    y, _ = run(layer, state, x)
    assert_close(y, standardize64(x, tuple(range(len(shape) - 1)), 1e-5))
    assert y.dtype == x.dtype


def test_batch_norm_returns_a_tuple_of_output_and_updated_state():
    """The call gives (y, state): the state is a new dict with the keys of the old one."""
    layer, state = export_state(BatchNorm(4))
    result = layer(example(), state)
    assert type(result) is tuple
    y, updated = result
    assert isinstance(y, jax.Array)
    assert type(updated) is dict
    assert updated is not state
    assert updated.keys() == state.keys()
    assert np.all(np.asarray(updated[layer.stats].mean) != 0)


def test_running_estimates_start_at_mean_zero_and_variance_one():
    """A fresh state holds a mean of exactly 0 and a variance of exactly 1 per channel."""
    layer, state = export_state(BatchNorm(3))
    assert_same_bits(state[layer.stats].mean, jnp.zeros(3))
    assert_same_bits(state[layer.stats].var, jnp.ones(3))


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 1.0])
def test_running_estimates_follow_the_update_rule(momentum):
    """S <- alpha s + (1 - alpha) batch statistic, with the biased variance, over five batches."""
    layer, state = export_state(BatchNorm(4, momentum=momentum))
    step = jax.jit(layer.__call__)
    mean, var = np.zeros(4), np.ones(4)
    for seed in range(5):
        x = example(seed) + 3 * seed
        _, state = step(x, state)
        pooled = x.astype(np.float64).reshape(-1, 4)
        mean = momentum * mean + (1 - momentum) * pooled.mean(0)
        var = momentum * var + (1 - momentum) * pooled.var(0)
        assert_close(state[layer.stats].mean, mean)
        assert_close(state[layer.stats].var, var)


def test_evaluation_normalizes_with_the_running_estimates():
    """Evaluation uses the state's numbers in the formula and hands the state back bit for bit."""
    layer, state = export_state(BatchNorm(4, 1e-3))
    for seed in range(3):
        _, state = run(layer, state, example(seed))
    layer.train(False)
    x = 5 + 3 * example(9)
    y, after = run(layer, state, x)
    mean, var = (np.asarray(part, np.float64) for part in state[layer.stats])
    assert_close(y, (x.astype(np.float64) - mean) / np.sqrt(var + 1e-3))
    assert_same_bits(after, state)


def test_evaluation_treats_each_example_alone():
    """In evaluation mode the output of an example does not depend on the rest of its batch."""
    layer, state = export_state(BatchNorm(4))
    _, state = run(layer, state, example())
    layer.train(False)
    x = example(1)
    together, _ = run(layer, state, x)
    alone = np.concatenate([run(layer, state, x[index : index + 1])[0] for index in range(len(x))])
    assert_close(alone, together, 2)


def test_training_is_the_mode_a_layer_starts_in():
    """A fresh layer trains: its output is centred by the batch and not by the zero running mean."""
    layer, state = export_state(BatchNorm(4))
    assert layer.training is True
    y, _ = run(layer, state, example() + 100)
    assert np.abs(np.asarray(y).mean((0, 1, 2))).max() < 1e-5


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((4,), -1),
        ((3, 4), -1),
        ((2, 3, 4), (-2, -1)),
        ((2, 3, 4), (2, 1)),
        ((2, 3, 4), 0),
        ((2, 3, 4), [1]),
        ((2, 3, 4), (0, -1)),
        ((2, 3, 2, 4), (-3, 0, 3)),
    ],
    ids=str,
)
def test_layer_norm_normalizes_over_the_axes_it_is_given(shape, axis):
    """`axis` is an int or a sequence of them, in any order, positive or negative."""
    x = example(shape=shape)
    y = LayerNorm(axis)(x)
    assert_close(y, standardize64(x, axis if isinstance(axis, int) else tuple(axis), 1e-5))
    assert y.dtype == x.dtype


def test_layer_norm_works_over_the_last_axis_by_default():
    """Without arguments the channels of each position are normalized with epsilon 1e-05."""
    x = example() * np.float32(1e-3)
    assert_close(LayerNorm()(x), standardize64(x, -1, 1e-5))


@pytest.mark.parametrize(
    ("shape", "groups"),
    [((6,), 2), ((5, 6), 1), ((5, 6), 3), ((5, 6), 6), ((2, 3, 6), 2), ((2, 3, 2, 6), 3)],
    ids=str,
)
def test_group_norm_separates_channels_into_groups(shape, groups):
    """The channels split into G neighbouring groups, each normalized alone at each position."""
    x = example(shape=shape)
    y = GroupNorm(groups)(x)
    assert_close(y, group64(x, groups, (-1,), 1e-5))
    assert y.dtype == x.dtype


@pytest.mark.parametrize("epsilon", [1e-5, 0.5])
def test_group_norm_with_one_group_equals_layer_norm(epsilon):
    """G = 1 is equivalent to LayerNorm, value and gradient."""
    x, weight = example(), example(1)

    def value_and_gradient(layer):
        return jax.value_and_grad(lambda x: jnp.sum(layer(x) * weight))(jnp.asarray(x))

    one, other = (
        value_and_gradient(GroupNorm(1, epsilon)),
        value_and_gradient(LayerNorm(-1, epsilon)),
    )
    assert_close(one[0], other[0])
    assert_close(one[1], other[1])
    assert_close(GroupNorm(1, epsilon)(x), LayerNorm(-1, epsilon)(x), 2)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-2, 1.0])
def test_epsilon_is_added_to_the_variance_under_the_root(epsilon):
    """Where the variance is as small as epsilon, the place of epsilon shows."""
    x = example() * np.float32(np.sqrt(epsilon))
    assert_close(LayerNorm(epsilon=epsilon)(x), standardize64(x, -1, epsilon))
    assert_close(GroupNorm(2, epsilon)(x), group64(x, 2, (-1,), epsilon))
    layer, state = export_state(BatchNorm(4, epsilon))
    assert_close(layer(x, state)[0], standardize64(x, (0, 1, 2), epsilon))


@pytest.mark.parametrize("array", [False, True], ids=["float", "array"])
def test_epsilon_and_momentum_are_floats_or_arrays(array):
    """A float and an array of the same number give the same output and the same state."""
    kind = jnp.float32 if array else float
    x = example()
    layer, state = export_state(BatchNorm(4, kind(0.25), kind(0.5)))
    y, state = layer(x, state)
    assert_close(y, standardize64(x, (0, 1, 2), 0.25))
    assert_close(state[layer.stats].mean, x.astype(np.float64).mean((0, 1, 2)) / 2)
    assert_close(LayerNorm(-1, kind(0.25))(x), standardize64(x, -1, 0.25))
    assert_close(GroupNorm(2, kind(0.25))(x), group64(x, 2, (-1,), 0.25))


def test_layers_of_the_document_have_no_parameters():
    """Built as the document shows them, the layers hold nothing to train."""
    for layer in (export_state(BatchNorm(4))[0], LayerNorm(), GroupNorm(2)):
        assert jax.tree.leaves(layer) == []
        assert layer.scale is None
        assert layer.bias is None
