"""Models for Flax Linen with the import changed, beside the same with Flax' own norms.

Bounds of outputs: a norm in float32 is exact to a few units in the last place of its largest
value, 1e-7 each; a dozen layers that amplify and add these stay below 1e-5 of the largest output.
After training the bound isn't fixed but measured, against the same model in float64.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from flax.training import train_state

from inox.interop import flax_linen
from tests.interop.flax_models import (
    MODELS,
    NAMES,
    OURS,
    THEIRS,
    cross_entropy,
    inputs,
    largest_error,
)

pytestmark = pytest.mark.usefixtures("standard_promotion")
CLOSE = 1e-5
STEPS = 20


class TrainState(train_state.TrainState):
    """With running statistics, as Flax' guide writes it."""

    batch_stats: Any


@functools.cache
def made(name, whose):
    """A model and its variables from one seed."""
    model = getattr(MODELS["linen"][whose], name)()
    return model, model.init(jax.random.key(0), inputs(name), train=False)


def state_of(name, whose, variables=None):
    model, initial = made(name, whose)
    variables = variables or initial
    return TrainState.create(
        apply_fn=model.apply,
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        tx=optax.sgd(0.05, momentum=0.9),
    )


def variables_of(state):
    return {"params": state.params, "batch_stats": state.batch_stats}


def loss_of(params, state, x):
    variables = {"params": params, "batch_stats": state.batch_stats}
    y, updates = state.apply_fn(variables, x, train=True, mutable=["batch_stats"])
    return cross_entropy(y), (y, updates.get("batch_stats", {}))


@jax.jit
def train_step(state, x):
    (loss, (_, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
        state.params, state, x
    )
    return state.apply_gradients(grads=gradients, batch_stats=batch_stats), loss


@jax.jit
def evaluated(state, x):
    return state.apply_fn(variables_of(state), x, train=False)


@functools.cache
def trained(name, whose, mean=0.5, wide=False):
    """Losses of twenty steps, the variables after them, and the outputs in evaluation.

    With `wide` the same weights in float64 throughout.
    """
    x, variables = inputs(name, mean), made(name, whose)[1]
    with jax.enable_x64(wide):
        if wide:
            x, variables = jax.tree.map(lambda a: np.asarray(a, np.float64), (x, variables))
        state, losses = state_of(name, whose, variables), []
        for _ in range(STEPS):
            state, loss = train_step(state, x)
            losses.append(np.asarray(loss))
        y = np.asarray(evaluated(state, x))
        # A bias of attention's keys adds the same to all of a softmax: its gradient is rounding.
        variables = {
            jax.tree_util.keystr(path): np.asarray(a)
            for path, a in jax.tree.leaves_with_path(variables_of(state))
            if "['key']['bias']" not in jax.tree_util.keystr(path)
        }
        return losses, variables, y


# ---- what a model consists of


@pytest.mark.parametrize("name", NAMES)
def test_variables_have_the_same_tree(name):
    """Collections, names, shapes, dtypes and, from the same seed, bits."""
    (_, theirs), (_, ours) = made(name, THEIRS), made(name, OURS)
    assert jax.tree.structure(theirs) == jax.tree.structure(ours)
    assert ("batch_stats" in ours) == (name == "convolutional")
    for a, b in zip(jax.tree.leaves(theirs), jax.tree.leaves(ours), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_is_the_same(name):
    """A row for each layer, with its name, inputs, outputs and parameters; ours did run."""
    tables = [
        linen.tabulate(made(name, whose)[0], jax.random.key(0), console_kwargs={"width": 160})(
            inputs(name), train=False
        )
        for whose in (THEIRS, OURS)
    ]
    assert tables[0] == tables[1]
    assert "Norm" in tables[1]
    built = []

    def watch(call, arguments, keywords, context):
        built.append(type(context.module))
        return call(*arguments, **keywords)

    with linen.intercept_methods(watch):
        made(name, OURS)[0].apply(made(name, OURS)[1], inputs(name), train=False)
    norms = {kind for kind in built if "Norm" in kind.__name__}
    assert norms
    assert all(kind is getattr(flax_linen, kind.__name__) for kind in norms)


# ---- what it computes


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_agree(name):
    """In evaluation, and in training with the statistics that the batch leaves."""
    x = inputs(name)
    states = [state_of(name, whose) for whose in (THEIRS, OURS)]
    assert largest_error(*(evaluated(state, x) for state in states)) < CLOSE
    step = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (their_results, theirs), (our_results, ours) = (step(s.params, s, x) for s in states)
    assert largest_error(our_results, their_results) < CLOSE
    # A gradient may vanish, such as that of a bias before a norm: measured by the largest of all.
    size = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(theirs))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE * size)


