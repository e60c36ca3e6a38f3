"""What else hangs on a Flax model, kept as the import is changed.

Checkpoints, copies, masks of the optimizer and annotations of sharding, for NNX and Linen.
"""

import copy

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import linen, nnx, serialization
from flax.core import meta
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from inox.interop import flax_linen, flax_nnx
from tests.interop.flax_models import MODELS, NAMES, OURS, THEIRS, inputs, largest_error

pytestmark = pytest.mark.usefixtures("standard_promotion")
CLOSE = 1e-5
BOTH_WAYS = ((THEIRS, OURS), (OURS, THEIRS))


def nnx_model(name, whose, seed=0):
    """After a call in training, so that statistics are those of a batch; in evaluation."""
    model = getattr(MODELS["nnx"][whose], name)(nnx.Rngs(seed))
    model(inputs(name))
    model.eval()
    return model


def linen_model(name, whose, seed=0):
    """A model and its variables, likewise."""
    model, x = getattr(MODELS["linen"][whose], name)(), inputs(name)
    variables = model.init(jax.random.key(seed), x, train=False)
    _, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
    return model, {**variables, **updates}


def assert_same_bits(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def through_orbax(folder, tree, target):
    """Written, and read in the form of a target."""
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, tree)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder, target)


# ---- checkpoints and copies


@pytest.mark.parametrize(("one", "other"), BOTH_WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_orbax_checkpoints_of_nnx(name, one, other, tmp_path):
    """The state that one model wrote, read into a fresh one of the other, is the same bits."""
    model, fresh = nnx_model(name, one), nnx_model(name, other, seed=1)
    target = jax.eval_shape(lambda: nnx.state(fresh))
    nnx.update(fresh, through_orbax(tmp_path / "there", nnx.state(model), target))
    assert_same_bits(nnx.state(fresh), nnx.state(model))
    assert largest_error(fresh(inputs(name)), model(inputs(name))) < CLOSE


@pytest.mark.parametrize(("one", "other"), BOTH_WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_orbax_and_msgpack_checkpoints_of_linen(name, one, other, tmp_path):
    """The variables that one wrote, read by the other, are the same bits."""
    (model, variables), (fresh, others) = linen_model(name, one), linen_model(name, other, 1)
    expected = model.apply(variables, inputs(name), train=False)
    written = serialization.to_bytes(variables)
    by_orbax = through_orbax(tmp_path / "there", variables, jax.eval_shape(lambda: others))
    for read in (by_orbax, serialization.from_bytes(others, written)):
        assert_same_bits(read, variables)
        y = fresh.apply(jax.tree.map(jnp.asarray, read), inputs(name), train=False)
        assert largest_error(y, expected) < CLOSE


@pytest.mark.parametrize("name", NAMES)
def test_copies_of_nnx(name):
    """By `nnx.clone`, `copy.deepcopy` and a pickle: the same bits, and arrays of their own."""
    model = nnx_model(name, OURS)
    y = model(inputs(name))
    copies = (nnx.clone, copy.deepcopy, lambda m: cloudpickle.loads(cloudpickle.dumps(m)))
    for made in (copied(model) for copied in copies):
        np.testing.assert_array_equal(made(inputs(name)), y)
        state = jax.tree.map(np.asarray, nnx.state(made, nnx.BatchStat))
        made.train()
        made(1 + inputs(name))
        assert_same_bits(model(inputs(name)), y)
        if name == "convolutional":
            moved = nnx.state(made, nnx.BatchStat)
            assert largest_error(nnx.as_pure(moved), nnx.as_pure(state)) > 1e-3


# ---- a model built with Flax' own norms


def test_replaced_norms_within_attention(capsys):
    """`MultiHeadAttention(normalize_qk=True)` builds two norms itself: they are found."""
    x = inputs("transformer")
    attention = nnx.MultiHeadAttention(2, 16, normalize_qk=True, decode=False, rngs=nnx.Rngs(0))
    before = attention(x)
    state = dict(nnx.to_flat_state(nnx.state(attention)))
    flax_nnx.replace(attention)
    told = capsys.readouterr().out
    assert "query_ln: LayerNorm replaced" in told
    assert "key_ln: LayerNorm replaced" in told
    assert type(attention.query_ln) is flax_nnx.LayerNorm
    assert largest_error(attention(x), before) < CLOSE
    assert all(v[...] is state[path][...] for path, v in nnx.to_flat_state(nnx.state(attention)))


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_of_nnx_is_the_same(name):
    """A row for each layer, with its name, inputs, outputs and parameters."""
    theirs, ours = (nnx.tabulate(nnx_model(name, whose), inputs(name)) for whose in (THEIRS, OURS))
    assert theirs == ours
    assert "Norm" in ours


# ---- masks of the optimizer


DECAYED = optax.chain(
    optax.add_decayed_weights(
        0.5,
        mask=lambda tree: jax.tree.map_with_path(
            lambda path, _: not {"scale", "bias"} & set(jax.tree_util.keystr(path).split("'")), tree
        ),
    ),
    optax.sgd(0.1),
)


def assert_decayed(before, after):
    """By 5 percent, but for scale and bias."""
    kept = 0
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(before)]
    for path, a, b in zip(paths, jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        affine = "scale" in path or "bias" in path
        np.testing.assert_allclose(b, a if affine else 0.95 * a, rtol=1e-6)
        kept += affine
    assert kept


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("whose", [THEIRS, OURS])
def test_no_weight_decay_for_scale_and_bias(name, whose):
    """A mask by path leaves them out, in NNX and in Linen; a filter of NNX trains them alone."""
    model = nnx_model(name, whose)
    before = nnx.as_pure(nnx.state(model, nnx.Param))
    zero = jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param))
    nnx.Optimizer(model, DECAYED, wrt=nnx.Param).update(model, zero)
    assert_decayed(before, nnx.as_pure(nnx.state(model, nnx.Param)))

    params = linen_model(name, whose)[1]["params"]
    updates, _ = DECAYED.update(jax.tree.map(jnp.zeros_like, params), DECAYED.init(params), params)
    assert_decayed(params, optax.apply_updates(params, updates))

    affine = nnx.All(nnx.Param, nnx.Any(nnx.PathContains("scale"), nnx.PathContains("bias")))
    some = nnx.state(model, affine)
    assert nnx.to_flat_state(some)
    one = jax.tree.map(jnp.ones_like, some)
    before = nnx.as_pure(some)
    nnx.Optimizer(model, optax.sgd(0.5), wrt=affine).update(model, one)
    moved = nnx.as_pure(nnx.state(model, affine))
    assert_same_bits(moved, jax.tree.map(lambda a: a - 0.5, before))


