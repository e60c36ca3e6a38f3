"""Networks of Equinox with one import changed: the same trees, numbers and checkpoints.

**The bound.** Both sides round float32; what a step differs by is units of the last place of the
norms' outputs, a few 1e-7 of the activations. Training by SGD is a smooth map of the parameters, so
the differences of 20 steps add up, each amplified by what follows it: a factor e^(20 a) where a
step amplifies by 1 + a. A second network that starts 1e-7 away (relative, at random) measures that:
the two sides are to be no farther apart than 20 times what this perturbation has grown to.
"""

import io
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest

from inox.interop import equinox as ours
from inox.interop.equinox import replace
from tests.interop.equinox_networks import ResidualNetwork, Transformer

STEPS = 20
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((STEPS, 8, 3, 8, 8)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, (STEPS, 8))
TOKENS = RANDOM.integers(0, 11, (STEPS, 4, 9))
OPTIMIZER = optax.chain(
    optax.add_decayed_weights(1e-3, mask=lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree)),
    optax.sgd(0.05, momentum=0.5),
)
NETWORKS = ["batch", "ema", "transformer"]

pytestmark = pytest.mark.usefixtures("standard_promotion")


def build(name, nn):
    """A network and its state (an empty one for the transformer), from one key."""
    if name == "transformer":
        return eqx.nn.make_with_state(Transformer)(nn, jax.random.key(0))
    return eqx.nn.make_with_state(ResidualNetwork)(nn, jax.random.key(0), name)


def inputs(name, step):
    return (TOKENS[step], TOKENS[step]) if name == "transformer" else (IMAGES[step], LABELS[step])


def batched(model, x, state):
    """Outputs of a batch, and the new state."""
    if isinstance(model, Transformer):
        return jax.vmap(model)(x), state
    return jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)


@eqx.filter_jit
def evaluate(model, x, state):
    return batched(eqx.nn.inference_mode(model), x, state)[0]


@eqx.filter_jit
def train_step(model, state, optimizer_state, x, target):
    def loss(model):
        y, updated = batched(model, x, state)
        losses = optax.softmax_cross_entropy_with_integer_labels(y, target)
        return jnp.mean(losses), updated

    (value, state), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(model)
    arrays = eqx.filter(model, eqx.is_inexact_array)
    updates, optimizer_state = OPTIMIZER.update(gradient, optimizer_state, arrays)
    return eqx.apply_updates(model, updates), state, optimizer_state, value


def copied(tree):
    return jax.tree.map(lambda leaf: leaf, tree)


def trained(name, model, state, start=0):
    """After the steps from `start` on: model, state, optimizer state, losses."""
    optimizer_state = OPTIMIZER.init(eqx.filter(model, eqx.is_inexact_array))
    losses = []
    for step in range(start, STEPS):
        model, state, optimizer_state, value = train_step(
            model, state, optimizer_state, *inputs(name, step)
        )
        losses.append(float(value))
    return model, state, optimizer_state, losses


def perturbed(model):
    """The model with every array 1e-7 away, at random."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: (
            leaf * (1 + 1e-7 * rng.standard_normal(leaf.shape).astype(np.float32))
            if eqx.is_inexact_array(leaf)
            else leaf
        ),
        model,
    )


def distance(one, other):
    """The largest difference between arrays of two trees, over their largest element."""
    ratios = [0.0]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if eqx.is_inexact_array(a):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            largest = max(np.abs(a).max(), np.abs(b).max())
            ratios.append(np.abs(a - b).max() / largest if largest else 0.0)
    return max(ratios)


def leaves_of(tree):
    """Path, shape, dtype, or the value of what is no array, of every leaf."""
    return [
        (jax.tree_util.keystr(path), *((leaf.shape, leaf.dtype) if eqx.is_array(leaf) else (leaf,)))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@pytest.fixture(scope="module", params=NETWORKS)
def runs(request):
    """A network built from ours and from the framework's layers, and both after 20 steps."""
    name = request.param
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        mine, theirs = build(name, ours), build(name, eqx.nn)
        return (
            name,
            mine,
            theirs,
            trained(name, mine[0], copied(mine[1])),
            trained(name, theirs[0], copied(theirs[1])),
            trained(name, perturbed(theirs[0]), copied(theirs[1])),
        )


