"""What the tests of this folder share: a small network, data, and exact moments."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inox.nn import BatchNorm, Module, Parameter, export_state


class Network(Module):
    """Two linear maps, each with a batch norm, in the order second, first in the tree."""

    def __init__(self, **options: Any):
        random = np.random.default_rng(5)
        self.weights = [
            Parameter(jnp.asarray(random.standard_normal(shape), jnp.float32))
            for shape in ((3, 4), (4, 2))
        ]
        # Attributes go by their names: 'after' comes first in the tree, but is called second.
        self.before = BatchNorm(4, **options)
        self.after = BatchNorm(2, **options)

    def __call__(self, x, state):
        first, second = self.weights
        y, state = self.before(x @ first(), state)
        return self.after(jax.nn.relu(y) @ second(), state)


def make_network(**options: Any) -> tuple[Network, dict]:
    """The network, exported."""
    return export_state(Network(**options))


def apply(model: Any, state: dict, x: Any) -> dict:
    """Calls a model for the sake of its state."""
    return model(x, state)[1]


def rows(seed: int, count: int, channels: int = 3) -> np.ndarray:
    """Float32 data of mean 1 and deviation 2."""
    random = np.random.default_rng(seed)
    return (1 + 2 * random.standard_normal((count, channels))).astype(np.float32)


def moments64(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each channel in float64."""
    x = np.asarray(x, np.float64)
    x = x.reshape(-1, x.shape[-1])
    mean = x.mean(0)
    return mean, ((x - mean) ** 2).mean(0)


def ulp(x: Any) -> np.ndarray:
    """The unit in the last place of numbers in float32."""
    return np.spacing(np.abs(np.asarray(x)).astype(np.float32)).astype(np.float64)


def assert_exact_moments(mean: Any, var: Any, x: Any, mean_ulps=1.0, var_ulps=4.0) -> None:
    """Mean and variance are those of `x`, within the bounds that the documentation states."""
    exact_mean, exact_var = moments64(x)
    unit = ulp(np.maximum(np.abs(exact_mean), np.sqrt(exact_var)))
    assert np.max(np.abs(np.asarray(mean, np.float64) - exact_mean) / unit) <= mean_ulps
    error = np.abs(np.asarray(var, np.float64) - exact_var) / ulp(exact_var)
    assert np.max(error) <= var_ulps


def same_bits(found: Any, expected: Any) -> None:
    """Two PyTrees have one structure and the same bits."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def message_has(error: Any, *fragments: str) -> None:
    """Every fragment is in the message."""
    for fragment in fragments:
        assert fragment in str(error.value), f"{fragment!r} is missing from: {error.value}"
