"""Moments and batch norm over axes of `vmap` and `shard_map`, weighted by count.

Whatever the batch is split into, values, moments and gradients are those of the whole batch on one
device, which the oracle gives. Splits are unequal through `where`; one part may be empty.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.parts import CHANNELS, PARTS, ROWS, Batch, loss_of, mesh_of, pooled_norm
from tests.functional.programs import quick_jit


def test_batch_norm_over_a_vmapped_axis():
    """`vmap(axis_name=...)` equals the whole batch: values, moments and every gradient."""
    batch = Batch()

    norm = jax.vmap(pooled_norm, in_axes=(0, 0, None), axis_name="parts")

    def loss(x, parameters):
        y, moments = norm(x, batch.where, parameters)
        first = jax.tree.map(lambda value: value[0], moments)
        return loss_of(batch.cotangents, y, first, 1), (y, moments)

    program = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (y, moments)), (dx, dparameters) = program(batch.x, batch.parameters)
    for value in moments:
        np.testing.assert_array_equal(value, np.broadcast_to(value[0], value.shape))
    first = jax.tree.map(lambda value: value[0], moments)
    batch.check(y, first, {"x": dx} | dparameters)


@pytest.mark.parametrize("check_vma", [True, False])
def test_batch_norm_in_shard_map(check_vma):
    """Over the axis of a mesh: the same, and the moments leave the map as replicated values."""
    batch = Batch()
    mesh = mesh_of((PARTS,), ("parts",))

    norm = jax.shard_map(
        pooled_norm,
        mesh=mesh,
        in_specs=(P("parts"), P("parts"), P()),
        out_specs=(P("parts"), P()),
        check_vma=check_vma,
    )

    def loss(x, parameters):
        y, moments = norm(x, batch.where, parameters)
        return loss_of(batch.cotangents, y, moments, 1), (y, moments)

    program = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (y, moments)), (dx, dparameters) = program(batch.x, batch.parameters)
    batch.check(y, moments, {"x": dx} | dparameters)


def test_forward_mode_and_second_order_in_shard_map():
    """Slopes and Hessian-vector products inside the map's caller agree with the whole batch."""
    batch = Batch()
    mesh = mesh_of((PARTS,), ("parts",))
    specs = {"mesh": mesh, "in_specs": (P("parts"), P("parts")), "out_specs": (P("parts"), P())}

    @functools.partial(jax.shard_map, **specs)
    def norm(x, where):
        return functional.batch_norm(x, epsilon=batch.epsilon, where=where, axis_name="parts")

    def split(x):
        return loss_of(batch.cotangents, *norm(x, batch.where), 1)

    def whole(x):
        y, moments = functional.batch_norm(x, epsilon=batch.epsilon, where=batch.where)
        return loss_of(batch.cotangents, y, moments, 1)

    tangent = jnp.asarray(np.random.default_rng(4).normal(size=batch.x.shape), np.float32)

    @quick_jit
    def derivatives(x):
        return [
            (
                jax.jvp(loss, (x,), (tangent,))[1],
                jax.jvp(jax.grad(loss), (x,), (tangent,))[1],
                jax.grad(lambda x, loss=loss: jax.jvp(loss, (x,), (tangent,))[1])(x),
            )
            for loss in (split, whole)
        ]

    arrays = {"x": batch.arrays["x"], "epsilon": batch.arrays["epsilon"]}
    wide = oracle.as_float64(batch.cotangents)
    exact = oracle.directional(
        lambda moved: batch.reference.pullback(moved, wide, batch.where),
        arrays,
        {"x": np.asarray(tangent, np.float64)},
    )["x"]
    slope = (batch.reference.pullback(arrays, wide, batch.where)["x"] * np.asarray(tangent)).sum()
    for first, forward_over_reverse, reverse_over_forward in derivatives(batch.x):
        np.testing.assert_allclose(first, slope, rtol=1e-4)
        assert_close(forward_over_reverse, exact, "forward over reverse", factor=128)
        assert_close(reverse_over_forward, exact, "reverse over forward", factor=128)


