"""How many elements take part: exact beyond the integers of 32 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.functional.means import _number_of_true, count

FLOAT32 = jnp.dtype("float32")


@pytest.mark.parametrize("axes", [(-1,), (-3, -1), (-3, -2, -1)], ids=str)
@pytest.mark.parametrize("most", [1, 7, 1000])
def test_a_count_in_parts_is_the_count(axes, most, rng):
    """However small the parts that a mask is cut into, down to single elements."""
    where = rng.uniform(size=(5, 4, 9)) < 0.7
    found = _number_of_true(jnp.asarray(where), axes, FLOAT32, most)
    np.testing.assert_array_equal(found, where.sum(axes, keepdims=True))


def test_no_sum_has_more_elements_than_int32_counts():
    """A mask of more than 2**31 elements is cut; as int32 its count would be negative.

    The program is looked at, and not run: the mask alone takes 4 GiB.
    """
    mask = jax.ShapeDtypeStruct((2**12, 2**20 + 2**10), jnp.bool_)
    program = jax.make_jaxpr(lambda where: count(where.shape, (-2, -1), where, FLOAT32))(mask)
    sums = [equation for equation in program.eqns if equation.primitive.name == "reduce_sum"]
    sizes = [equation.invars[0].aval.size for equation in sums]
    assert sum(size for size in sizes if size > 2**16) == mask.size
    assert max(sizes) < 2**31


def test_a_mask_that_is_shared_counts_for_all_that_share_it():
    """A mask of one column stands for 2**20 of them: 2**40 elements."""
    shape = 2**20, 2**20
    where = np.ones((2**20, 1), bool)
    found = jax.jit(lambda where: count(shape, (-2, -1), where, FLOAT32))(where)
    assert found.item() == 2.0**40


def test_a_count_of_symbols_does_not_overflow():
    """In an export whose batch is a symbol, where batch times features leave int32."""
    (batch,) = jax.export.symbolic_shape("batch")
    program = jax.export.export(
        jax.jit(lambda x: count((*x.shape, 2**20), (-2, -1), None, FLOAT32))
    )(jax.ShapeDtypeStruct((batch,), jnp.int8))
    assert program.call(np.zeros(2**12 + 1, np.int8)).item() == 2.0**20 * (2**12 + 1)
