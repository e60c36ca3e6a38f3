"""Exports for any batch size: a dimension that is a symbol, kept or reduced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional

SCALE = np.linspace(0.5, 2, 4, dtype=np.float32)
BIAS = np.ones(4, np.float32)


def slope(norm):
    return lambda x: jax.grad(lambda x: jnp.sum(jnp.sin(norm(x))))(x)


def layer(x):
    return functional.layer_norm(x, SCALE, BIAS)


def batch(x):
    return functional.batch_norm(x, SCALE, BIAS)[0]


PROGRAMS = {
    "layer norm": layer,
    "rms norm": lambda x: functional.rms_norm(x, SCALE),
    "group norm": lambda x: functional.group_norm(x, 2, SCALE),
    "layer norm, the symbol reduced": lambda x: functional.layer_norm(x, axis=0),
    "layer norm, masked": lambda x: functional.layer_norm(x, where=x > -1),
    "layer norm, gradient": slope(layer),
    "batch norm": batch,
    "batch norm, gradient": slope(batch),
    "batch norm, evaluation": lambda x: functional.batch_norm(x, statistics=(BIAS, SCALE))[0],
    "moments": lambda x: functional.moments(x, axis=0).var,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_export_serves_every_batch_size(name):
    """For two platforms; run here on few and on many rows, it gives what the function gives."""
    program = jax.jit(PROGRAMS[name])
    shape = jax.export.symbolic_shape("n, 4")
    exported = jax.export.export(program, platforms=("cpu", "cuda"))(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    for rows in (3, 64, 5000):
        x = np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)
        np.testing.assert_allclose(exported.call(x), program(x), rtol=1e-5, atol=1e-5)
