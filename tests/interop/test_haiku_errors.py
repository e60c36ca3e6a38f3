"""What a caller of Haiku's layers can get wrong, and what is no mistake."""

import haiku as hk
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import haiku as ours
from tests.interop.haiku_cases import example

X = example("errors")
NONE = {"create_scale": False, "create_offset": False}
AT_CONSTRUCTION = [
    (lambda: ours.BatchNorm(False, True, 0.9, scale_init=jnp.ones), "create_scale=False"),
    (lambda: ours.BatchNorm(True, False, 0.9, offset_init=jnp.ones), "create_offset=False"),
    (lambda: ours.LayerNorm(-1, False, True, scale_init=jnp.ones), "create_scale=False"),
    (lambda: ours.RMSNorm(-1, create_scale=False, scale_init=jnp.ones), "create_scale=False"),
    (lambda: ours.GroupNorm(2, create_offset=False, offset_init=jnp.ones), "create_offset=False"),
    (lambda: ours.BatchNorm(**NONE, decay_rate=0.9, data_format="HW"), "'HW'"),
    (lambda: ours.BatchNorm(**NONE, decay_rate=0.9, axis="last"), "iterable of ints"),
    (lambda: ours.LayerNorm("last", **NONE), "iterable of ints"),
    (lambda: ours.LayerNorm(1.0, **NONE), "iterable of ints"),
    (lambda: ours.LayerNorm(True, **NONE), "iterable of ints"),
    (lambda: ours.LayerNorm(-1, **NONE, param_axis="last"), "`param_axis`"),
    (lambda: ours.RMSNorm([None]), "iterable of ints"),
    (lambda: ours.GroupNorm(0), "groups must be an integer above 0"),
    (lambda: ours.GroupNorm(2, "last"), "iterable of ints"),
]
GROUPED = {**NONE, "decay_rate": 0.9}
AT_CALL = [
    (lambda: ours.LayerNorm(4, **NONE)(X), "axis 4 is out of range for inputs of 4 axes"),
    (lambda: ours.RMSNorm((-5, 1))(X), "axis -5 is out of range"),
    (lambda: ours.LayerNorm(-1, True, True, param_axis=7)(X), "param_axis 7 is out of range"),
    (lambda: ours.BatchNorm(**GROUPED, axis=(0, 9))(X, True), "axis 9 is out of range"),
    (lambda: ours.GroupNorm(2, 5)(X), "axis 5 is out of range"),
    (lambda: ours.GroupNorm(3)(X), "must be divisible by the number of groups"),
    (lambda: ours.GroupNorm(1, data_format="NCHW")(X[0, 0, 0]), "the axis of the channels 1"),
    (lambda: ours.LayerNorm(-1, True, True)(X, scale=1.0), "Cannot pass `scale`"),
    (lambda: ours.GroupNorm(2)(X, offset=1.0), "Cannot pass `offset`"),
    (lambda: ours.BatchNorm(True, False, 0.9)(X, True, False, 1.0), "Cannot pass `scale`"),
    (lambda: ours.LayerNorm(-1, **NONE)(X, np.ones(3)), r"scale of shape \(3,\) does not"),
    (lambda: ours.LayerNorm(-1, **NONE)(X, 1.0, X[None]), "offset of shape"),
    (lambda: ours.LayerNorm(-1, **NONE, eps=-1.0)(X), "epsilon"),
    (lambda: ours.BatchNorm(**NONE, decay_rate=1.0)(X, True), r"decay_rate.*\[0, 1\).*0\.99"),
    (lambda: ours.BatchNorm(**NONE, decay_rate=-3)(X, True), "decay_rate.*-3"),
]


def run(function):
    """Runs what builds and calls a layer, as Haiku wants it."""
    return hk.transform_with_state(function).init(None)


@pytest.mark.parametrize(("function", "message"), AT_CONSTRUCTION + AT_CALL)
def test_mistakes(function, message):
    """A mistake is a ValueError that names the argument."""
    with pytest.raises(ValueError, match=message):
        run(function)


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [
        (None, [[0, 1]], "must be specified"),
        ("", [[0, 1]], "must be specified"),
        (("a", "b"), [[0, 1]], "one alone"),
        ("a", [[0, 1], [2]], "groups of one size"),
        ("a", [[0, 1], [1, 2]], "each position of the axis once"),
        ("a", [[1, 2], [3, 4]], "each position of the axis once"),
    ],
)
def test_index_groups(names, groups, message):
    """Groups of positions need one axis, and hold each of its positions once: told when built."""
    with pytest.raises(ValueError, match=message):
        run(
            lambda: ours.BatchNorm(
                **GROUPED, cross_replica_axis=names, cross_replica_axis_index_groups=groups
            )
        )


def test_type_of_groups():
    """A number of groups that is no integer is a TypeError, as everywhere in the package."""
    with pytest.raises(TypeError, match="groups must be an integer"):
        run(lambda: ours.GroupNorm(2.0))


def test_rank_changes():
    """A group norm is for one rank, as Haiku's is; for one of another size it is right."""

    def network(x, z):
        layer = ours.GroupNorm(2)
        return layer(x), layer(z)

    with pytest.raises(ValueError, match="rank of the inputs cannot change"):
        hk.transform(network).init(None, X, X[0])
    other = np.concatenate([X, X], axis=1)
    one, two = hk.transform(network).apply(
        {"group_norm": {"scale": np.ones(8, np.float32), "offset": np.zeros(8, np.float32)}},
        None,
        X,
        other,
    )
    np.testing.assert_allclose(two, np.concatenate([one, one], axis=1), atol=1e-6)


def test_evaluation_before_training():
    """Without running statistics, and with those of other channels, evaluation is refused."""
    network = hk.transform_with_state(
        lambda x, training: ours.BatchNorm(True, True, 0.9)(x, training)
    )
    with pytest.raises(ValueError, match="average"):
        network.init(None, X, False)
    parameters, state = network.init(None, X, True)
    wrong = {key: dict(value) for key, value in state.items()}
    wrong["batch_norm/~/var_ema"]["average"] = jnp.ones((1, 1, 1, 5))
    with pytest.raises(ValueError, match=r"batch_norm/~/var_ema has shape \(1, 1, 1, 5\)"):
        network.apply(parameters, wrong, None, X, False)


def test_what_is_no_mistake():
    """NumPy integers, lists, repeated axes and an integer axis of batch norm are taken."""

    def network(x):
        layers = (
            ours.LayerNorm(np.int64(-1), **NONE),
            ours.LayerNorm([-1, 3], **NONE),
            ours.RMSNorm(np.array([1, 2]), param_axis=np.int32(1)),
            ours.GroupNorm(np.int64(4), np.arange(1, 4)),
        )
        batch = ours.BatchNorm(**GROUPED, axis=0)
        return *(layer(x) for layer in layers), batch(x, True)

    network = hk.transform_with_state(network)
    found, _ = network.apply(*network.init(None, X), None, X)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[-1].mean(0), 0, atol=1e-6)


def test_a_running_variance_below_zero():
    """A one-pass variance of Haiku's may be negative in its checkpoints; it counts as 0."""
    network = hk.transform_with_state(lambda x, training: ours.BatchNorm(**GROUPED)(x, training))
    _, state = network.init(None, X, True)
    state = {key: dict(value) for key, value in state.items()}
    average = state["batch_norm/~/var_ema"]["average"]
    state["batch_norm/~/var_ema"]["average"] = jnp.full_like(average, -1.0)
    y, _ = network.apply({}, state, None, X, False)
    mean = state["batch_norm/~/mean_ema"]["average"]
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(1e-5), rtol=1e-5)
