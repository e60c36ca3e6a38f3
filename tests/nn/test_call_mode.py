"""The mode of one call: `training=` says it, the layer's own mode is what it is without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, check_message, example, standardize64

from inox.nn import BatchNorm, BatchRenorm, Module, Statistics, export_state, freeze, update_state

LAYERS = {
    "batch": lambda: BatchNorm(4),
    "batch_warmup": lambda: BatchNorm(4, warmup=True),
    "batch_renorm": lambda: BatchRenorm(4, 1e-5, steps=0),
}
each = pytest.mark.parametrize("name", LAYERS)
MEAN, VAR = np.array([0.5, -1.0, 3.0, 0.0]), np.array([2.0, 0.5, 4.0, 9.0])


def make(name):
    layer, state = export_state(LAYERS[name]())
    stats = Statistics(jnp.asarray(MEAN, jnp.float32), jnp.asarray(VAR, jnp.float32))
    return layer, update_state(state, {layer.stats: stats})


@each
@pytest.mark.parametrize("own", [True, False], ids=["trains", "evaluates"])
def test_the_call_overrules_the_layer(name, own):
    """True and False give what a layer in that mode gives; the layer's own mode stays."""
    layer, state = make(name)
    x = example()
    for mode in (True, False, np.True_, np.False_):
        layer.train(bool(mode))
        expected = layer(x, state)
        layer.train(own)
        assert_same_bits(layer(x, state, training=mode), expected)
        assert layer.training is own


@each
def test_none_is_the_layers_own_mode(name):
    """Without the keyword, and with None, nothing changes."""
    layer, state = make(name)
    for mode in (True, False):
        layer.train(mode)
        assert_same_bits(layer(example(), state, training=None), layer(example(), state))


def test_the_numbers_are_those_of_the_mode():
    """Training: the batch's own statistics, and they move; evaluation: the state's, which stay."""
    layer, state = make("batch")
    x = example()
    y, after = layer(x, state, training=True)
    assert_close(y, standardize64(x, (0, 1, 2), 1e-5))
    assert_close(after[layer.stats].mean, 0.9 * MEAN + 0.1 * x.astype(np.float64).mean((0, 1, 2)))
    y, after = layer(x, state, training=False)
    assert_close(y, (x.astype(np.float64) - MEAN) / np.sqrt(VAR + 1e-5))
    assert_same_bits(after, state)


@each
def test_frozen_layers_stay_in_evaluation_mode(name):
    """Freezing is for good: `training=True` at the call neither uses nor moves batch statistics."""
    layer, state = make(name)
    frozen = freeze(layer)
    x = example()
    expected = layer(x, state, training=False)
    for mode in (True, False, None):
        assert_same_bits(frozen(x, state, training=mode), expected)


def test_one_compiled_model_serves_both_modes():
    """The keyword is static: no tree is switched, and no compiled call holds a stale mode."""

    class Network(Module):
        def __init__(self):
            self.norms = [BatchNorm(4), BatchNorm(4)]

        def __call__(self, x, state, *, training=None):
            for norm in self.norms:
                x, state = norm(x, state, training=training)
            return x, state

    network, state = export_state(Network())
    run = jax.jit(network, static_argnames="training")
    x = example()
    trained, after = run(x, state, training=True)
    evaluated, same = run(x, state, training=False)
    assert_close(trained, standardize64(standardize64(x, (0, 1, 2), 1e-5), (0, 1, 2), 1e-5))
    assert_close(evaluated, x.astype(np.float64) / (1 + 1e-5))
    assert_same_bits(same, state)
    assert not np.array_equal(after[network.norms[0].stats].mean, np.zeros(4))
    assert network.norms[0].training is True


def test_switching_has_two_traps_that_the_keyword_has_not():
    """A compiled function that closes over a layer keeps its mode, and modes are structures."""
    layer, state = make("batch")
    x = example()
    closed = jax.jit(layer)
    trained = closed(x, state)
    layer.train(False)
    assert_same_bits(closed(x, state), trained)  # documented: the mode it was compiled in
    evaluated = layer(x, state)
    layer.train(True)
    closed = jax.jit(layer, static_argnames="training")
    assert_same_bits(closed(x, state, training=True), trained)
    assert_same_bits(closed(x, state, training=False)[1], state)
    assert_close(closed(x, state, training=False)[0], evaluated[0])
    online, _ = export_state(BatchNorm(4, scale=jnp.ones(4)))
    target, _ = export_state(BatchNorm(4, scale=jnp.zeros(4)))
    mean = jax.tree.map(lambda one, other: 0.25 * one + 0.75 * other, online, target)
    np.testing.assert_array_equal(mean.scale(), np.full(4, 0.25))
    assert_close(mean(x, state, training=False)[0], 0.25 * np.asarray(evaluated[0]))
    target.train(False)
    with pytest.raises(ValueError, match=r"structure|[Cc]ustom|metadata"):
        jax.tree.map(jnp.add, online, target)


def test_evaluation_at_the_call_asks_for_no_mapped_axis():
    """A model trained over devices is evaluated on one by the keyword, too."""
    layer, state = export_state(BatchNorm(4, axis_name="devices"))
    y, _ = layer(example(), state, training=False)
    assert_close(y, example() / np.sqrt(1 + 1e-5))


@each
@pytest.mark.parametrize("wrong", [1, 0, "eval", "no", 1.0, jnp.bool_(True), [True]], ids=repr)
def test_what_is_no_bool_is_refused(name, wrong):
    """Neither numbers nor texts are modes: the text "no" would count as True."""
    layer, state = make(name)
    with pytest.raises(TypeError) as error:
        layer(example(), state, training=wrong)
    check_message(error, "training", "True or False")


def test_a_traced_mode_is_refused_with_the_cure():
    """A compiled function can't branch on it: the error says how to make it static."""
    layer, state = make("batch")
    step = jax.jit(lambda x, state, mode: layer(x, state, training=mode))
    with pytest.raises(TypeError) as error:
        step(example(), state, True)
    check_message(error, "training", "traced", "static_argnames")