def test_moments_over_vmapped_and_sharded_axes():
    """Over one axis, over two at once, and over a vmap inside a shard_map."""
    batch = Batch(counts=(5, 0, 6, 2))
    exact = batch.exact()
    moments = functools.partial(functional.moments, axis=0)

    def check(actual, label):
        np.testing.assert_array_equal(actual.count, exact["count"], label)
        assert_close(actual.mean, exact["mean"], label, size=np.array(20.0))
        assert_close(actual.var, exact["var"], label, factor=32)

    def first(tree, axes):
        return jax.tree.map(lambda value: value[(0,) * axes], tree)

    x, where = batch.x, np.broadcast_to(batch.where, batch.x.shape)
    one = jax.vmap(lambda x, w: moments(x, where=w, axis_name="a"), axis_name="a")
    check(first(quick_jit(one)(x, where), 1), "one vmap")

    split = [array.reshape(2, 2, ROWS, CHANNELS) for array in (x, where)]
    inner = jax.vmap(lambda x, w: moments(x, where=w, axis_name=("a", "b")), axis_name="b")
    check(first(quick_jit(jax.vmap(inner, axis_name="a"))(*split), 2), "two vmaps")

    mesh = mesh_of((2, 2), ("a", "b"))
    two = jax.shard_map(
        lambda x, w: moments(x[0, 0], where=w[0, 0], axis_name=("a", "b")),
        mesh=mesh,
        in_specs=P("a", "b"),
        out_specs=P(),
    )
    check(quick_jit(two)(*split), "two axes of a mesh")

    # JAX itself refuses a vmapped name inside of a map with its checks on.
    mixed = jax.shard_map(
        jax.vmap(lambda x, w: moments(x, where=w, axis_name=("a", "b")), axis_name="b"),
        mesh=mesh_of((2,), ("a",)),
        in_specs=P("a"),
        out_specs=P("a"),
        check_vma=False,
    )
    flat = [array.reshape(4, ROWS, CHANNELS) for array in (x, where)]
    check(first(quick_jit(mixed)(*flat), 1), "a vmap in a shard_map")


def test_vmap_in_a_shard_map_over_its_axis_alone():
    """With the checks on: members of the vmap stay apart, devices are pooled."""
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 2)).astype(np.float32)
    mapped = jax.shard_map(
        jax.vmap(lambda x: functional.moments(x, (0, 1), axis_name="a"), in_axes=1),
        mesh=mesh_of((4,), ("a",)),
        in_specs=P("a"),
        out_specs=P(),
    )
    actual = quick_jit(mapped)(x)
    assert_close(actual.mean, x.mean((0, 2), dtype=np.float64))
    assert_close(actual.var, x.astype(np.float64).var((0, 2)))


def test_one_of_two_mapped_axes():
    """Statistics over axis "a" alone differ from one member of "b" to the next."""
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    norm = functools.partial(functional.batch_norm, axis_name="a")
    y, moments = quick_jit(jax.vmap(jax.vmap(norm, axis_name="b"), axis_name="a"))(x)
    exact = oracle.Normalization(oracle.slices(x.shape, (0, 2))).evaluate(
        {"x": x.astype(np.float64), "epsilon": np.float64(1e-5)}
    )
    assert_close(y, exact["y"])
    assert_close(moments.var[0], exact["var"])


def test_no_part_with_a_row():
    """A batch with no True position anywhere: count, mean and var 0, y and gradients 0."""
    batch = Batch(counts=(0, 0, 0, 0))

    def norm(x, where):
        return functional.batch_norm(x, batch.scale, batch.bias, where=where, axis_name="parts")

    def loss(x):
        y, moments = jax.vmap(norm, axis_name="parts")(x, batch.where)
        return y.sum() + moments.mean.sum() + moments.var.sum(), (y, moments)

    (_, (y, moments)), gradient = jax.value_and_grad(loss, has_aux=True)(batch.x)
    for value in (y, *moments, gradient):
        np.testing.assert_array_equal(value, np.zeros(value.shape))


