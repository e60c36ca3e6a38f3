"""Mistakes are refused before any work, by the argument, what was found and the cure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.streaming import Stream, denormalize, init, merge, normalize, update

STREAM = init({"a": jnp.zeros(3)})
X = {"a": np.ones((4, 3), np.float32)}
CASES = {
    "integer example": (lambda: init(jnp.zeros(3, int)), TypeError, "example must be floating"),
    "complex": (
        lambda: init({"z": jnp.ones(2, jnp.complex64)}),
        TypeError,
        r"\['z'\].*complex64.*two leaves",
    ),
    "empty": (lambda: init({}), ValueError, "at least one array; found {}"),
    "text": (lambda: init("abc"), TypeError, "found 'abc'"),
    "structure": (lambda: update(STREAM, {"b": X["a"]}), ValueError, "batch must have the struct"),
    "shape": (
        lambda: update(STREAM, {"a": np.ones((3, 4), np.float32)}),
        ValueError,
        r"batch\['a'\].*\(3,\).*found \(3, 4\)",
    ),
    "rank": (lambda: normalize(STREAM, {"a": np.float32(1)}, epsilon=0.1), ValueError, "tree.'a'"),
    "integers": (
        lambda: update(STREAM, {"a": np.ones((4, 3), np.int32)}),
        TypeError,
        r"batch\['a'\] must be floating-point; found dtype int32. Convert it",
    ),
    "weights below 0": (
        lambda: update(STREAM, X, weights=np.array([1.0, -1, 1, 1], np.float32)),
        ValueError,
        "weights must not be negative; found -1",
    ),
    "weights of NaN": (
        lambda: update(STREAM, X, weights=np.full(4, np.nan, np.float32)),
        ValueError,
        "weights must be finite",
    ),
    "weights' shape": (
        lambda: update(STREAM, X, weights=jnp.ones((4, 3))),
        ValueError,
        r"shape \(4,\).*found shape \(4, 3\)",
    ),
    "mask as weights": (
        lambda: update(STREAM, X, weights=jnp.ones(4, bool)),
        TypeError,
        "is a mask, where=",
    ),
    "weights as mask": (lambda: update(STREAM, X, where=jnp.ones(4)), TypeError, "are weights="),
    "mask's shape": (lambda: update(STREAM, X, where=jnp.ones(3, bool)), ValueError, "fit batch"),
    "masks' structure": (
        lambda: update(STREAM, X, where={"b": jnp.ones(4, bool)}),
        ValueError,
        "where must be one mask for all leaves",
    ),
    "window of none": (lambda: update(STREAM, X, max_count=0), ValueError, "max_count must be pos"),
    "window's kind": (lambda: update(STREAM, X, max_count="9"), TypeError, "max_count must be a n"),
    "name": (lambda: update(STREAM, X, axis_name="data"), ValueError, "'data' is not bound"),
    "no stream": (lambda: update(X, X), TypeError, r"inox.streaming.init\(example\)"),
    "restored": (lambda: update(STREAM._asdict(), X), TypeError, r"write Stream\(\*\*stream\)"),
    "torn": (
        lambda: update(STREAM._replace(mean={"a": jnp.zeros(2)}), X),
        ValueError,
        "stream.mean must have the structure and shapes",
    ),
    "clip": (lambda: normalize(STREAM, X, epsilon=0.1, clip=-1), ValueError, "clip must be pos"),
    "epsilon": (lambda: denormalize(STREAM, X, epsilon=-1.0), ValueError, "epsilon must be finite"),
    "merging none": (merge, ValueError, "streams is empty"),
    "merging others": (
        lambda: merge(STREAM, init({"a": jnp.zeros(2)})),
        ValueError,
        r"streams\[1\].*found \(2,\)",
    ),
    "merging a list": (lambda: merge([STREAM]), TypeError, r"streams\[0\] must be a Stream"),
}


@pytest.mark.parametrize("case", CASES)
def test_mistakes_are_named(case):
    """Each names the argument, what was found and the cure."""
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message):
        call()


def test_mistakes_are_found_while_tracing():
    """Under jit nothing is computed either, and weights that can't be refused take no part."""
    with pytest.raises(ValueError, match="must have the structure"):
        jax.jit(update)(STREAM, {})
    weights = jnp.array([1.0, -1.0, jnp.nan, 0.0])
    x = jnp.array([[1.0] * 3, [5.0] * 3, [7.0] * 3, [jnp.inf] * 3])
    stream = jax.jit(lambda w: update(STREAM, {"a": x}, weights=w))(weights)
    assert isinstance(stream, Stream)
    np.testing.assert_array_equal(stream.count["a"], np.ones(3))
    np.testing.assert_array_equal(stream.mean["a"], np.ones(3))
