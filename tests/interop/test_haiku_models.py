"""Whole networks for Haiku: the same trees, outputs and training with our layers as with its own.

Training is compared in double precision, because it amplifies rounding. Two runs of Haiku's own,
whose parameters start one unit of the last place apart, are apart after 20 steps of AdamW by 8e-8
in the outputs of the ResNet (of up to 70; in float32, where training diverges, by tens) and by
3e-11 in those of the transformer. Ours were 1e-7 and 2e-11 apart from Haiku's; the bounds are some
fifty times as much, as another processor rounds otherwise.
"""

import haiku as hk
import jax
import numpy as np
import pytest

from inox.interop import haiku as ours
from tests.interop.haiku_cases import kinds
from tests.interop.haiku_models import (
    images,
    no_decay_of_norms,
    resnet,
    tokens,
    trained,
    transformer,
)

STEPS = 20
NETWORKS = {
    "resnet": (resnet, ours.replaced()(resnet), images, 5e-6),
    "transformer": (transformer(hk), transformer(ours), tokens, 1e-9),
}
pytestmark = pytest.mark.usefixtures("standard_promotion")


def evaluated(network):
    return jax.jit(lambda parameters, state, x: network.apply(parameters, state, None, x, False)[0])


# In double precision XLA's own loops do the convolutions, in which its effort is well spent.
BUILT = [
    pytest.param(name, marks=pytest.mark.compiled_as_for_users if name == "resnet" else ())
    for name in NETWORKS
]


@pytest.fixture(scope="module", params=BUILT)
def runs(request):
    """Both networks, and what 20 steps of training make of the same parameters in each."""
    theirs, mine, data, bound = NETWORKS[request.param]
    networks = [hk.transform_with_state(network) for network in (theirs, mine)]
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        batches = [(x.astype(np.float64), labels) for x, labels in map(data, range(STEPS))]
        start = networks[0].init(jax.random.key(0), batches[0][0], True)
        ends = [trained(network, *start, batches) for network in networks]
        # Each network evaluates what it and what the other has trained.
        functions = [evaluated(network) for network in networks]
        outputs = [[function(*end[:2], batches[0][0]) for end in ends] for function in functions]
    return ends, outputs, bound


def test_training(runs):
    """After 20 steps parameters, states, losses and outputs are Haiku's to the bound."""
    (theirs, mine), outputs, bound = runs
    for one, other in zip(jax.tree.leaves(theirs), jax.tree.leaves(mine), strict=True):
        np.testing.assert_allclose(other, one, rtol=bound, atol=bound)
    np.testing.assert_allclose(outputs[1][1], outputs[0][0], rtol=bound, atol=bound)
    assert theirs[3][0] != theirs[3][-1]


def test_checkpoints_both_ways(runs):
    """What one has trained the other evaluates alike, to rounding, whichever it was."""
    _, (by_theirs, by_ours), _ = runs
    for one, other in zip(by_theirs, by_ours, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-11 * np.abs(one).max())


@pytest.mark.parametrize(
    "build",
    [
        lambda x, t: hk.nets.ResNet18(10)(x, t),
        lambda x, t: hk.nets.ResNet50(10, resnet_v2=True)(x, t),
        lambda x, t: hk.nets.MobileNetV1(num_classes=10)(x, t),
    ],
)
def test_trees_of_haikus_networks(build):
    """Haiku's networks with our layers inside have their own parameters and state."""
    x = images(0)[0]
    trees = [
        jax.eval_shape(
            lambda x, n=network: hk.transform_with_state(n).init(jax.random.key(0), x, True), x
        )
        for network in (build, ours.replaced()(build))
    ]
    assert kinds(trees[0]) == kinds(trees[1])
    assert len(jax.tree.leaves(trees[0])) > 100


def test_float32():
    """In float32 the losses of 20 steps of the transformer are Haiku's to a few units of 2e-7."""
    batches = [tokens(seed) for seed in range(STEPS)]
    ends = []
    for module in (hk, ours):
        network = hk.transform_with_state(transformer(module))
        start = network.init(jax.random.key(0), batches[0][0], True)
        ends.append(trained(network, *start, batches)[3])
    np.testing.assert_allclose(ends[1], ends[0], atol=2e-6)


def test_rematerialized():
    """Blocks that are computed again in the backward pass give the same gradients."""
    x, _ = tokens(0)
    gradients = []
    for remat in (False, True):
        network = hk.transform_with_state(transformer(ours, remat=remat))
        parameters, state = network.init(jax.random.key(0), x, True)

        def loss(parameters, network=network, state=state):
            return (network.apply(parameters, state, None, x, True)[0] ** 2).mean()

        gradients.append(jax.jit(jax.grad(loss))(parameters))
    for one, other in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def test_an_ensemble():
    """Networks that are mapped over, with a state each, are what each is alone."""
    x, _ = tokens(1)
    network = hk.transform_with_state(transformer(ours, layers=1))
    keys = jax.random.split(jax.random.key(0), 3)
    parameters, state = jax.vmap(lambda key: network.init(key, x, True))(keys)
    y, after = jax.vmap(lambda p, s: network.apply(p, s, None, x, True))(parameters, state)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (parameters, state))
        alone, alone_after = network.apply(*one, None, x, True)
        np.testing.assert_allclose(y[i], alone, rtol=1e-4, atol=1e-5)
        for many, single in zip(*map(jax.tree.leaves, (after, alone_after)), strict=True):
            np.testing.assert_allclose(many[i], single, rtol=1e-4, atol=1e-5)


def test_orbax(tmp_path):
    """A checkpoint of Haiku's own network is restored into ours as it is, and the other way."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    x, _ = tokens(2)
    networks = [hk.transform_with_state(transformer(m, layers=1)) for m in (hk, ours)]
    trees = [network.init(jax.random.key(i), x, True) for i, network in enumerate(networks)]
    with checkpoint.StandardCheckpointer() as checkpointer:
        for i, tree in enumerate(trees):
            checkpointer.save(tmp_path / str(i), tree)
        checkpointer.wait_until_finished()
        for i, tree in enumerate(trees):
            into = jax.tree.map(np.zeros_like, trees[1 - i])
            restored = checkpointer.restore(tmp_path / str(i), into)
            one, other = (
                network.apply(*values, None, x, False)[0]
                for network, values in ((networks[i], tree), (networks[1 - i], restored))
            )
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_masks():
    """A mask by names says the same of both, and leaves scales and offsets out of weight decay."""
    x, _ = tokens(3)
    masks = []
    for module in (hk, ours):
        network = hk.transform_with_state(transformer(module))
        parameters, _ = jax.eval_shape(lambda x, n=network: n.init(jax.random.key(0), x, True), x)
        masks.append(no_decay_of_norms(parameters))
    assert masks[0] == masks[1]
    norms = {name: mask for name, mask in masks[1].items() if "norm" in name}
    assert len(norms) == 4
    assert not any(value for mask in norms.values() for value in mask.values())
