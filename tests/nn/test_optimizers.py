"""Models under an optimizer of Optax: what trains, what decays, and modes in its state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from layer_cases import assert_close, assert_same_bits, example

from inox.nn import (
    BatchNorm,
    LayerNorm,
    Module,
    Parameter,
    export_state,
    freeze,
    is_norm_parameter,
    is_parameter,
    train,
)

CHANNELS = 3
X = example(shape=(8, CHANNELS))
RATE, DECAY = 0.1, 0.5


class Network(Module):
    """A batch norm whose epsilon and momentum are arrays, a linear map and an array beside it."""

    def __init__(self):
        affine = {"scale": jnp.full(CHANNELS, 2.0), "bias": jnp.ones(CHANNELS)}
        self.norm = BatchNorm(
            CHANNELS, epsilon=jnp.float32(1e-5), momentum=jnp.float32(0.9), **affine
        )
        self.weight = Parameter(jnp.asarray(example(1, (CHANNELS, CHANNELS))))
        self.table = jnp.full(CHANNELS, 3.0)

    def __call__(self, x, state):
        y, state = self.norm(x, state)
        return y @ self.weight() + self.table[None], state


def loss(model, state):
    y, state = model(X, state)
    return jnp.mean((y - 1) ** 2), state


def masks(model):
    """The two masks of the documentation: what decays, and what must not be updated."""
    trained, norms = is_parameter(model), is_norm_parameter(model)
    decayed = jax.tree.map(lambda parameter, norm: parameter and not norm, trained, norms)
    return decayed, jax.tree.map(lambda parameter: not parameter, trained)


def adamw(decayed):
    return optax.adamw(RATE, weight_decay=DECAY, mask=decayed)


def sgd(decayed):
    return optax.chain(optax.add_decayed_weights(DECAY, mask=decayed), optax.sgd(RATE))


def adamw64(gradients, values, decayed):
    """Three steps of AdamW in float64 NumPy; `gradients(values)` is asked at each step."""
    first = {path: np.zeros(value.shape) for path, value in values.items()}
    second = {path: np.zeros(value.shape) for path, value in values.items()}
    for step in range(1, 4):
        for path, slope in gradients(values).items():
            first[path] = 0.9 * first[path] + 0.1 * slope
            second[path] = 0.999 * second[path] + 0.001 * slope**2
            move = first[path] / (1 - 0.9**step)
            move = move / (np.sqrt(second[path] / (1 - 0.999**step)) + 1e-8)
            values = values | {
                path: values[path] - RATE * (move + DECAY * decayed[path] * values[path])
            }
    return values


def sgd64(gradients, values, decayed):
    for _ in range(3):
        slopes = gradients(values)
        values = {
            path: value - RATE * (slopes[path] + DECAY * decayed[path] * value)
            for path, value in values.items()
        }
    return values


@pytest.mark.parametrize(("build", "expect"), [(adamw, adamw64), (sgd, sgd64)])
def test_nothing_but_parameters_trains(build, expect, standard_promotion):
    """With the documented masks parameters follow the rule, and no other array moves by a bit.

    Without `is_parameter`, weight decay takes momentum from 0.9 to 0.8973 in three steps.
    """
    model, state = export_state(Network())
    decayed, fixed = masks(model)
    optimizer = optax.chain(build(decayed), optax.masked(optax.set_to_zero(), fixed))

    @jax.jit
    def step(model, optimizer_state):
        gradient = jax.grad(loss, has_aux=True)(model, state)[0]
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, model)
        return optax.apply_updates(model, updates), optimizer_state

    trained, optimizer_state = model, optimizer.init(model)
    for _ in range(3):
        trained, optimizer_state = step(trained, optimizer_state)
    assert_same_bits(trained.norm.epsilon, model.norm.epsilon)
    assert_same_bits(trained.norm.momentum, model.norm.momentum)
    assert_same_bits(trained.table, model.table)

    static, parameters, rest = model.partition(Parameter)

    def gradients(values):
        arrays = {path: jnp.asarray(value, jnp.float32) for path, value in values.items()}
        found = jax.grad(lambda arrays: loss(static(arrays, rest), state)[0])(arrays)
        return {path: np.asarray(slope, np.float64) for path, slope in found.items()}

    start = {path: np.asarray(value, np.float64) for path, value in parameters.items()}
    expected = expect(gradients, start, {path: path == ".weight.value" for path in start})
    for path, value in trained.partition(Parameter)[1].items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-4, atol=1e-4)
        assert np.abs(np.asarray(value) - np.asarray(parameters[path])).min() > 0


def test_what_is_in_a_parameter_is_marked():
    """True inside of parameters alone, in a tree of the same structure, abstract ones too."""
    for model in (Network(), export_state(Network())[0], jax.eval_shape(Network)):
        mask = is_parameter(model)
        assert jax.tree.structure(mask) == jax.tree.structure(model)
        paths = {
            jax.tree_util.keystr(path)
            for path, flag in jax.tree_util.tree_leaves_with_path(mask)
            if flag is True
        }
        assert paths == {".norm.scale.value", ".norm.bias.value", ".weight.value"}
    mask = is_parameter({"a": jnp.ones(2), "b": [Parameter(1.0)], "c": None})
    assert (mask["a"], mask["b"][0].value, mask["c"]) == (False, True, None)


def started():
    """A model, its state, an optimizer after one step, and a function that makes another step."""
    model, state = export_state(Module(norms=[BatchNorm(CHANNELS, scale=jnp.ones(CHANNELS))]))
    optimizer = optax.adam(RATE)

    @jax.jit
    def step(model, state, optimizer_state):
        def value(model):
            y, updated = model.norms[0](X, state)
            return jnp.mean((y - X) ** 2), updated

        gradient, updated = jax.grad(value, has_aux=True)(model)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, model)
        return optax.apply_updates(model, updates), updated, optimizer_state

    return step, *step(model, state, optimizer.init(model))


def test_freezing_after_the_first_step(standard_promotion):
    """`freeze` on the optimizer's state too: its averages stay, and training goes on frozen."""
    step, model, state, optimizer_state = started()
    frozen, frozen_state = freeze(model), freeze(optimizer_state)
    with pytest.raises(ValueError, match=r"[Ss]tructure|metadata|aux"):
        step(frozen, state, optimizer_state)
    assert type(frozen_state) is type(optimizer_state)
    assert_same_bits(jax.tree.leaves(frozen_state), jax.tree.leaves(optimizer_state))
    after, kept, later_state = step(frozen, state, frozen_state)
    assert_same_bits(kept, state)
    # One step of Adam in evaluation mode, in float64.
    mean, var = (np.asarray(leaf, np.float64) for leaf in state[model.norms[0].stats])
    normal = (X - mean) / np.sqrt(var + 1e-5)
    scale = np.asarray(model.norms[0].scale(), np.float64)
    slope = (2 * (normal * scale - X) * normal).sum(0) / X.size
    before = optimizer_state[0]
    first = 0.9 * np.asarray(before.mu.norms[0].scale(), np.float64) + 0.1 * slope
    second = 0.999 * np.asarray(before.nu.norms[0].scale(), np.float64) + 0.001 * slope**2
    move = first / (1 - 0.9**2) / (np.sqrt(second / (1 - 0.999**2)) + 1e-8)
    assert_close(after.norms[0].scale(), scale - RATE * move, 64)
    assert jax.tree.structure(later_state) == jax.tree.structure(frozen_state)
    train(later_state, True)  # frozen norms stay in evaluation mode there as well
    assert jax.tree.structure(later_state) == jax.tree.structure(frozen_state)


