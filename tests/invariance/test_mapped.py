"""`vmap` changes no bit, whatever it maps; a slice's bits are those of its numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests.invariance.batches import bits
from tests.invariance.grid import EACH_IMPLEMENTATION, require

pytestmark = [pytest.mark.usefixtures("x64"), EACH_IMPLEMENTATION]

# x, dy, scale and bias: what `vmap` maps, along which axis.
MAPPINGS = {
    "x and dy": (0, 0, None, None),
    "x and dy, along another axis": (1, 1, None, None),
    "everything": (0, 0, 0, 0),
    "x alone": (0, None, None, None),
    "x and scale": (0, None, 0, None),
    "scale alone": (None, None, 0, None),
    "bias and dy": (None, 0, None, 0),
}
# A call and the shapes of x and of its parameters.
NORMS = {
    "layer norm": (functional.layer_norm, (3, 20), (20,)),
    "layer norm, by sample": (functional.layer_norm, (4, 3, 20), (4, 1, 20)),
    "images, by sample": (
        lambda x, s, b, **how: functional.layer_norm(x, s, b, axis=(-3, -2), **how),
        (2, 5, 6, 7),
        (2, 1, 1, 7),
    ),
    "group norm": (lambda x, s, b, **how: functional.group_norm(x, 3, s, b, **how), (12,), (12,)),
    "group norm, images": (
        lambda x, s, b, **how: functional.group_norm(x, 3, s, b, axis=(-3, -2, -1), **how),
        (4, 5, 12),
        (12,),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm", NORMS)
def test_whatever_is_mapped(norm, dtype, implementation, rng):
    """y, dx and the gradients of the parameters of each example are those of the example alone.

    The gradients of the parameters, too: those of one example are sums over it alone. The parts
    of one program are compiled for all mappings at once.
    """
    require(implementation)
    call, shape, parameter = NORMS[norm]

    def both(x, dy, scale, bias):
        y, pull = jax.vjp(lambda *a: call(*a, implementation=implementation), x, scale, bias)
        return y, *pull(dy)

    full = [rng.normal(2, 1, (5, *s)).astype(dtype) for s in (shape, shape, parameter, parameter)]
    given = {}
    for name, axes in MAPPINGS.items():
        given[name] = tuple(
            a[0] if axis is None else np.moveaxis(a, 0, axis)
            for a, axis in zip(full, axes, strict=True)
        )
    mapped = jax.jit(
        lambda given: {name: jax.vmap(both, MAPPINGS[name])(*given[name]) for name in given}
    )(given)
    alone = jax.jit(both)
    for name, axes in MAPPINGS.items():
        for i in range(5):
            one = (a[0] if axis is None else a[i] for a, axis in zip(full, axes, strict=True))
            for of_mapped, of_one in zip(mapped[name], alone(*one), strict=True):
                np.testing.assert_array_equal(bits(of_mapped[i]), bits(of_one), err_msg=name)


@pytest.mark.parametrize("channels", [2, 12, 40])
@pytest.mark.parametrize("groups", [2, 3, 11])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_group_has_the_bits_of_a_row(dtype, groups, channels, implementation, rng):
    """What is computed depends on a slice alone, not on how many stand in a row.

    So a batch of one example, which reaches the kernels as rows with parameters of their own, has
    the bits that it has among others. Many rows: float16 hides another arithmetic in all elements
    but one in a thousand.
    """
    require(implementation)
    kind = jnp.dtype(dtype)
    x, dy = rng.standard_normal((2, 40_000 // (groups * channels), groups * channels)).astype(kind)
    ones = np.ones(groups * channels, np.float64 if dtype == "float64" else np.float32)

    def grouped(x, dy):
        how = {"implementation": implementation}
        y, pull = jax.vjp(lambda x: functional.group_norm(x, groups, ones, **how), x)
        return y, *pull(dy)

    def as_rows(x, dy):
        rows, rows_dy = (a.reshape(-1, channels) for a in (x, dy))
        how = {"implementation": implementation}
        y, pull = jax.vjp(lambda x: functional.layer_norm(x, **how), rows)
        return y.reshape(x.shape), *(d.reshape(x.shape) for d in pull(rows_dy))

    for one, other in zip(jax.jit(grouped)(x, dy), jax.jit(as_rows)(x, dy), strict=True):
        np.testing.assert_array_equal(bits(one), bits(other))
