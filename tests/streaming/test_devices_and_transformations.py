"""A stream on several devices, under transformations, and saved."""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from inox.functional.pooling import SplitMoments
from inox.streaming import Stream, init, normalize, update
from inox.streaming.batch_moments import pooled_over_devices
from tests.streaming.reference import assert_agree, exact, moments

P_DATA = P("data")


def test_devices(rng):
    """Eight devices of unequal counts and means have the moments of all data, by one collective."""
    devices = 8
    x = rng.normal(1e6, 1, (devices, 6, 3)).astype(np.float32)
    x += 4 * np.arange(devices, dtype=np.float32)[:, None, None]  # most of the spread is between
    where = rng.uniform(size=(devices, 6)) < np.linspace(0, 1, devices)[:, None]
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def step(stream, x, where):
        batch = {"a": x[0], "b": x[0, :, 0]}
        return update(stream, batch, where=where[0], axis_name="data")

    split = jax.shard_map(step, mesh=mesh, in_specs=(P(), P_DATA, P_DATA), out_specs=P())
    stream = init({"a": jnp.zeros(3), "b": jnp.zeros(())})
    text = str(jax.make_jaxpr(split)(stream, x, where))
    assert len(re.findall(r"= (all_gather|psum)\w*\[", text)) == 1
    stream = jax.jit(split)(stream, x, where)
    rows = x[where]
    assert_agree(Stream(*(field["a"] for field in stream)), moments(rows))
    assert_agree(Stream(*(field["b"] for field in stream)), moments(rows[:, 0]))


def test_many_elements_are_summed(rng):
    """Where a gather would be large, moments are summed over the devices, to the same bound."""
    x = rng.normal(1e5, 1, (4, 3, 2**13)).astype(np.float32)
    example = jnp.zeros(2**13)
    step = jax.vmap(lambda x: update(init(example), x, axis_name="i"), axis_name="i")
    stream = jax.tree.map(lambda a: a[0], jax.jit(step)(x))
    assert_agree(stream, moments(x.reshape(-1, 2**13)))


def test_counts_over_devices_are_exact():
    """Counts whose sum has more digits than float32 are added up exactly, by either collective."""
    counts = np.array([2**24 - 1, 2**24 - 1, 2**24 - 1], np.float32)

    def count_of(size):
        def pooled(count):
            zero, one = jnp.zeros(size), jnp.ones(size)
            part = SplitMoments(jnp.full(size, count), zero, zero, zero, one)
            return pooled_over_devices([part], ("i",))[0].count

        high, low = jax.jit(jax.vmap(pooled, axis_name="i"))(counts)
        return exact(high[0], low[0])

    for size in (1, 2**13):
        np.testing.assert_array_equal(count_of(size), 3 * (2**24 - 1))


def test_explicit_mesh(rng):
    """On a mesh with explicit axes a batch, its weights and its mask may be split differently."""
    x = rng.normal(5, 1, (8, 3)).astype(np.float32)
    weights = rng.uniform(0.5, 1, 8).astype(np.float32)
    where = rng.uniform(size=8) < 0.7
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))

    def put(array, *names):
        return jax.device_put(array, jax.NamedSharding(mesh, P(*names)))

    with jax.set_mesh(mesh):
        batch, mask = put(x, "data"), put(where, "data")
        stream = update(init(jnp.zeros(3)), batch, weights=put(weights), where=mask)
    assert_agree(stream, moments(x, (weights * where)[:, None]))


def test_environments(rng):
    """Under vmap each environment has a stream of its own, with a name they share one."""
    x = rng.normal(2, 3, (4, 10, 2)).astype(np.float32)
    empty = init(jnp.zeros(2))
    own = jax.vmap(update, in_axes=(None, 0))(empty, x)
    shared = jax.vmap(lambda x: update(empty, x, axis_name="i"), axis_name="i")(x)
    for i in range(4):
        assert_agree(jax.tree.map(lambda a, i=i: a[i], own), moments(x[i]))
        assert_agree(jax.tree.map(lambda a, i=i: a[i], shared), moments(x.reshape(-1, 2)))


def test_plain_tree(rng):
    """A stream that was flattened, saved and made again goes on with the same bits."""
    x = rng.normal(1e6, 1, (3, 5)).astype(np.float32)
    stream = update(init({"a": jnp.zeros(5)}), {"a": x})
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(stream)]
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    again = Stream(**pickle.loads(pickle.dumps(jax.tree.map(np.asarray, stream._asdict()))))
    one, two = (update(s, {"a": x[0]}) for s in (stream, again))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, two))


def test_gradients_go_through_observations_alone(rng):
    """The gradient of what is normalized is 1 / deviation: all else is a constant."""
    x = rng.normal(5, 3, (6,)).astype(np.float32)

    def total(x, epsilon, clip):
        stream = update(init(jnp.zeros(())), x)
        return jnp.sum(jnp.arange(6.0) * normalize(stream, x, epsilon=epsilon, clip=clip))

    of_x, *others = jax.grad(total, (0, 1, 2))(x, jnp.zeros(()), jnp.asarray(1.0))
    wide = x.astype(np.float64)
    within = np.abs(wide - wide.mean()) < wide.std()
    np.testing.assert_allclose(of_x, np.arange(6) * within / wide.std(), rtol=1e-6)
    np.testing.assert_array_equal(others, [0, 0])


def test_integer_weights(x64):
    """Integers as weights count exactly in statistics of float64, beyond the digits of float32."""
    weights = np.array([2**24 + 1, 2**40 + 1])
    for given in (weights, jnp.asarray(weights)):
        stream = update(init(np.zeros(())), np.array([1.0, 2.0]), weights=given)
        assert int(stream.count) == weights.sum()


def test_double_precision_that_is_not_enabled():
    """An example of float64 has statistics of float32 then, and no warning is raised."""
    assert init(np.zeros(3)).mean.dtype == jnp.float32


def test_double_precision(x64, rng):
    """Under 64 bits a leaf of float64 has statistics of float64, beside one of bfloat16."""
    x = rng.normal(1e9, 1, (20,))
    example = {"wide": jax.ShapeDtypeStruct((), jnp.float64), "half": jnp.zeros((), jnp.bfloat16)}
    half = jnp.asarray(x - 1e9, jnp.bfloat16)
    stream = update(init(example), {"wide": x, "half": half})
    assert stream.mean["half"].dtype == jnp.float32
    _, mean, var = moments(x)
    assert abs(stream.mean["wide"] + stream.mean_low["wide"] - mean) < 1e-6
    np.testing.assert_allclose(stream.var["wide"], var, rtol=1e-12)
    assert normalize(stream, {"wide": x, "half": half}, epsilon=0.0)["half"].dtype == jnp.bfloat16
