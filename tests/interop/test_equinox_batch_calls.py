"""BatchNorm for Equinox: how it is called, what it says of mistakes, what it runs on."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import equinox as ours
from inox.kernels.backends import BACKENDS

MODES = ["batch", "ema"]
AXES = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}


def build(mode="batch", **settings):
    return eqx.nn.make_with_state(ours.BatchNorm)(3, "batch", mode=mode, **settings)


@pytest.mark.parametrize("mode", MODES)
def test_inference_is_a_flag_and_a_keyword(mode, rng):
    """`eqx.nn.inference_mode` sets the flag, `inference=` at the call goes before it, both ways."""
    x = rng.standard_normal((8, 3)).astype(np.float32)
    layer, state = build(mode)
    _, seen = jax.vmap(layer, **AXES)(x, state)

    def run(layer, inference):
        leaves, structure = jax.tree.flatten(seen)
        call = jax.vmap(lambda x, state: layer(x, state, inference=inference), **AXES)
        return call(2 * x, jax.tree.unflatten(structure, leaves))

    evaluating = eqx.nn.inference_mode(layer)
    by_flag, kept = run(evaluating, None)
    by_keyword, _ = run(layer, True)
    np.testing.assert_array_equal(by_flag, by_keyword)
    assert eqx.tree_equal(kept, seen)
    _, moved = run(evaluating, False)
    assert not eqx.tree_equal(moved, seen)
    assert eqx.tree_equal(moved, run(layer, None)[1])


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_needs_no_mapped_axis(mode, rng):
    """A single sample is evaluated outside of any `vmap`."""
    layer, state = build(mode)
    x = rng.standard_normal((3, 4)).astype(np.float32)
    y, _ = eqx.nn.inference_mode(layer)(x, state, key=jax.random.key(0))
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_training_without_the_axis_is_a_name_error(mode):
    """As in Equinox, but with the cure in words, and the state as it was."""
    layer, state = build(mode)
    with pytest.raises(NameError, match=r"axis_name='batch'.*inference_mode"):
        layer(jnp.ones(3), state)
    with pytest.raises(NameError, match="bound here: 'other'"):
        jax.vmap(layer, in_axes=(0, None), out_axes=(0, None), axis_name="other")(
            jnp.ones((2, 3)), state
        )
    jax.vmap(layer, **AXES)(jnp.ones((2, 3)), state)  # it is still the newest one


def test_sequential_passes_the_state(rng):
    """`eqx.nn.Sequential` gives the state to our layer and takes it back."""

    def model(key):
        first, last = jax.random.split(key)
        return ours.Sequential(
            [
                ours.Linear(2, 3, key=first),
                ours.BatchNorm(3, "batch", mode="batch"),
                ours.Lambda(jax.nn.relu),
                ours.Linear(3, 1, key=last),
            ]
        )

    network, state = eqx.nn.make_with_state(model)(jax.random.key(0))
    assert network.is_stateful()
    x = rng.standard_normal((8, 2)).astype(np.float32)
    y, state = jax.vmap(network, **AXES)(x, state)
    assert y.shape == (8, 1)
    assert state.get(network[1].batch_counter) == 1


@pytest.mark.parametrize("mode", MODES)
def test_layers_are_stacked_and_scanned(mode, rng):
    """Layers made under `eqx.filter_vmap` are run one after the other by `lax.scan`."""
    make = eqx.nn.make_with_state(lambda _: ours.BatchNorm(3, "batch", mode=mode))
    stacked, states = eqx.filter_vmap(make)(jnp.arange(4))
    x = rng.standard_normal((8, 3)).astype(np.float32)
    arrays, static = eqx.partition(stacked, eqx.is_array)

    def step(x, layer_and_state):
        arrays, state = layer_and_state
        return jax.vmap(eqx.combine(arrays, static), **AXES)(2 * x + 1, state)

    y, moved = jax.lax.scan(step, x, (arrays, states))
    expected = x
    for index in range(4):
        layer, state = make(index)
        expected, state = jax.vmap(layer, **AXES)(2 * expected + 1, state)
        for one, other in zip(jax.tree.leaves(moved), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(one[index], other, rtol=1e-6)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_kernels_run_under_vmap(mode, rng):
    """Where there are kernels, statistics and gradients of a batch are calls of them."""
    layer, state = build(mode)
    x = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)

    def loss(layer, state):
        y, state = jax.vmap(layer, **AXES)(x, state)
        return jnp.sum(y**3), state

    text = eqx.filter_jit(eqx.filter_grad(loss, has_aux=True)).lower(layer, state).as_text()
    there = not BACKENDS["cpu"].missing()
    assert len(re.findall(r"@inox_moments\.v\d", text)) == int(there)
    assert len(re.findall(r"@inox_centred_sums\.v\d", text)) >= int(there)


def call(layer_and_state, x):
    layer, state = layer_and_state
    return jax.vmap(layer, **AXES)(x, state)


WRONG = {
    "a mode": (lambda: build("train"), ValueError, "mode must be 'ema' or 'batch'; found 'train'"),
    "no axis name": (
        lambda: ours.BatchNorm(3, None, mode="batch"),
        ValueError,
        "axis_name must name the mapped axis",
    ),
    "no axis names": (
        lambda: ours.BatchNorm(3, (), mode="batch"),
        ValueError,
        "axis_name must name at least one",
    ),
    "an axis of x": (
        lambda: ours.BatchNorm(3, 0, mode="batch"),
        TypeError,
        "axis_name must be a name",
    ),
    "channels": (
        lambda: ours.BatchNorm(0, "batch", mode="batch"),
        ValueError,
        "input_size must be an integer above 0",
    ),
    "momentum": (lambda: build(momentum=1.5), ValueError, r"momentum must be in \[0, 1\]"),
    "epsilon": (lambda: build(eps=-1e-5), ValueError, "epsilon must be finite"),
    "inference": (lambda: build(inference="no"), TypeError, "inference must be True or False"),
    "dtype": (lambda: build(dtype=jnp.int8), TypeError, "dtype must be a floating-point"),
    "other channels": (
        lambda: call(build(), jnp.ones((8, 4))),
        ValueError,
        r"x must have input_size=3 channels in front.*found shape \(4,\)",
    ),
    "a batch without vmap": (
        lambda: build()[0](jnp.ones((8, 3)), build()[1]),
        ValueError,
        r"jax\.vmap\(layer, axis_name='batch'",
    ),
    "a scalar": (lambda: build()[0](jnp.ones(()), build()[1]), ValueError, "channels in front"),
    "no state": (
        lambda: eqx.nn.inference_mode(build()[0])(jnp.ones(3), None),
        TypeError,
        r"state must be an eqx\.nn\.State; found None.*make_with_state",
    ),
    "the state of another model": (
        lambda: eqx.nn.inference_mode(build()[0])(jnp.ones(3), build("ema")[1]),
        ValueError,
        "state has no running statistics of this BatchNorm",
    ),
    "complex x, real state": (
        lambda: call(build(), jnp.ones((8, 3), jnp.complex64)),
        TypeError,
        "x must be real where the running statistics are; found dtype complex64",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_named(case):
    """What a caller gets wrong is named, with what was found and the cure."""
    run, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        run()


@pytest.mark.parametrize("mode", MODES)
def test_a_used_state_is_refused_by_equinox(mode):
    """A state that has been followed by another is Equinox's error, as ever."""
    layer, state = build(mode)
    x = jnp.arange(6.0).reshape(2, 3)

    def twice(x, state):
        layer(x, state)
        return layer(x, state)

    with pytest.raises(ValueError, match="old state"):
        jax.vmap(twice, **AXES)(x, state)


@pytest.mark.parametrize("mode", MODES)
def test_real_input_of_a_complex_layer_is_real(mode, rng):
    """Statistics that may be complex serve real samples, too."""
    layer, state = build(mode, dtype=jnp.complex64, channelwise_affine=False)
    x = rng.standard_normal((16, 3)).astype(np.float32)
    y, state = jax.vmap(layer, **AXES)(x, state)
    assert y.dtype == jnp.float32
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    np.testing.assert_allclose(y, centred / np.sqrt((centred**2).mean(0) + 1e-5), rtol=1e-5)
    assert jax.tree.leaves(state)[-1].dtype == jnp.complex64
