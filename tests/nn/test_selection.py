"""`train`, `freeze` and `is_norm_parameter`: layers and parameters chosen by type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_close, assert_same_bits, each_layer, example

from inox.nn import (
    BatchNorm,
    LayerNorm,
    Module,
    Parameter,
    export_state,
    freeze,
    is_norm_parameter,
    train,
)


class Linear(Module):
    """A linear map with the names a norm uses."""

    def __init__(self):
        self.scale = Parameter(jnp.full((4, 4), 0.5))
        self.bias = Parameter(jnp.zeros(4))


class Network(Module):
    def __init__(self):
        self.linear = Linear()
        self.norm = BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4))
        self.blocks = [{"norm": LayerNorm(scale=jnp.ones(4))}, Linear()]
        self.scale = Parameter(jnp.ones(4))


NORM_PATHS = {".norm.scale.value", ".norm.bias.value", ".blocks[0]['norm'].scale.value"}


def test_norm_parameters_are_found_by_type():
    """True at the scale and bias of norms alone: a `scale` of a linear map is False."""
    network, _ = export_state(Network())
    mask = is_norm_parameter(network)
    assert jax.tree.structure(mask) == jax.tree.structure(network)
    flags = {
        jax.tree_util.keystr(path): flag for path, flag in jax.tree_util.tree_leaves_with_path(mask)
    }
    assert {path for path, flag in flags.items() if flag is True} == NORM_PATHS
    assert all(type(flag) is bool for flag in flags.values())
    assert sum(flags.values()) == 3
    assert len(flags) == 8


@each_layer
def test_every_layers_parameters_are_norm_parameters(case):
    """Scale and bias of each layer are True; an array epsilon is no parameter."""
    layer, _ = case.exported()
    mask = is_norm_parameter([layer, jnp.ones(1)])
    flags = {
        jax.tree_util.keystr(path): flag for path, flag in jax.tree_util.tree_leaves_with_path(mask)
    }
    expected = {f"[0].{name}.value" for name in case.parameters}
    assert {path for path, flag in flags.items() if flag} == expected
    assert flags["[1]"] is False


def test_norm_parameters_of_a_subclass_and_of_a_plain_tree():
    """A user's subclass of a norm counts; arrays in a plain dict called scale do not."""

    class Shifted(LayerNorm):
        def __init__(self):
            super().__init__(scale=jnp.ones(4))
            self.extra = Parameter(jnp.zeros(4))

        def __call__(self, x, *, where=None):
            return super().__call__(x, where=where) + self.extra()[None]

    mask = is_norm_parameter({"scale": jnp.ones(2), "norm": Shifted()})
    assert mask["scale"] is False
    assert mask["norm"].scale.value is True


def test_norm_parameter_mask_before_export_and_under_eval_shape():
    """The mask needs no numbers: it works on abstract trees, and on a tree not exported yet."""
    abstract = jax.eval_shape(lambda: export_state(Network())[0])
    assert sum(jax.tree.leaves(is_norm_parameter(abstract))) == 3
    assert sum(jax.tree.leaves(is_norm_parameter(Network()))) == 3


@pytest.mark.parametrize("wrap", ["module", "list", "dict", "layer"])
def test_train_sets_the_mode_in_place_and_returns_the_tree(wrap):
    """`train(tree, mode)` reaches every layer of any tree and returns that very tree."""
    norm = BatchNorm(4)
    tree = {
        "module": lambda: Module(norm=norm, deep=[{"x": LayerNorm()}]),
        "list": lambda: [norm, [LayerNorm()], 3],
        "dict": lambda: {"norm": norm, "kernel": jnp.ones(2), "nothing": None},
        "layer": lambda: norm,
    }[wrap]()
    assert train(tree, False) is tree
    assert norm.training is False
    assert train(tree) is tree
    assert norm.training is True


def test_evaluation_mode_changes_the_numbers():
    """After `train(tree, False)` a batch norm normalizes with the running statistics."""
    tree, state = export_state({"norm": BatchNorm(4)})
    x = example()
    train(tree, False)
    y, after = tree["norm"](x, state)
    assert_close(y, x.astype(np.float64) / np.sqrt(1 + 1e-5))
    assert_same_bits(after, state)


def test_frozen_batch_norms_stay_in_evaluation_through_train():
    """Frozen batch norms evaluate and keep their state whatever `train` says."""
    network, state = export_state(Network())
    _, state = network.norm(example(), state)
    frozen = freeze(network)
    x = 3 + example(1)
    evaluated = jax.tree.map(lambda leaf: leaf, network)
    evaluated.train(False)
    expected, _ = evaluated.norm(x, state)
    for mode in (True, False, True):
        frozen.train(mode)
        y, after = frozen.norm(x, state)
        assert_same_bits(y, expected)
        assert_same_bits(after, state)
    train(frozen, True)
    assert_same_bits(frozen.norm(x, state)[0], expected)


def test_freeze_leaves_the_tree_handed_in_as_it_was():
    """The original still trains: freezing gives another tree with the same bits."""
    network, state = export_state(Network())
    frozen = freeze(network)
    assert frozen is not network
    assert_same_bits(jax.tree.leaves(frozen), jax.tree.leaves(network))
    _, moved = network.norm(example(), state)
    assert_close(moved[network.norm.stats].mean, example().astype(np.float64).mean((0, 1, 2)) / 10)


def test_frozen_layers_survive_jax_and_work_on_any_tree():
    """Frozen layers stay so through `jax.tree.map` and jit, inside dicts and lists."""
    tree, state = export_state({"norms": [BatchNorm(4), LayerNorm()]})
    frozen = freeze(tree)
    copied = jax.tree.map(lambda leaf: leaf, frozen)
    train(copied, True)
    x = example()
    y, after = jax.jit(lambda tree, x, state: tree["norms"][0](x, state))(copied, x, state)
    assert_close(y, x.astype(np.float64) / np.sqrt(1 + 1e-5))
    assert_same_bits(after, state)
    layer, layer_state = export_state(BatchNorm(4))
    alone = freeze(layer)
    alone.train()
    assert_close(alone(x, layer_state)[0], x.astype(np.float64) / np.sqrt(1 + 1e-5))


def test_frozen_layers_still_pass_gradients_to_their_parameters():
    """Freezing stops the statistics alone; scale and bias can still be fine-tuned."""
    layer, state = export_state(BatchNorm(4, scale=jnp.ones(4), bias=jnp.zeros(4)))
    frozen = freeze(layer)
    x, weight = example(), example(1)
    slope = jax.grad(lambda layer: jnp.sum(layer(x, state)[0] * weight))(frozen)
    expected = (x.astype(np.float64) / np.sqrt(1 + 1e-5) * weight).sum((0, 1, 2))
    assert_close(slope.scale.value, expected, 32)


def test_freezing_before_export_gives_the_same_model():
    """Frozen first and exported after, a model has the keys and the mode of one frozen last."""
    first, first_state = export_state(freeze(Network()))
    last, last_state = export_state(Network())
    assert_same_bits(first_state, last_state)
    assert jax.tree.structure(first) == jax.tree.structure(freeze(last))