def test_layer_norm_inside_shard_map():
    """A row norm needs no other device; a replicated scale gets the sum of all gradients."""
    generator = np.random.default_rng(1)
    arrays = {
        "x": generator.normal(size=(8, 5)).astype(np.float32),
        "scale": generator.uniform(0.5, 1.5, 5).astype(np.float32),
        "bias": generator.normal(size=5).astype(np.float32),
        "epsilon": np.float32(0.125),
    }
    cotangents = {"y": generator.normal(size=(8, 5)).astype(np.float32)}
    mesh = mesh_of((8,), ("rows",))
    specs = ({"x": P("rows"), "scale": P(), "bias": P(), "epsilon": P()},)

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, out_specs=P("rows"))
    def norm(a):
        return functional.layer_norm(a["x"], a["scale"], a["bias"], epsilon=a["epsilon"])

    def loss(arrays):
        return (norm(arrays) * cotangents["y"]).sum()

    gradients = quick_jit(jax.grad(loss))(arrays)
    reference = oracle.Normalization(oracle.slices((8, 5), -1))
    wide = oracle.as_float64(arrays), oracle.as_float64(cotangents)
    assert_all_close(gradients, reference.pullback(*wide), sizes=reference.sizes(*wide))
    assert_close(quick_jit(norm)(arrays), reference.evaluate(wide[0])["y"])


def test_gradients_taken_inside_shard_map():
    """A data-parallel step: `grad` of the local loss inside the map sums over devices by itself."""
    batch = Batch(counts=(6, 6, 6, 6))
    mesh = mesh_of((PARTS,), ("parts",))
    specs = (P("parts"), P("parts"), P())

    @functools.partial(jax.shard_map, mesh=mesh, in_specs=specs, out_specs=(P("parts"), P()))
    def gradients(x, dy, parameters):
        def loss(x, parameters):
            y, _ = functional.batch_norm(x, **parameters, axis_name="parts")
            return (y * dy).sum()

        return jax.grad(loss, argnums=(0, 1))(x, parameters)

    dx, dparameters = quick_jit(gradients)(batch.x, batch.cotangents["y"], batch.parameters)
    wide = {"y": batch.cotangents["y"].astype(np.float64)}
    expected = batch.reference.pullback(batch.arrays, wide)
    sizes = batch.reference.sizes(batch.arrays, wide)
    # Each device's loss is its own: the gradient of the sum of all of them is what is summed.
    assert_all_close({"x": dx} | dparameters, expected, sizes=sizes)


def test_half_precision_parts():
    """bfloat16 parts are merged in float32: the variance is that of the whole batch to 1e-6."""
    x = np.random.default_rng(0).normal(3, 1, (4, 8, 3)).astype(jnp.bfloat16)
    norm = functools.partial(functional.batch_norm, axis_name="parts")
    y, moments = quick_jit(jax.vmap(norm, axis_name="parts"))(x)
    exact = x.astype(np.float64)
    assert y.dtype == jnp.bfloat16
    assert_close(moments.var[0], exact.var((0, 1)))
    assert_close(moments.mean[0], exact.mean((0, 1)))


@pytest.mark.parametrize("masked", [False, True], ids=["all rows", "masked"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "gradient"])
def test_a_vmap_around_a_shard_map_of_its_own_axis(masked, backward):
    """An ensemble whose members have devices of their own, rows split inside of each.

    As a textbook norm by `pmean` does it: with the checks on, values inside vary over the members'
    axis though no name of it is seen there, and a count that no mask changes doesn't.
    """
    members, rows, channels = 2, 8, 3
    mesh = mesh_of((members, 4), ("members", "rows"))
    random = np.random.default_rng(3)
    x = jnp.asarray(random.standard_normal((members, rows, channels)) + 2, jnp.float32)
    weight = jnp.asarray(random.standard_normal(x.shape), jnp.float32)
    where = jnp.asarray(random.random((members, rows, 1)) < 0.7)

    def ours(x, where):
        return functional.batch_norm(x, axis_name="rows", where=where if masked else None)[0]

    def textbook(x, where):
        present = where.astype(x.dtype) if masked else jnp.ones_like(x[:, :1])
        count = lax.psum(present.sum(0), "rows")
        mean = lax.psum((x * present).sum(0), "rows") / count
        var = lax.psum((present * (x - mean) ** 2).sum(0), "rows") / count
        return present * (x - mean) * lax.rsqrt(var + 1e-5)

    def program(norm):
        split = jax.shard_map(norm, mesh=mesh, in_specs=(P("rows"), P("rows")), out_specs=P("rows"))
        mapped = jax.vmap(split, spmd_axis_name="members")
        if not backward:
            return quick_jit(mapped)
        return quick_jit(jax.grad(lambda x, where: jnp.sum(mapped(x, where) * weight)))

    with jax.numpy_rank_promotion("allow"):
        expected = program(textbook)(x, where)
    np.testing.assert_allclose(program(ours)(x, where), expected, rtol=1e-5, atol=1e-5)
