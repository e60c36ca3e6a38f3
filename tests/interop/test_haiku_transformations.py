"""Haiku's layers under the transformations of Haiku and of JAX, and over mapped axes."""

import haiku as hk
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import haiku as ours
from tests.interop.haiku_cases import example

X = example("transformations")[:, :, :, :4]
PLAIN = {"create_scale": False, "create_offset": False, "decay_rate": 0.9}
pytestmark = pytest.mark.usefixtures("standard_promotion")


def normal(x, axes, eps=1e-5):
    """Batch norm in float64."""
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def test_multi_transform():
    """One layer that several functions share has one set of parameters and one state."""

    def build():
        layer = ours.BatchNorm(True, True, 0.9)

        def init(x):
            return layer(x, True)

        return init, (lambda x: layer(x, True), lambda x: layer(x, False))

    network = hk.multi_transform_with_state(build)
    parameters, state = network.init(None, X)
    train, evaluate = network.apply
    _, state = train(parameters, state, None, X)
    y, _ = evaluate(parameters, state, None, X)
    np.testing.assert_allclose(y, normal(X, (0, 1, 2)), atol=1e-5)


def test_scan():
    """State is carried through `hk.scan` from batch to batch, as by calls one after the other."""
    batches = np.stack([X * t + t for t in range(1, 5)])

    def network(batches):
        layer = ours.BatchNorm(**PLAIN)
        return hk.scan(lambda carry, x: (carry, layer(x, True)), 0, batches)[1]

    def one(x):
        return ours.BatchNorm(**PLAIN)(x, True)

    network, single = hk.transform_with_state(network), hk.transform_with_state(one)
    _, state = network.init(None, batches)
    y, scanned = jax.jit(lambda state: network.apply({}, state, None, batches))(state)
    _, state = single.init(None, batches[0])
    for t, batch in enumerate(batches):
        z, state = single.apply({}, state, None, batch)
        np.testing.assert_allclose(y[t], z, atol=1e-6)
    for many, few in zip(*map(jax.tree.leaves, (scanned, state)), strict=True):
        np.testing.assert_allclose(many, few, rtol=1e-5)


@pytest.mark.parametrize("split_rng", [False, True])
def test_mapped_modules(split_rng):
    """Under `hk.vmap` each row is normalized alone, with one set of parameters."""

    def network(x):
        layer = ours.LayerNorm(-1, True, True)
        group = ours.GroupNorm(2, axis=slice(1, None))
        return hk.vmap(lambda row: group(layer(row)), split_rng=split_rng)(x)

    network = hk.transform(network)
    key = jax.random.key(0)
    parameters = network.init(key, X)
    assert parameters["layer_norm"]["scale"].shape == (4,)
    y = network.apply(parameters, key, X)
    z = normal(X, -1).reshape(4, 5, 6, 2, 2)
    np.testing.assert_allclose(y, normal(z, (2, 4)).reshape(X.shape), atol=1e-5)


def test_rematerialized_state():
    """Under `hk.remat` the running statistics move once."""

    def network(x):
        layer = ours.BatchNorm(**PLAIN)
        return hk.remat(lambda x: layer(x, True))(x)

    network = hk.transform_with_state(network)
    _, state = network.init(None, X)

    def loss(x):
        y, after = network.apply({}, state, None, x)
        return (y**3).sum(), after

    gradient, after = jax.grad(loss, has_aux=True)(X)
    assert after["batch_norm/~/mean_ema"]["counter"] == 1
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("groups", [None, [[0, 2], [1, 3]]])
@pytest.mark.parametrize("names", ["devices", ["devices"], ("devices",)])
@pytest.mark.parametrize("mapped", ["vmap", "pmap"])
def test_pooled_over_a_mapped_axis(mapped, names, groups):
    """Statistics are those of all positions, or of the positions of a group, outputs and state."""

    def network(x):
        return ours.BatchNorm(
            **PLAIN, cross_replica_axis=names, cross_replica_axis_index_groups=groups
        )(x, True)

    network = hk.transform_with_state(network)
    transformation = getattr(jax, mapped)
    x = 3000 + X
    _, state = transformation(lambda x: network.init(None, x), axis_name="devices")(x)
    y, state = transformation(lambda s, x: network.apply({}, s, None, x), axis_name="devices")(
        state, x
    )
    for group in groups or [[0, 1, 2, 3]]:
        np.testing.assert_allclose(y[np.array(group)], normal(x[group], (0, 1, 2)), atol=1e-5)
        for position in group:
            found = state["batch_norm/~/var_ema"]["average"][position]
            expected = x[group].astype(np.float64).var((0, 1, 2))
            np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5)


def test_pooled_over_two_axes():
    """Several mapped axes are pooled over together, and one element a position is enough."""

    def network(x):
        return ours.BatchNorm(**PLAIN, cross_replica_axis=("a", "b"))(x, True)

    network = hk.transform_with_state(network)
    both = jax.vmap(jax.vmap(lambda x: network.init(None, x)[1], axis_name="b"), axis_name="a")
    state = both(X[:, :, :1, :])
    apply = jax.vmap(
        jax.vmap(lambda s, x: network.apply({}, s, None, x), axis_name="b"), axis_name="a"
    )
    y, state = apply(state, X[:, :, :1, :])
    np.testing.assert_allclose(y, normal(X[:, :, :1, :], (0, 1, 2)), atol=1e-5)
    assert (state["batch_norm/~/mean_ema"]["counter"] == 1).all()


