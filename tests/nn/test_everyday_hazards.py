"""What users run into: debugging without jit, restored states, padding, layers used twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional, nn

CHANNELS = 3


@pytest.fixture
def x(rng):
    return (10 + rng.standard_normal((8, CHANNELS))).astype(np.float32)


def test_without_jit(x):
    """With jit disabled, values and gradients are those of the compiled call."""

    def loss(x):
        y, _ = functional.batch_norm(x)
        return jnp.sum(functional.layer_norm(y, axis=0) * np.arange(24.0).reshape(8, 3))

    expected = jax.jit(jax.grad(loss))(x)
    with jax.disable_jit():
        actual = jax.grad(loss)(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("first", "second"), [(2, 2.0), (1, True), (0, False)])
def test_configuration_of_another_type_is_another_configuration(first, second):
    """Values that compare equal but are of different types don't share a compiled program."""
    compiled = jax.jit(lambda module: jnp.zeros(()) + jnp.asarray(module.value).dtype.itemsize)
    structures = [jax.tree.structure(nn.Module(value=value)) for value in (first, second)]
    assert structures[0] != structures[1]
    sizes = [float(compiled(nn.Module(value=value))) for value in (first, second)]
    assert sizes == [jnp.asarray(value).dtype.itemsize for value in (first, second)]


@pytest.mark.parametrize("form", [dict, list, tuple])
def test_state_in_the_form_that_a_checkpoint_library_gives(x, form):
    """A restored entry may be a dict, a list or a tuple: results are those of Statistics."""
    layer, state = nn.export_state(nn.BatchNorm(CHANNELS))
    _, state = layer(x, state)
    stats = state[layer.stats]
    restored = stats._asdict() if form is dict else form(stats)
    for mode in (True, False):
        layer.train(mode)
        expected, expected_state = layer(x, state)
        actual, actual_state = layer(x, {layer.stats: restored})
        np.testing.assert_array_equal(actual, expected)
        if mode:
            np.testing.assert_array_equal(actual_state[layer.stats], expected_state[layer.stats])


@pytest.mark.parametrize("entry", [None, np.zeros(CHANNELS), {"mean": np.zeros(CHANNELS)}])
def test_state_of_another_kind_is_refused(x, entry):
    """An entry that isn't mean and variance is an error that names the state and the cure."""
    layer, _ = nn.export_state(nn.BatchNorm(CHANNELS))
    with pytest.raises(ValueError, match=r"state\['.stats'\] must be Statistics.*export"):
        layer(x, {layer.stats: entry})


def test_skipped_batch_is_no_batch_of_the_warmup(x):
    """With warmup, a skipped batch does not count: the next one is still taken whole."""
    layer, state = nn.export_state(nn.BatchNorm(CHANNELS, warmup=True, skip_nonfinite=True))
    _, state = layer(np.full_like(x, np.nan), state)
    _, state = layer(x, state)
    np.testing.assert_allclose(state[layer.stats].mean, x.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_array_equal(state[layer.batches], np.ones(CHANNELS))


@pytest.mark.parametrize(("momentum", "kept"), [(0.0, False), (1.0, True)])
def test_momentum_at_its_ends_with_values_that_are_not_finite(x, momentum, kept):
    """Momentum 1 keeps the old values beside a NaN batch; momentum 0 heals a NaN state."""
    layer, state = nn.export_state(nn.BatchNorm(CHANNELS, momentum=momentum))
    poison = np.full_like(x, np.nan)
    if kept:
        _, new = layer(poison, state)
        np.testing.assert_array_equal(new[layer.stats], state[layer.stats])
    else:
        _, poisoned = layer(poison, state)
        _, healed = layer(x, poisoned)
        np.testing.assert_array_equal(healed[layer.stats], layer(x, state)[1][layer.stats])


def test_scale_computed_from_padding(rng):
    """A NaN scale at a masked token leaves output and gradient of x as without that token."""
    x = rng.standard_normal((4, 6)).astype(np.float32)
    where = np.array([True, True, False, True])[:, None]
    scale = np.where(where, rng.uniform(1, 2, (4, 1)), np.nan).astype(np.float32)

    def loss(x, scale, where):
        y = functional.layer_norm(x, scale, where=where)
        z, _ = functional.batch_norm(x, scale, where=where)
        return jnp.sum(jnp.sin(y) + jnp.sin(z)), (y, z)

    (_, outputs), dx = jax.value_and_grad(loss, has_aux=True)(x, scale, where)
    rows = where[:, 0]
    (_, expected), expected_dx = jax.value_and_grad(loss, has_aux=True)(x[rows], scale[rows], None)
    for y, expected_y in zip((*outputs, dx), (*expected, expected_dx), strict=True):
        np.testing.assert_allclose(y[rows], expected_y, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y[~rows], 0)


def test_nothing_takes_part_and_epsilon_is_zero(x):
    """A slice that is masked out has gradients 0, also with epsilon 0."""
    where = np.array([[True, False, True]])

    def loss(x, scale, epsilon):
        y, _ = functional.batch_norm(x, scale, epsilon=epsilon, where=where)
        z = functional.layer_norm(x, scale, axis=0, epsilon=epsilon, where=where)
        return jnp.sum(jnp.sin(y) * z)

    dx, dscale, depsilon = jax.grad(loss, (0, 1, 2))(x, np.ones(3, np.float32), np.float32(0))
    assert np.isfinite(dx).all()
    assert np.isfinite(depsilon)
    np.testing.assert_array_equal(dx[:, 1], 0)
    np.testing.assert_array_equal(dscale[1], 0)


def test_frozen_layer_that_is_used_twice_stays_one():
    """Freezing keeps the identity of a shared layer, so that it exports one entry."""
    norm = nn.BatchNorm(CHANNELS)
    frozen = nn.freeze({"first": norm, "second": [norm]})
    assert frozen["first"] is frozen["second"][0]
    assert frozen["first"] is not norm
    assert len(nn.export_state(frozen)[1]) == 1


def test_statistics_may_be_the_moments_of_another_call(x):
    """The moments that batch norm returns are statistics for another batch."""
    _, moments = functional.batch_norm(x)
    y, _ = functional.batch_norm(x + 1, statistics=moments)
    expected = (x + 1 - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda x: nn.GroupNorm(3, 64), ("epsilon", "64", "1e-05")),
        (lambda x: nn.LayerNorm(64)(x), ("axis 64", "not its size")),
        (lambda x: functional.layer_norm(1.0), ("axis", "scalar", "x[None]")),
        (lambda x: functional.layer_norm(x, where="yes"), ("where", "'yes'")),
        (lambda x: functional.batch_norm(x, axis_name=("a", "a")), ("axis_name", "repeat")),
        (lambda x: functional.batch_norm(x, axis_name=3), ("axis_name", "3", "axes of x")),
        (lambda x: functional.batch_norm(x, statistics={"mean": 0}), ("statistics", "pair")),
        (lambda x: nn.BatchNorm(3, momentum=jnp.ones(4)), ("momentum", "(4,)", "scalar")),
        (lambda x: nn.LayerNorm(scale=nn.Parameter(jnp.ones(3, complex))), ("scale", "complex")),
    ],
)
def test_common_mistakes_are_explained(x, call, fragments):
    """A mistake that habits of other libraries bring names the argument and the cure."""
    with pytest.raises((TypeError, ValueError)) as error:
        call(x)
    for fragment in fragments:
        assert fragment in str(error.value)
