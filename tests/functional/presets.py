"""RMS norm as families of models publish it, step by step in NumPy, and the call of ours for each.

Each formula is written out here in the dtypes that its authors' code computes in, one rounding
after another, and shares nothing with the library.
"""

import jax.numpy as jnp
import numpy as np

from inox import functional

HALVES = (jnp.bfloat16, jnp.float16)


def normalized(x, epsilon=1e-6):
    """float32: x over the root of its mean square, as every one of these formulas starts."""
    x = x.astype(np.float32)
    square = np.mean(x * x, -1, keepdims=True, dtype=np.float32)
    return x * (np.float32(1) / np.sqrt(square + np.float32(epsilon)))


def product(a, b, dtype):
    """The product rounded to a dtype, from factors whose product float32 holds exactly or once."""
    return (a.astype(np.float32) * b.astype(np.float32)).astype(dtype)


def llama(x, weight):
    """Llama, Mistral, Mixtral, Qwen 2 and 3: rounded to x's dtype, then scaled; then x's dtype."""
    return product(normalized(x).astype(x.dtype), weight, x.dtype)


def gemma(x, weight):
    """Gemma 1 to 3, Qwen3-Next: 1 + weight in float32, rounded once."""
    return (normalized(x) * (np.float32(1) + weight.astype(np.float32))).astype(x.dtype)


def t5(x, weight):
    """T5: rounded to the dtype of the weight where that is a half type; then x's dtype."""
    hat = normalized(x)
    if weight.dtype in HALVES:
        hat = hat.astype(weight.dtype)
    return product(hat, weight, x.dtype)


def olmo2(x, weight):
    """OLMo 2, gpt-oss, Gemma 3n: float32 throughout, rounded once."""
    return product(normalized(x), weight, x.dtype)


def t5x(x, weight):
    """T5X, MaxText: normalized x and weight both rounded to the dtype of the computation."""
    return product(normalized(x).astype(x.dtype), weight.astype(x.dtype), x.dtype)


# The published formula, and ours.
PRESETS = {
    "llama": (llama, lambda x, w, **k: functional.rms_norm(x, w, normalized_dtype=x.dtype, **k)),
    "gemma": (gemma, lambda x, w, **k: functional.rms_norm(x, w, scale_offset=1.0, **k)),
    "t5": (t5, lambda x, w, **k: functional.rms_norm(x, w, normalized_dtype=w.dtype, **k)),
    "olmo2": (olmo2, functional.rms_norm),
    "t5x": (
        t5x,
        lambda x, w, **k: functional.rms_norm(x, w.astype(x.dtype), normalized_dtype=x.dtype, **k),
    ),
}
