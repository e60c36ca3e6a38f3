"""The compiled kernels called as they are, without the operations that are lowered to them."""

import ctypes
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.kernels.cpu import library as native

SYMBOLS = ("inox_normalize", "inox_normalize_cotangent", "inox_moments", "inox_centred_sums")


@functools.cache
def library() -> ctypes.CDLL:
    """The library of this installation, or the one that INOX_KERNELS_LIBRARY names.

    Its handlers are registered under names of their own. Without a library the test is skipped.
    """
    path = os.environ.get("INOX_KERNELS_LIBRARY") or native.library().path
    if path is None:
        pytest.skip("the compiled kernels are not installed")
    loaded = ctypes.CDLL(str(path))
    for symbol in SYMBOLS:
        handler = jax.ffi.pycapsule(getattr(loaded, symbol))
        jax.ffi.register_ffi_target(target(symbol), handler, platform="cpu")
    return loaded


def target(symbol: str) -> str:
    return f"{symbol}.tested"


def _answer(question) -> str:
    question.restype = ctypes.c_char_p
    return question().decode()


def instruction_set() -> str:
    """The instruction set that the library has chosen."""
    return _answer(library().inox_instruction_set)


def instruction_sets() -> list[str]:
    """Those that the environment may choose."""
    return _answer(library().inox_instruction_sets).split()


def accumulator(dtype) -> np.dtype:
    """The dtype of parameters and statistics beside arrays of `dtype`."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def like(shape, dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def sizes(x) -> np.ndarray:
    """The attribute `shape`: of x, which in moments and sums has no inner dimension."""
    return np.array(x.shape if x.ndim == 5 else (x.shape[0], 1, *x.shape[1:]), np.int64)


@functools.partial(jax.jit, static_argnames=("centred",))
def _normalize(x, epsilon, scale, bias, centred):
    call = jax.ffi.ffi_call(target("inox_normalize"), like(x.shape, x.dtype))
    return call(x, epsilon, scale, bias, centred=np.bool_(centred), shape=sizes(x))


@functools.partial(jax.jit, static_argnames=("centred", "wanted"))
def _cotangent(dy, x, epsilon, scale, centred, wanted):
    outer, _, _, groups, channels = x.shape
    shapes = {
        "dx": like(x.shape, x.dtype),
        "dscale": like((outer, groups, channels), epsilon.dtype),
        "dbias": like((outer, groups, channels), epsilon.dtype),
    }
    results = [s if name in wanted else like((0,), s.dtype) for name, s in shapes.items()]
    call = jax.ffi.ffi_call(target("inox_normalize_cotangent"), results)
    return call(dy, x, epsilon, scale, centred=np.bool_(centred), shape=sizes(x))


@jax.jit
def _moments(x):
    statistics = like((x.shape[0], x.shape[2]), accumulator(x.dtype))
    call = jax.ffi.ffi_call(target("inox_moments"), [statistics] * 3)
    return call(x, shape=sizes(x))


@jax.jit
def _centred_sums(t, x, mean, mean_low):
    sums = like(mean.shape, mean.dtype)
    call = jax.ffi.ffi_call(target("inox_centred_sums"), [sums] * 2)
    return call(t, x, mean, mean_low, shape=sizes(x))


def _parameter(array, dtype):
    return jnp.zeros((0,), dtype) if array is None else jnp.asarray(array, dtype)


def normalize(x, scale=None, bias=None, epsilon=1e-5, *, centred=True) -> np.ndarray:
    """y for x of (outer, inner, length, groups, channels)."""
    library()
    dtype = accumulator(x.dtype)
    epsilon = jnp.asarray([epsilon], dtype)
    return np.asarray(
        _normalize(x, epsilon, _parameter(scale, dtype), _parameter(bias, dtype), centred)
    )


def cotangent(
    dy, x, scale=None, epsilon=1e-5, *, centred=True, wanted=("dx", "dscale", "dbias")
) -> list[np.ndarray]:
    """dx, dscale and dbias; empty where not wanted."""
    library()
    dtype = accumulator(x.dtype)
    epsilon = jnp.asarray([epsilon], dtype)
    results = _cotangent(dy, x, epsilon, _parameter(scale, dtype), centred, wanted)
    return [np.asarray(result) for result in results]


def moments(x) -> list[np.ndarray]:
    """Mean, mean_low and variance for x of (outer, length, groups, channels)."""
    library()
    return [np.asarray(result) for result in _moments(x)]


def centred_sums(t, x, mean, mean_low) -> list[np.ndarray]:
    """The sums of t and of t (x - mean - mean_low)."""
    library()
    return [np.asarray(result) for result in _centred_sums(t, x, mean, mean_low)]