def test_switching_the_mode_after_the_first_step(standard_promotion):
    """`train` on the optimizer's state follows the model into evaluation mode and back."""
    step, model, state, optimizer_state = started()
    expected = step(model, state, optimizer_state)
    train(model, False)
    with pytest.raises(ValueError, match=r"[Ss]tructure|metadata|aux"):
        step(model, state, optimizer_state)
    assert train(optimizer_state, False) is optimizer_state
    _, kept, _ = step(model, state, optimizer_state)
    assert_same_bits(kept, state)
    train((model, optimizer_state), True)
    assert_same_bits(step(model, state, optimizer_state), expected)


def test_average_of_the_weights_has_the_mode_of_the_model(standard_promotion):
    """Optax averages an online and a target network that are switched together."""
    online, _ = export_state(Network())
    target = jax.tree.map(lambda leaf: 3 * leaf, online)
    train(target, False)
    with pytest.raises(ValueError, match=r"[Ss]tructure|metadata|aux"):
        optax.incremental_update(online, target, 0.5)
    averaged = optax.incremental_update(online, train(target, True), 0.5)
    assert_same_bits(averaged, jax.tree.map(lambda leaf: 2 * leaf, online))


def test_compiled_function_follows_the_mode_of_its_argument():
    """A layer that is an argument of a compiled function is evaluated after the switch."""
    layer, state = export_state(BatchNorm(CHANNELS))
    step = jax.jit(lambda layer, x, state: layer(x, state))
    assert_close(step(layer, X, state)[0].mean(0), np.zeros(CHANNELS), floor=1.0)
    layer.train(False)
    assert_close(step(layer, X, state)[0], X.astype(np.float64) / np.sqrt(1 + 1e-5))


@pytest.mark.parametrize("mode", ["eval", "yes", 1, 0, None, 0.0, jnp.array(True), [False]])
@pytest.mark.parametrize("switch", [train, lambda tree, mode: tree.train(mode)])
def test_other_modes_than_bools_are_refused(switch, mode):
    """The error names the argument, what was found and the cure; no layer is switched."""
    module = Module(layers=[BatchNorm(CHANNELS), LayerNorm()])
    with pytest.raises(TypeError, match=r"mode must be True .* found .*train\(False\)"):
        switch(module, mode)
    assert module.layers[0].training is True
    switch(module, np.bool_(False))
    assert module.layers[0].training is False