# ---- annotations of sharding


MESH = (2, 4), ("data", "model")


def nnx_annotated(nnx):
    """A linear map and three norms, whose parameters lie along the axis `model`."""
    ones = nnx.with_partitioning(nnx.initializers.ones, ("model",))
    zeros = nnx.with_partitioning(nnx.initializers.zeros, ("model",))
    affine = {"scale_init": ones, "bias_init": zeros}

    class Network(nnx.Module):
        def __init__(self, rngs):
            kernel = nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "model"))
            self.linear = nnx.Linear(8, 16, kernel_init=kernel, rngs=rngs)
            self.batch = nnx.BatchNorm(16, **affine, rngs=rngs)
            self.layer = nnx.LayerNorm(16, **affine, rngs=rngs)
            self.rms = nnx.RMSNorm(16, scale_init=ones, rngs=rngs)

        def __call__(self, x):
            return self.rms(self.layer(self.batch(self.linear(x))))

    return Network


def test_annotations_of_nnx_on_a_mesh():
    """Metadata is that of Flax; parameters lie where it says, in training too; the result stays."""
    mesh = jax.make_mesh(*MESH, axis_types=(AxisType.Auto,) * 2)
    x = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    alone = nnx_annotated(flax_nnx)
    with nnx.use_eager_sharding(False):
        expected = alone(nnx.Rngs(0))(x)
    metadata = []
    for namespace in (nnx, flax_nnx):
        with jax.set_mesh(mesh):
            model = nnx.jit(nnx_annotated(namespace))(nnx.Rngs(0))
            optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
        state = nnx.to_flat_state(nnx.state(model))
        metadata.append({path: variable.get_metadata() for path, variable in state})

        @nnx.jit
        def step(model, optimizer, x):
            gradients = nnx.grad(lambda model: (model(x) ** 3).mean())(model)
            optimizer.update(model, gradients)

        with jax.set_mesh(mesh):
            rows = jax.device_put(x, NamedSharding(mesh, P("data")))
            assert largest_error(nnx.jit(lambda model, x: model(x))(model, rows), expected) < CLOSE
            step(model, optimizer, rows)
        for parameter in (model.batch.scale, model.layer.bias, model.rms.scale):
            assert parameter[...].sharding.is_equivalent_to(NamedSharding(mesh, P("model")), 1)
            assert nnx.get_partition_spec(nnx.state(model))["rms"]["scale"].get_value() == P(
                "model"
            )
    assert metadata[0] == metadata[1]
    assert metadata[1]["layer", "scale"]["out_sharding"] == ("model",)


def linen_annotated(nn):
    """As above."""
    ones = nn.with_partitioning(nn.initializers.ones, ("model",))
    zeros = nn.with_partitioning(nn.initializers.zeros, ("model",))
    affine = {"scale_init": ones, "bias_init": zeros}

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            kernel = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
            x = nn.Dense(16, kernel_init=kernel)(x)
            x = nn.BatchNorm(use_running_average=not train, **affine)(x)
            return nn.RMSNorm(scale_init=ones)(nn.LayerNorm(**affine)(x))

    return Network()


def test_annotations_of_linen_on_a_mesh():
    """Boxes are those of Flax; variables lie where they say; the result stays."""
    mesh = jax.make_mesh(*MESH, axis_types=(AxisType.Auto,) * 2)
    x = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    specs = []
    for module in (linen, flax_linen):
        model = linen_annotated(module)

        def init(key, model=model):
            return model.init(key, x, train=False)

        boxed = jax.eval_shape(init, jax.random.key(0))
        specs.append(linen.get_partition_spec(boxed))
        shardings = linen.get_sharding(boxed, mesh)
        variables = meta.unbox(jax.jit(init, out_shardings=shardings)(jax.random.key(0)))
        scale = variables["params"]["LayerNorm_0"]["scale"]
        assert scale.sharding.is_equivalent_to(NamedSharding(mesh, P("model")), 1)

        def run(variables, x, model=model):
            return model.apply(variables, x, train=True, mutable=["batch_stats"])

        y, updates = jax.jit(run)(variables, jax.device_put(x, NamedSharding(mesh, P("data"))))
        plain = meta.unbox(init(jax.random.key(0)))
        assert largest_error((y, updates), run(plain, x)) < CLOSE
    assert specs[0] == specs[1]
    assert specs[1]["params"]["BatchNorm_0"]["bias"] == P("model")
