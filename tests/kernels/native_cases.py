"""Data for the compiled kernels in their own layout, and the errors of their results."""

import jax.numpy as jnp
import numpy as np

from tests.accuracy.cases import Case
from tests.accuracy.metric import errors
from tests.accuracy.oracle import Exact, Slices, normalized
from tests.kernels import native_calls

# (outer, inner, length, groups, channels): statistics are over length and channels. Rows where
# length is 1, columns elsewhere; widths that vectors, strips and tiles don't divide.
ROWS = {
    "rows": (1, 19, 1, 1, 96),
    "short rows of groups": (2, 5, 1, 17, 8),
    "odd rows": (3, 5, 1, 3, 37),
}
COLUMNS = {
    "batch": (1, 1, 150, 33, 1),
    "instances": (2, 3, 40, 5, 1),
    "groups over images": (1, 3, 33, 4, 8),
    "one wide slice": (2, 2, 9, 1, 70),
}
LAYOUTS = ROWS | COLUMNS


def operands(
    case: Case,
    shape: tuple[int, ...],
    dtype: str,
    rng: np.random.Generator,
    *,
    for_each_outer: bool = True,
) -> dict[str, np.ndarray]:
    """x, dy, scale and bias; a recipe makes a slice a row."""
    outer, inner, length, groups, channels = shape
    kind = jnp.dtype(dtype)
    rows = case.recipe(rng, outer * inner * groups, length * channels, float(jnp.finfo(kind).eps))
    x = Slices(shape, (2, 4)).unrows(rows).astype(kind)
    noise = rng.standard_normal(shape)
    dy = {
        "normal": noise,
        "ones": np.ones(shape),
        "along x": x.astype(np.float64) + 1e-3 * noise,
        "offset": 1e3 + noise,
    }[case.gradient]
    parameters = (outer if for_each_outer else 1, groups, channels)
    scale = rng.choice([-1, 1], parameters) * rng.uniform(0.5, 2, parameters)
    accumulator = native_calls.accumulator(kind)
    return {
        "x": x,
        "dy": dy.astype(kind),
        "scale": scale.astype(accumulator),
        "bias": (0.25 * rng.standard_normal(parameters)).astype(accumulator),
    }


def exact(
    *, x: np.ndarray, dy: np.ndarray, scale=None, bias=None, epsilon: float, centred: bool = True
) -> tuple[Exact, np.ndarray]:
    """The exact results, and the scale in a shape that broadcasts to x."""
    outer, _, _, groups, channels = x.shape

    def in_full(parameter, otherwise):
        if parameter is None:
            return np.full((outer, 1, 1, groups, channels), otherwise)
        whole = np.broadcast_to(parameter, (outer, groups, channels))
        return whole.reshape(outer, 1, 1, groups, channels)

    scale, bias = in_full(scale, 1.0), in_full(bias, 0.0)
    epsilon = np.asarray(epsilon, native_calls.accumulator(x.dtype))
    slices = Slices(x.shape, (2, 4))
    return normalized(slices, x, dy, scale, bias, epsilon, centred=centred), scale


def measured(
    *, x: np.ndarray, dy: np.ndarray, scale=None, bias=None, epsilon: float, centred: bool = True
) -> dict[str, float]:
    """The worst error of every result of the kernels, by name."""
    right, full_scale = exact(x=x, dy=dy, scale=scale, bias=bias, epsilon=epsilon, centred=centred)
    y = native_calls.normalize(x, scale, bias, epsilon, centred=centred)
    dx, dscale, dbias = native_calls.cotangent(dy, x, scale, epsilon, centred=centred)
    found = errors(right, full_scale, y=y, dx=dx, dscale=dscale, dbias=dbias)
    if centred:
        whole = x.reshape(-1, *x.shape[2:])
        mean, _, var = native_calls.moments(whole)
        found |= errors(right, full_scale, mean=mean.ravel(), var=var.ravel())
    return found


def limits(dtype: str, dominated: bool = False) -> dict[str, float]:
    """The bounds of the kernels, in the units of `tests.accuracy.metric`.

    float64 arithmetic inside leaves the one rounding at the end of a smaller type: 0.5, and what
    little the arithmetic adds (for float16, by way of float32, 2^-13). Rows of half types are
    computed in float32, 2^13 or 2^16 times as exact as they, and add 0.007 units at most. A sum of
    float64 numbers is rounded with every addition; where one element makes up most of a variance,
    what belongs to it cancels in dx, and its rounding errors don't average out in var.
    """
    if dtype != "float64":
        return dict.fromkeys(("y", "dx"), 0.51) | dict.fromkeys(
            ("mean", "var", "dscale", "dbias"), 1.0
        )
    return {
        "y": 8.0,
        "dx": 12.0 * (1.5 if dominated else 1),
        "mean": 2.0,
        "var": 4.0 * (1.5 if dominated else 1),
        "dscale": 5.0,
        "dbias": 5.0,
    }


def over(found: dict[str, float], dtype: str, dominated: bool = False) -> list[str]:
    """Which errors are over their bound, in words."""
    bounds = limits(dtype, dominated)
    return [
        f"{name} {error:.3g} > {bounds[name]:g}"
        for name, error in found.items()
        if not error <= bounds[name]
    ]