@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps_of_training(name):
    """Losses, parameters, statistics and outputs stay together, and ours as near to float64.

    Training amplifies rounding, so what is asked is an error against float64 of at most twice that
    of Flax' own norms, whose rounding is as random as ours, or of the bound of a single call.
    """
    exact = trained(name, THEIRS, wide=True)
    assert exact[0][-1] < 0.8 * exact[0][0]
    theirs, ours = (
        [
            largest_error(part, right)
            for part, right in zip(trained(name, whose), exact, strict=True)
        ]
        for whose in (THEIRS, OURS)
    )
    for their_error, our_error in zip(theirs, ours, strict=True):
        assert our_error < max(2 * their_error, CLOSE) < 1e-4


def test_a_mean_of_three_thousand():
    """Images of mean 3000 and deviation 1: Flax' one-pass variance is that of rounding."""
    exact = trained("convolutional", THEIRS, 3000.0, wide=True)[2]
    theirs, ours = (
        largest_error(trained("convolutional", whose, 3000.0)[2], exact) for whose in (THEIRS, OURS)
    )
    assert ours < 1e-4
    assert theirs > 0.1


def test_training_moves_scale_and_bias_and_evaluation_no_statistic():
    """Each parameter moves; without `mutable` in evaluation the variables stay as they are."""
    for name in NAMES:
        before = {
            jax.tree_util.keystr(path): a
            for path, a in jax.tree.leaves_with_path(made(name, OURS)[1])
        }
        for path, a in trained(name, OURS)[1].items():
            assert (a != before[path]).any(), path
    model, variables = made("convolutional", OURS)
    _, updates = model.apply(
        variables, inputs("convolutional"), train=False, mutable=["batch_stats"]
    )
    assert jax.tree.structure(updates) == jax.tree.structure(
        {"batch_stats": variables["batch_stats"]}
    )
    for a, b in zip(
        jax.tree.leaves(updates), jax.tree.leaves(variables["batch_stats"]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


# ---- transformations


@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_models(name):
    """Two sets of variables, vectorized: the outputs of each alone."""
    model, _ = made(name, OURS)
    x = inputs(name)
    several = jax.vmap(lambda key: model.init(key, x, train=False))(
        jax.random.split(jax.random.key(0))
    )
    y = jax.jit(jax.vmap(lambda v: model.apply(v, x, train=False)))(several)
    for place in range(2):
        alone = model.apply(jax.tree.map(lambda a, i=place: a[i], several), x, train=False)
        assert largest_error(y[place], alone) < CLOSE


@pytest.mark.parametrize("whose", [OURS, THEIRS])
def test_scan_over_layers(whose):
    """`linen.scan` of a rematerialized block: stacked parameters, and the blocks one by one."""
    x, kind = inputs("transformer"), MODELS["linen"][whose].Block

    class Body(linen.Module):
        @linen.compact
        def __call__(self, x, _):
            return linen.remat(kind)(name="block")(x), None

    stacked = linen.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)()
    variables = stacked.init(jax.random.key(0), x, None)
    (y, _), gradients = jax.jit(
        lambda v: (
            stacked.apply(v, x, None),
            jax.grad(lambda v: (stacked.apply(v, x, None)[0] ** 2).mean())(v),
        )
    )(variables)
    expected = x
    for place in range(3):
        one = jax.tree.map(lambda a, i=place: a[i], variables["params"]["block"])
        expected = kind().apply({"params": one}, expected)
    assert largest_error(y, expected) < CLOSE
    scale = gradients["params"]["block"]["RMSNorm_0"]["scale"]
    assert scale.shape == (3, 16)
    assert float(jnp.abs(scale).min()) > 0


def test_scan_of_batch_norms_with_statistics():
    """Stacked statistics, an axis each step, agree with those of Flax' own batch norm."""
    x, found = inputs("transformer"), []
    for module in (linen, flax_linen):

        class Body(module.Module):
            @module.compact
            def __call__(self, x, _, module=module):
                h = module.BatchNorm(use_running_average=False)(module.Dense(16)(x))
                return x + h, None

        stacked = linen.scan(
            Body,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            length=2,
        )()
        variables = stacked.init(jax.random.key(0), x, None)
        found.append(stacked.apply(variables, x, None, mutable=["batch_stats"]))
    assert jax.tree.structure(found[0]) == jax.tree.structure(found[1])
    assert largest_error(found[1], found[0]) < CLOSE
