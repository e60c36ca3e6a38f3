"""The kernels for TPU on the CPU: interpreted, in place of those that the CPU has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inox.kernels.backends import BACKENDS
from inox.kernels.jax_internals import mlir
from inox.kernels.kernel import Backend
from inox.kernels.lowering import lowering
from inox.kernels.primitive import operation_p, splittable_operation_p
from inox.kernels.tpu.calls import CALLS
from inox.kernels.tpu.launching import interpreted

AXES = (-1,)


@contextmanager
def lowered_by(backend: Backend) -> Iterator[None]:
    """What is lowered for the CPU meanwhile takes the kernels of this backend."""

    def lower_by(backend: Backend) -> None:
        for primitive in (operation_p, splittable_operation_p):
            mlir.register_lowering(primitive, lowering(backend), platform="cpu")
        jax.clear_caches()

    lower_by(backend)
    try:
        yield
    finally:
        lower_by(BACKENDS["cpu"])


@contextmanager
def on_the_cpu() -> Iterator[None]:
    """What is lowered for the CPU meanwhile takes the kernels for TPU."""
    with lowered_by(BACKENDS["tpu"]), interpreted():
        yield


def normalize(x: Any, scale: Any = None, bias: Any = None, epsilon: float = 1e-5, **settings: Any):
    """The kernel of `normalize` by itself, of the rows of x."""
    operands = _operands(x=x, epsilon=np.float32(epsilon), scale=scale, bias=bias)
    static = {"axes": AXES, "centred": True, "implementation": "tpu", **settings}
    run = CALLS["normalize"](operands, **static)
    assert run is not None
    return run(**operands)[0]


def gradients(dy: Any, x: Any, scale: Any = None, epsilon: float = 1e-5, **settings: Any):
    """The kernel of `normalize_cotangent` by itself: dx, dscale and dbias."""
    operands = _operands(dy=dy, x=x, epsilon=np.float32(epsilon), scale=scale)
    shared = tuple(range(-x.ndim, -1))
    outputs = (("x_tangent", ()), ("scale_tangent", shared), ("bias_tangent", shared))
    static = {"axes": AXES, "centred": True, "implementation": "tpu", "outputs": outputs}
    run = CALLS["normalize_cotangent"](operands, **(static | settings))
    assert run is not None
    return run(**operands)


def _operands(x: Any, **others: Any) -> dict[str, Any]:
    """Arrays of the rank of x; what is None is left out."""
    given = {"x": x} | {name: one for name, one in others.items() if one is not None}
    return {
        name: jnp.asarray(one).reshape((1,) * (x.ndim - np.ndim(one)) + np.shape(one))
        for name, one in given.items()
    }


def exact(x: Any, dy: Any, scale: Any, bias: Any, centred: bool = True, epsilon: float = 1e-5):
    """y, dx, dscale and dbias of rows in float64."""
    x, dy, scale, bias = (np.asarray(a).astype(np.float64) for a in (x, dy, scale, bias))
    deviation = x - centred * x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt((deviation**2).mean(-1, keepdims=True) + np.float64(np.float32(epsilon)))
    xhat, g = deviation * rstd, dy * scale
    dx = rstd * (
        g - centred * g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True)
    )
    rows = tuple(range(x.ndim - 1))
    return xhat * scale + bias, dx, (dy * xhat).sum(rows), dy.sum(rows)
