"""Examples that a mask leaves out change no bit of those that it leaves in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.invariance.batches import EXAMPLES, PADDED, bits, draw, of_examples, run
from tests.invariance.grid import APART, EACH_IMPLEMENTATION, require

# Rows, on which kernels take a mask of whole slices; on others it takes the formulas.
MASKED = [one for one in APART if one.name in ("layer_norm", "rms_norm", "standardize")]


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("operation", MASKED, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_mask_of_whole_examples(operation, dtype, implementation):
    """Under `where` an example has the bits that it has without; what is left out gives 0."""
    require(implementation)
    example = operation.examples[0]
    batch = draw(operation, example, jnp.dtype(dtype))
    whole = jax.jit(of_examples(run(operation, example, implementation)))
    kept = np.setdiff1d(np.arange(EXAMPLES), PADDED)
    where = np.isin(np.arange(EXAMPLES), kept).reshape(-1, *(1,) * len(example.shape))

    def masked(x, dy, shared):
        def y(x):
            return operation.call({"x": x, **shared}, where, **example.static)["y"]

        value, pull = jax.vjp(y, x)
        return value, *pull(dy)

    padded = np.where(where, batch.x, np.asarray(np.nan, batch.x.dtype))
    found = jax.jit(masked)(padded, batch.dy, batch.shared)
    alone = whole(batch.x, batch.dy, batch.shared)
    for one, other in zip(found, alone, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        np.testing.assert_array_equal(bits(one[kept]), bits(other[kept]))
        assert not np.any(one[list(PADDED)])
