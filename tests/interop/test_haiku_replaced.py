"""`replaced()`: Haiku's own layers compute what ours do, and stay what they are."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import haiku as ours
from tests.interop.haiku_cases import LAYERS, example, kinds, random_like, transformed

pytestmark = pytest.mark.usefixtures("standard_promotion")


def inside(network):
    """A transformed function within `replaced()`."""

    def within(function):
        @ours.replaced()
        def run(*args):
            return function(*args)

        return run

    return hk.TransformedWithState(within(network.init), within(network.apply))


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    """The trees are Haiku's, the numbers those of our classes to the bit, for every layer."""
    x = example(name, mean=3000.0)
    results = []
    for network in (inside(transformed(hk, name)), transformed(ours, name)):
        shapes = jax.eval_shape(network.init, None, x)

        @jax.jit
        def run(parameters, x, network=network):
            _, state = network.init(None, x)
            y, state = network.apply(parameters, state, None, x)
            z, _ = network.apply(parameters, state, None, x, False)
            return y, state, z

        results.append((kinds(shapes), run(random_like(shapes[0]), x)))
    assert results[0][0] == results[1][0]
    for mine, theirs in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_models_of_haiku():
    """A network that Haiku builds is right where the mean is large, and Haiku's own is not."""
    x = example("model")

    def network(x):
        x = 3000 + 0.01 * jax.nn.relu(x)
        return hk.BatchNorm(False, False, 0.9)(x, True)

    wide = 3000 + np.float32(0.01) * np.maximum(x, 0)
    wide = wide.astype(np.float64)
    expected = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)

    def error(network):
        f = hk.transform_with_state(network)
        return np.abs(f.apply(*f.init(None, x), None, x)[0] - expected).max()

    assert error(ours.replaced()(network)) < 1e-5
    assert not error(network) < 1


def test_subclasses():
    """A subclass that calls the method of its parent is ours inside, too; other modules are not."""

    class Centred(hk.BatchNorm):
        def __call__(self, inputs, is_training):
            return super().__call__(inputs, is_training, scale=2.0) + 1.0

    calls = []

    class Own(hk.Module):
        def __call__(self, x):
            calls.append(x.shape)
            return x

    @ours.replaced()
    def network(x):
        return Own()(Centred(False, False, 0.9, name="centred")(x, True))

    x = example("subclass", mean=3000.0)
    f = hk.transform_with_state(network)
    y, state = f.apply(*f.init(None, x), None, x)
    assert sorted(state) == ["centred/~/mean_ema", "centred/~/var_ema"]
    np.testing.assert_allclose(y.mean((0, 1, 2)), 1.0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 2.0, rtol=1e-5)
    assert calls


def test_ends_where_it_is_left():
    """After the block Haiku's own method runs, also where an error has left it."""
    x = 3000 + example("left")

    def network(x):
        layer = hk.LayerNorm(-1, False, False, use_fast_variance=True)
        try:
            with ours.replaced():
                within = layer(x)
                raise KeyError
        except KeyError:
            return within, layer(x)

    within, after = hk.transform(network).apply({}, None, x)
    np.testing.assert_allclose(within.std(-1), 1, rtol=1e-4)
    assert not np.allclose(after.std(-1), 1, rtol=1e-2)


def test_interceptors_around_it():
    """Method interceptors that are entered around it see the calls of the layers."""
    seen = []

    def note(following, args, kwargs, context):
        seen.append((type(context.module).__name__, context.method_name))
        return following(*args, **kwargs)

    def network(x):
        with hk.intercept_methods(note), ours.replaced():
            return hk.RMSNorm(-1, create_scale=False)(x)

    hk.transform(network).apply({}, None, example("seen"))
    assert ("RMSNorm", "__call__") in seen


def test_group_norm_that_was_called_outside():
    """Haiku's group norm changes its axes at its first call: refused, as ours would be wrong."""
    x = example("outside")

    def network(x):
        layer = hk.GroupNorm(4)
        layer(x)
        with ours.replaced():
            return layer(x)

    with pytest.raises(ValueError, match=r"outside of inox\.interop\.haiku\.replaced"):
        hk.transform(network).init(None, x)


def test_mixed_precision_policies():
    """A policy of Haiku's class holds for its layer inside, one of ours for ours."""
    jmp = pytest.importorskip("jmp")
    policy = jmp.get_policy("params=float32,compute=float32,output=bfloat16")
    x = jnp.asarray(example("policy"), jnp.bfloat16)
    for module, around in ((hk, ours.replaced()), (ours, lambda network: network)):
        with hk.mixed_precision.push_policy(module.BatchNorm, policy):
            network = hk.transform_with_state(
                around(lambda x, m=module: m.BatchNorm(True, True, 0.9)(x, True))
            )
            parameters, state = network.init(None, x)
            y, _ = network.apply(parameters, state, None, x)
        assert y.dtype == jnp.bfloat16
        assert parameters["batch_norm"]["scale"].dtype == jnp.float32
        wide = np.asarray(x, np.float64)
        expected = (wide - wide.mean((0, 1, 2))) / np.sqrt(wide.var((0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=2**-8, atol=1e-5)
