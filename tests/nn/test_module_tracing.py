"""How often `jax.jit` traces: counted by a Python counter inside the traced function."""

import jax
import jax.numpy as jnp
import numpy as np
from layer_cases import call, each_layer, example

from inox.nn import BatchNorm, LayerNorm, Module, export_state


class Counter:
    """A jitted call that counts its traces."""

    def __init__(self):
        self.traces = 0

        def counted(layer, state, x):
            self.traces += 1
            return layer(x, state) if isinstance(layer, Block) else call(layer, state, x)

        self.run = jax.jit(counted)


class Block(Module):
    def __init__(self):
        self.norms = [
            BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4)),
            LayerNorm(scale=jnp.ones(4)),
        ]

    def __call__(self, x, state):
        x, state = self.norms[0](x, state)
        return self.norms[1](x), state


@each_layer
def test_second_call_does_not_trace_again(case):
    """States fed back, other arrays and an equally built layer all meet the first trace."""
    counter = Counter()
    layer, state = case.exported()
    _, state = counter.run(layer, state, example(0))
    _, state = counter.run(layer, state, example(1))
    changed = jax.tree.map(lambda leaf: leaf * 2, layer)
    _, state = counter.run(changed, state, example(2))
    counter.run(*case.exported(), example(3))
    assert counter.traces == 1


def test_train_false_traces_exactly_once_more():
    """`train(False)` on a batch norm is one new trace; going back to training is none."""
    counter = Counter()
    layer, state = export_state(BatchNorm(4))
    trained, state = counter.run(layer, state, example())
    assert counter.traces == 1
    layer.train(False)
    evaluated, _ = counter.run(layer, state, example())
    counter.run(layer, state, example(1))
    assert counter.traces == 2
    assert np.abs(np.asarray(evaluated - trained)).max() > 0.1
    layer.train()
    again, _ = counter.run(layer, state, example())
    assert counter.traces == 2
    np.testing.assert_array_equal(again, trained)


def test_train_false_on_a_model_traces_exactly_once_more():
    """The mode of a model with several layers changes the trace once, not once a layer."""
    counter = Counter()
    model, state = export_state(Block())
    counter.run(model, state, example())
    model.train(False)
    counter.run(model, state, example())
    counter.run(model, state, example(1))
    assert counter.traces == 2
    model.train(True)
    counter.run(model, state, example())
    assert counter.traces == 2


def test_another_configuration_traces_again():
    """A float epsilon is static: another number is another trace. An array epsilon is not."""
    counter = Counter()
    for epsilon in (1e-5, 1e-3):
        counter.run(LayerNorm(epsilon=epsilon), {}, example())
    assert counter.traces == 2
    found = [
        counter.run(LayerNorm(epsilon=jnp.float32(epsilon)), {}, example())[0]
        for epsilon in (1e-5, 1.0)
    ]
    assert counter.traces == 3
    assert np.abs(np.asarray(found[0] - found[1])).max() > 0.1


def test_layers_closed_over_are_constants():
    """A layer that a jitted function closes over gives the same numbers."""
    layer = LayerNorm(scale=jnp.full(4, 3.0))
    x = example()
    jitted = jax.jit(lambda x: layer(x))
    np.testing.assert_allclose(jitted(x), layer(x), rtol=1e-6)


def test_bound_call_can_be_jitted():
    """`jax.jit(layer.__call__)` and `jax.jit(layer)` are plain callables to JAX."""
    layer, state = export_state(BatchNorm(4))
    x = example()
    expected = layer(x, state)[0]
    np.testing.assert_allclose(jax.jit(layer.__call__)(x, state)[0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(layer)(x, state)[0], expected, rtol=1e-5, atol=1e-6)