def test_trees_are_the_same(runs):
    """Parameters, state and optimizer state have the same paths, shapes and dtypes."""
    _, mine, theirs, my_end, their_end, _ = runs
    for one, other in zip((*mine, *my_end[:3]), (*theirs, *their_end[:3]), strict=True):
        assert leaves_of(one) == leaves_of(other)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_is_the_same(runs):
    """20 steps end within what rounding alone makes of them (see the bound above)."""
    _, _, (start, _), mine, other, near = runs
    (model, state, _, losses), (theirs, their_state, _, their_losses) = mine, other
    near_model, near_state, _, near_losses = near
    assert distance(start, theirs) > 0.01
    grown = max(distance(theirs, near_model), distance(their_state, near_state), 1e-6)
    assert grown < 1e-3
    assert distance(theirs, model) < 20 * grown
    assert distance(their_state, state) < 20 * grown
    spread = max(np.abs(np.subtract(their_losses, near_losses)).max(), 1e-6)
    np.testing.assert_allclose(losses, their_losses, rtol=0, atol=20 * spread)


def test_evaluation_is_the_same(runs):
    """One trained network evaluates as the other with the same arrays.

    In mode "batch" the framework's variance holds a rest of its start, 0.14 after 20 steps of
    momentum 0.9: there it is compared with a state that has been freed of it.
    """
    name, _, _, _, (theirs, state, _, _), _ = runs
    mine = replace(theirs)
    x, _ = inputs(name, 0)
    expected_state = copied(state)
    if name == "batch":
        expected_state = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf - 0.9**STEPS if is_variance(path, state) else leaf, state
        )
    expected = evaluate(theirs, x, expected_state)
    y = evaluate(mine, x, state)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def is_variance(path, state):
    """Whether a leaf of a state is a running variance: the second of a pair of vectors."""
    leaf_path = jax.tree_util.keystr(path)
    pairs = [jax.tree_util.keystr(p) for p, leaf in jax.tree_util.tree_leaves_with_path(state)]
    assert leaf_path in pairs
    return isinstance(path[-1], jax.tree_util.SequenceKey) and path[-1].idx == 1


def test_every_norm_was_ours(runs, capsys):
    """There is nothing left to replace in a network built from our module."""
    _, (model, _), (theirs, _), *_ = runs
    replace(model)
    assert "nothing replaced" in capsys.readouterr().out
    replace(theirs)
    assert "left" not in capsys.readouterr().out


@pytest.mark.parametrize("name", NETWORKS)
def test_checkpoints_go_both_ways(name, tmp_path):
    """`tree_serialise_leaves`, Orbax: what one side wrote in training, the other goes on with."""
    for writer, reader in ((ours, eqx.nn), (eqx.nn, ours)):
        model, state = build(name, writer)
        optimizer_state = OPTIMIZER.init(eqx.filter(model, eqx.is_inexact_array))
        written = train_step(model, state, optimizer_state, *inputs(name, 0))[:3]
        model, state = build(name, reader)
        like = (model, state, OPTIMIZER.init(eqx.filter(model, eqx.is_inexact_array)))
        file = io.BytesIO()
        eqx.tree_serialise_leaves(file, written)
        file.seek(0)
        read = eqx.tree_deserialise_leaves(file, like)
        assert leaves_of(read) == leaves_of(written)
        for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(written), strict=True):
            np.testing.assert_array_equal(a, b)

        arrays = jax.tree.leaves(eqx.filter(written, eqx.is_array))
        place = tmp_path / f"{name}-{reader.__name__}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Orbax' own logging
            with orbax.checkpoint.StandardCheckpointer() as checkpointer:
                checkpointer.save(place, arrays)
            with orbax.checkpoint.StandardCheckpointer() as checkpointer:
                restored = checkpointer.restore(place, arrays)
        target, static = eqx.partition(like, eqx.is_array)
        again = eqx.combine(jax.tree.unflatten(jax.tree.structure(target), restored), static)
        assert eqx.tree_equal(again, read)
        # And goes on.
        _, _, _, value = train_step(*again, *inputs(name, 1))
        assert np.isfinite(value)
