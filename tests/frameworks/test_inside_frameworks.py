"""Our layers inside other frameworks' modules and in plain containers.

Each model is trained by optax steps on one batch: the loss falls, every parameter moves, the
running statistics follow the batch, and `inox.nn.train(model, False)` reaches the layers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from inox.nn import BatchNorm, Module, export_state, freeze, is_norm_parameter, is_parameter, train
from tests.frameworks.homes import HOMES, inside_equinox, inside_nnx

RANDOM = np.random.default_rng(0)
X = (1 + 2 * RANDOM.standard_normal((16, 4))).astype(np.float32)
# Two channels a group amplify rounding where they nearly agree.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
TARGET = RANDOM.standard_normal((16, 4)).astype(np.float32)


def leaves_by_name(model):
    """The five arrays by the names that every home gives them somewhere in their paths."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        text = jax.tree_util.keystr(path)
        part = next((name for name in ("scale", "bias") if f".{name}.value" in text), "kernel")
        # The batch norm comes before the group norm in every home.
        name = f"batch_{part}" if part != "kernel" and f"batch_{part}" not in found else part
        found[name] = np.asarray(leaf, np.float64)
    return found


def evaluated64(arrays, mean, var):
    """The network in evaluation mode, in float64 NumPy."""
    y = (X - np.asarray(mean, np.float64)) / np.sqrt(np.asarray(var, np.float64) + 1e-5)
    y = (y * arrays["batch_scale"] + arrays["batch_bias"]) @ arrays["kernel"]
    pairs = y.reshape(-1, 2, 2)
    centred = pairs - pairs.mean(-1, keepdims=True)
    pairs = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return pairs.reshape(y.shape) * arrays["scale"] + arrays["bias"]


@pytest.fixture(params=HOMES)
def home(request, peer):
    """One kind of model with its ways in; `call(model, x, state)` runs it."""
    found = HOMES[request.param](peer)
    if not hasattr(found, "call"):
        found.call = lambda model, x, state: model(x, state)
    return found


def test_training_moves_parameters_and_statistics(home, standard_promotion):
    """Three steps of Adam through plain `jax.jit` and `jax.grad`, then evaluation."""
    model, state = export_state(home.model)
    assert type(model) is home.kind
    assert {str(key) for key in state} == {home.key}
    optimiser = optax.adam(0.05)
    traces = []

    @jax.jit
    def step(model, state, optimiser_state):
        traces.append(None)

        def loss(model):
            y, updated = home.call(model, X, state)
            return jnp.mean((y - TARGET) ** 2), updated

        (value, updated), gradient = jax.value_and_grad(loss, has_aux=True)(model)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, model)
        return optax.apply_updates(model, updates), updated, optimiser_state, value

    trained, moved, optimiser_state = model, state, jax.jit(optimiser.init)(model)
    losses = []
    for _ in range(3):
        trained, moved, optimiser_state, value = step(trained, moved, optimiser_state)
        losses.append(float(value))
    assert losses[2] < losses[1] < losses[0]
    assert len(traces) == 1
    assert type(trained) is home.kind
    before, after = jax.tree.leaves(model), jax.tree.leaves(trained)
    assert len(before) == len(after) == 5
    for one, other in zip(before, after, strict=True):
        assert np.all(np.asarray(one) != np.asarray(other))

    exact = X.astype(np.float64)
    mean, var = moved[home.batch(trained).stats]
    np.testing.assert_allclose(mean, exact.mean(0) * (1 - 0.5**3), rtol=1e-5)
    np.testing.assert_allclose(var, exact.var(0) * (1 - 0.5**3) + 0.5**3, rtol=1e-5)
    np.testing.assert_array_equal(state[home.batch(model).stats].mean, np.zeros(4))

    assert train(trained, False) is trained
    batch = home.batch(trained)
    assert batch.training is False
    evaluate = jax.jit(home.call)
    evaluated, kept = evaluate(trained, X, moved)
    np.testing.assert_allclose(evaluated, evaluated64(leaves_by_name(trained), mean, var), **CLOSE)
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(one, other)
    train(trained, True)
    assert batch.training is True
    again, _ = evaluate(trained, X, moved)
    assert np.abs(np.asarray(evaluated) - np.asarray(again)).max() > 1e-3


