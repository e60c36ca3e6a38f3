"""Scale and bias that differ from sample to sample, kept in float32 beside a bfloat16 x."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_close
from tests.functional.programs import check_gradients, quick_jit

N, L, C = 3, 4, 6


def forms(x, s, b):
    """Every norm with a scale 1 + s and a bias b a sample."""
    scale, bias = 1 + s[:, None], b[:, None]
    return {
        "layer_norm": functional.layer_norm(x, scale, bias, epsilon=0.125),
        "rms_norm": functional.rms_norm(x, scale, epsilon=0.125),
        "instance": functional.layer_norm(x, scale, bias, axis=1, epsilon=0.125),
        "group_norm": functional.group_norm(x, 3, scale, bias, axis=(1, 2), epsilon=0.125),
        "batch_norm": functional.batch_norm(x, scale, bias, epsilon=0.125)[0],
    }


REFERENCES = {
    "layer_norm": oracle.Normalization(oracle.slices((N, L, C), -1)),
    "rms_norm": oracle.Normalization(oracle.slices((N, L, C), -1), centred=False),
    "instance": oracle.Normalization(oracle.slices((N, L, C), 1)),
    "group_norm": oracle.Normalization(oracle.slices((N, L, C), (1, 2), groups=3)),
    "batch_norm": oracle.Normalization(oracle.slices((N, L, C), (0, 1))),
}


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=lambda dtype: dtype.__name__)
def test_adaptive_scale_and_bias(dtype):
    """Values, and gradients of x, s and b, against the oracle; y has the dtype of x."""
    generator = np.random.default_rng(0)
    x = generator.normal(1.5, 2, (N, L, C)).astype(dtype)
    s, b = generator.normal(0, 0.3, (2, N, C)).astype(np.float32)
    dy = generator.normal(size=(N, L, C)).astype(dtype)

    @quick_jit
    def program(x, s, b):
        y, pullback = jax.vjp(forms, x, s, b)
        zero = {name: jnp.zeros_like(value) for name, value in y.items()}
        return y, {name: pullback(zero | {name: jnp.asarray(dy)}) for name in y}

    y, gradients = program(x, s, b)
    for name, reference in REFERENCES.items():
        arrays = {"x": x, "scale": (1 + s)[:, None], "epsilon": np.float32(0.125)}
        if name != "rms_norm":
            arrays["bias"] = b[:, None]
        assert y[name].dtype == dtype
        assert_close(y[name], reference.evaluate(oracle.as_float64(arrays))["y"], name)
        dx, ds, db = gradients[name]
        assert (dx.dtype, ds.dtype, db.dtype) == (dtype, np.float32, np.float32)
        actual = {"x": dx, "scale": ds[:, None], "bias": db[:, None]}
        actual = {key: value for key, value in actual.items() if key in arrays}
        check_gradients(reference, actual, arrays, {"y": dy}, label=name)


def test_one_sample_at_a_time():
    """A row norm of a batch with a scale a sample equals the plain norm of each sample."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(N, L, C)).astype(np.float32)
    s, b = generator.normal(size=(2, N, C)).astype(np.float32)
    together = functional.layer_norm(x, 1 + s[:, None], b[:, None])
    mapped = jax.vmap(lambda x, s, b: functional.layer_norm(x, 1 + s, b))(x, s, b)
    for index in range(N):
        alone = np.asarray(functional.layer_norm(x[index], 1 + s[index], b[index]), np.float64)
        assert_close(together[index], alone, factor=4)
        assert_close(mapped[index], alone, factor=4)