@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 1, 4), (0, 4)])
def test_too_few_elements(shape):
    """One element has a mean and no variance, none has neither: what is not there moves nothing.

    Before there is any, the running mean is 0 and the running variance 1.
    """
    network = hk.transform_with_state(lambda x, training=True: ours.BatchNorm(**PLAIN)(x, training))
    few = jnp.full(shape, 7.0)
    _, fresh = network.init(None, few)
    first = fresh["batch_norm/~/mean_ema"]["average"]
    np.testing.assert_allclose(first, np.full_like(first, 7 if few.size else 0), rtol=1e-6)
    assert (fresh["batch_norm/~/var_ema"]["average"] == 1).all()
    many = X.reshape(*(-1,) if len(shape) == 2 else (2, -1, 1), 4)
    _, state = network.apply({}, fresh, None, many)
    y, after = network.apply({}, state, None, few)
    assert not y.any()
    mean, var = (
        [tree[f"batch_norm/~/{name}_ema"] for tree in (state, after)] for name in ("mean", "var")
    )
    assert all(map(np.array_equal, var[0].values(), var[1].values()))
    assert mean[1]["counter"] == 1 + few.shape[0]
    moved = (0.9 * mean[0]["hidden"] + 0.7) if few.size else mean[0]["hidden"]
    np.testing.assert_allclose(mean[1]["hidden"], moved, rtol=1e-6)
    # The first batch with a variance counts whole, whatever came before.
    z, _ = network.apply({}, state, None, many, False)
    np.testing.assert_allclose(z, normal(many, tuple(range(many.ndim - 1))), atol=1e-5)


def test_a_variance_beyond_float32():
    """Numbers from 1e19 on have no variance in float32: it is forgotten with time, not kept."""
    network = hk.transform_with_state(lambda x: ours.BatchNorm(**PLAIN)(x, True))
    _, state = network.init(None, X)
    _, state = network.apply({}, state, None, X * np.float32(1e20))
    var = state["batch_norm/~/var_ema"]
    assert np.isfinite(var["hidden"]).all()
    assert np.isfinite(var["average"]).all()
    assert (var["average"] > 1e38).all()


def test_derivatives():
    """Second derivatives and forward mode go through a layer as through its formula."""
    x = X[0, 0].astype(np.float32)
    network = hk.transform(lambda x: ours.LayerNorm(-1, False, False)(x))

    def mine(x):
        return (network.apply({}, None, x) ** 3).sum()

    def formula(x):
        centred = x - x.mean(-1, keepdims=True)
        return ((centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)) ** 3).sum()

    tangent = np.ones_like(x) * np.arange(4, dtype=np.float32)

    def second(f):
        return jax.jvp(jax.grad(f), (x,), (tangent,))[1]

    np.testing.assert_allclose(second(mine), second(formula), rtol=1e-3, atol=1e-4)


def test_tabulated():
    """Haiku's summary of a model shows our layers with their parameters."""
    table = hk.experimental.tabulate(
        lambda x: ours.BatchNorm(True, True, 0.9)(x, True), columns=("module", "params_size")
    )(X)
    assert "batch_norm (BatchNorm)" in table
    assert "8" in table


def test_exported_for_any_batch():
    """A training step is exported with a symbol for the size of the batch."""
    rows = X.reshape(-1, 4)
    network = hk.transform_with_state(lambda x: ours.BatchNorm(**PLAIN)(x, True))
    _, state = network.init(None, rows)
    (size,) = jax.export.symbolic_shape("n")
    x = jax.ShapeDtypeStruct((size, 4), np.float32)
    exported = jax.export.export(jax.jit(lambda s, x: network.apply({}, s, None, x)))(state, x)
    y, after = exported.call(state, rows)
    np.testing.assert_allclose(y, normal(rows, 0), atol=1e-5)
    assert after["batch_norm/~/mean_ema"]["counter"] == 1


def test_a_state_that_was_kept_in_half():
    """Haiku's bfloat16 state is taken in evaluation, and is float32 after a step of training."""
    x = jnp.asarray(X, jnp.bfloat16)
    theirs, mine = (
        hk.transform_with_state(lambda x, t, m=module: m.BatchNorm(**PLAIN)(x, t))
        for module in (hk, ours)
    )
    _, state = theirs.init(None, x, True)
    _, state = theirs.apply({}, state, None, x, True)
    y, _ = mine.apply({}, state, None, x, False)
    assert y.dtype == jnp.bfloat16
    # Haiku's statistics err by a unit of bfloat16 of sums of squares, here some hundredths.
    np.testing.assert_allclose(np.asarray(y, np.float64), normal(x, (0, 1, 2)), atol=0.2)
    _, state = mine.apply({}, state, None, x, True)
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves(state)}
    assert kinds == {"float32", "int32"}


@pytest.mark.parametrize("explicit", [False, True])
def test_arrays_over_devices(explicit):
    """Batches that are split over devices have the statistics of the whole, in all layouts."""
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((4,), ("devices",), axis_types=(kind,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))

    def network(x):
        return (
            ours.BatchNorm(True, True, 0.9)(x, True),
            ours.GroupNorm(2)(x),
            ours.GroupNorm(5, data_format="NCHW")(x),
            ours.LayerNorm(-1, True, True, param_axis=(1, 2))(x),
        )

    network = hk.transform_with_state(network)
    parameters, state = network.init(None, X)
    whole, _ = network.apply(parameters, state, None, X)
    with jax.set_mesh(mesh):
        split, _ = jax.jit(lambda x: network.apply(parameters, state, None, x))(
            jax.device_put(X, spread)
        )
    for one, other in zip(split, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
