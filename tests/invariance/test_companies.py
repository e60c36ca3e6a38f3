"""y and dx of an example are the same bits in any batch, at any place, beside anything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.invariance.batches import EXAMPLES, companies, draw, of_examples, run, violations
from tests.invariance.grid import EACH_CELL, EACH_IMPLEMENTATION, EACH_OPERATION, require

pytestmark = pytest.mark.usefixtures("x64")


@EACH_IMPLEMENTATION
@EACH_CELL
def test_an_example_has_the_same_bits_in_any_company(operation, example, dtype, implementation):
    """Alone, in batches of every size and order, beside NaN, under `vmap`, inside a program.

    The batch holds examples of every kind in turn, so that blocks of rows mix those that a kernel
    takes another way (an outlier, a spread that float32 can't hold) with those that it doesn't.
    """
    require(implementation)
    batch = draw(operation, example, jnp.dtype(dtype))
    assert violations(companies(run(operation, example, implementation), batch)) == []


@EACH_IMPLEMENTATION
@EACH_OPERATION
def test_eagerly_and_without_a_gradient(operation, implementation):
    """Outside of compiled code an example has the bits that it has inside; so has y without dx."""
    require(implementation)
    example = operation.examples[0]
    batch = draw(operation, example, jnp.dtype("float32"))
    call = run(operation, example, implementation)

    def compiled_then_eager():
        places = np.arange(EXAMPLES)
        yield "compiled", places, jax.jit(of_examples(call))(batch.x, batch.dy, batch.shared)
        on_device = jax.tree.map(jnp.asarray, (batch.x, batch.dy, batch.shared))
        yield "eager", places, of_examples(call)(*on_device)
        one = jax.tree.map(lambda array: array[3:4], on_device[:2])
        yield "eager, alone", places[3:4], of_examples(call)(*one, on_device[2])
        forward = jax.jit(lambda *arrays: call(*arrays)["y"])(batch.x, batch.dy, batch.shared)
        yield "forward alone", places, (forward, of_examples(call)(*on_device)[1])

    assert violations(compiled_then_eager()) == []


def test_the_grid_sees_a_norm_that_depends_on_the_batch():
    """The tests above would pass on a comparison that finds nothing: batch norm is found out."""
    (operation,) = (one for one in EACH_OPERATION.args[1] if one.name == "layer_norm")
    example = operation.examples[0]
    batch = draw(operation, example, jnp.dtype("float32"))

    def together(x, dy, shared):
        mean = jnp.mean(x, 0, keepdims=True)
        return {"y": x - mean, "dx": dy}

    found = violations(companies(together, batch))
    assert any("beside NaN" in line for line in found)
    assert any("examples 0 to 1" in line for line in found)
    assert any("vmap" in line for line in found)
    assert not any(line.startswith("dx") for line in found)