def test_norm_parameters_are_found_inside(home):
    """`is_norm_parameter` marks the four arrays of the norms and not the kernel."""
    model, _ = export_state(home.model)
    mask = is_norm_parameter(model)
    assert jax.tree.structure(mask) == jax.tree.structure(model)
    for flag, leaf in zip(jax.tree.leaves(mask), jax.tree.leaves(model), strict=True):
        assert flag is (leaf.ndim == 1)
    decay = optax.add_decayed_weights(0.5, mask=jax.tree.map(lambda flag: not flag, mask))
    zeros = jax.tree.map(jnp.zeros_like, model)
    updates, _ = decay.update(zeros, decay.init(model), model)
    for leaf, update in zip(jax.tree.leaves(model), jax.tree.leaves(updates), strict=True):
        np.testing.assert_array_equal(update, 0.5 * leaf if leaf.ndim == 2 else np.zeros(4))


def test_parameters_are_found_inside(home):
    """`is_parameter` marks what a `Parameter` holds: a kernel that another framework holds is not.

    A mask of both is the union with that framework's own filter, here the kernel.
    """
    model, _ = export_state(home.model)
    mask = is_parameter(model)
    assert jax.tree.structure(mask) == jax.tree.structure(model)
    ours = isinstance(model, Module)
    for flag, leaf in zip(jax.tree.leaves(mask), jax.tree.leaves(model), strict=True):
        assert flag is (leaf.ndim == 1 or ours)
    kernel = jax.tree.map(lambda leaf: leaf.ndim == 2, model)
    both = jax.tree.map(lambda one, other: one or other, mask, kernel)
    assert all(jax.tree.leaves(both))


def test_started_optimizer_is_frozen_inside(home, standard_promotion):
    """`freeze` and `train` reach our layers in the optimizer's state, wherever they live."""
    model, _ = export_state(home.model)
    optimizer = optax.adam(0.05)
    gradient = jax.tree.map(jnp.ones_like, model)
    _, optimizer_state = optimizer.update(gradient, optimizer.init(model), model)
    model, optimizer_state = freeze(model), freeze(optimizer_state)
    train((model, optimizer_state), True)
    updates, _ = optimizer.update(freeze(gradient), optimizer_state, model)
    assert jax.tree.structure(updates) == jax.tree.structure(model)
    for update in jax.tree.leaves(updates):
        # 1 - 0.999² in float32, by which Adam divides, is off by 3e-5 of itself.
        np.testing.assert_allclose(update, -0.05, rtol=1e-4)


def test_equinox_filters_see_the_layers_arrays(peer):
    """`eqx.filter_jit`, `eqx.filter_grad` and `eqx.partition` see our layers' arrays."""
    eqx = peer("equinox")
    home = inside_equinox(peer)
    model, state = export_state(home.model)
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    assert len(jax.tree.leaves(arrays)) == 5
    whole = eqx.combine(arrays, static)

    @eqx.filter_jit
    def slope(model, state):
        return eqx.filter_grad(lambda model: jnp.sum(model(X, state)[0] * TARGET))(model)

    gradient = slope(whole, state)
    np.testing.assert_allclose(
        gradient.group.bias.value, TARGET.astype(np.float64).sum(0), rtol=1e-4
    )
    moved = eqx.tree_at(lambda model: model.batch.bias.value, whole, jnp.full(4, 2.0))
    assert moved.batch.bias is not whole.batch.bias
    np.testing.assert_allclose(moved.batch(X, state)[0], whole.batch(X, state)[0] + 2, rtol=1e-6)


def test_nnx_split_and_merge_keep_the_layers(peer):
    """`nnx.split` and `nnx.merge` carry our layers, and the numbers stay the same."""
    nnx = peer("flax.nnx")
    model, state = export_state(inside_nnx(peer).model)
    definition, arrays = nnx.split(model)
    assert len(jax.tree.leaves(arrays)) == 5
    merged = nnx.merge(definition, arrays)
    assert isinstance(merged.batch, BatchNorm)
    np.testing.assert_array_equal(merged(X, state)[0], model(X, state)[0])
    np.testing.assert_array_equal(
        nnx.jit(lambda m, x: m(x, state)[0])(model, X),
        jax.jit(lambda m, x: m(x, state)[0])(model, X),
    )
