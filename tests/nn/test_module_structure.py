"""The structure of a layer's PyTree depends on how it was built, never on what its leaves hold."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from layer_cases import assert_close, assert_same_bits, call, each_layer, example

from inox.nn import (
    BatchNorm,
    LayerNorm,
    Module,
    Parameter,
    RMSNorm,
    export_state,
    is_norm_parameter,
)


class Linear(Module):
    """A linear map whose parameter is called `scale`, as a norm's is."""

    def __init__(self, seed: int, features: int = 4):
        kernel = np.random.default_rng(seed).standard_normal((features, features))
        self.scale = Parameter(jnp.asarray(kernel / np.sqrt(features), jnp.float32))
        self.offset = Parameter(jnp.zeros(features))

    def __call__(self, x):
        return x @ self.scale.value + self.offset.value[None]


class Network(Module):
    """Two linear maps with a batch norm, a root-mean-square norm and a layer norm between."""

    def __init__(self):
        affine = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
        self.layers = [Linear(0), BatchNorm(4, **affine), Linear(1), LayerNorm(**affine)]
        self.last = RMSNorm(scale=jnp.full(4, 2.0))

    def __call__(self, x, state):
        for layer in self.layers:
            x, state = call(layer, state, x)
        return self.last(x), state


FILLS = {
    "booleans": lambda leaf: True,
    "false": lambda leaf: False,
    "strings": lambda leaf: "label",
    "integers": lambda leaf: 3,
    "objects": lambda leaf: object(),
    "shapes": lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
    "integer_arrays": lambda leaf: np.arange(3),
}


@each_layer
def test_structure_survives_any_leaf(case):
    """A tree of booleans, strings, numbers or objects keeps the layer's structure."""
    layer, _ = case.exported()
    for name, fill in FILLS.items():
        filled = jax.tree.map(fill, layer)
        assert jax.tree.structure(filled) == jax.tree.structure(layer), name
        again = jax.tree.map(lambda _, leaf: leaf, filled, layer)
        assert_same_bits(again, layer)
    # A tree in each leaf's place is reached at the leaves' places.
    doubled = jax.tree.map(lambda leaf: (leaf, {"twice": 2 * leaf}), layer)
    assert len(jax.tree.leaves(doubled)) == 2 * len(jax.tree.leaves(layer))
    first = jax.tree.map(lambda _, pair: pair[0], layer, doubled)
    assert_same_bits(first, layer)


def leaves_and_holes(tree):
    """The structure with a place wherever an array or None stands."""
    return jax.tree.structure(tree, is_leaf=lambda node: node is None)


@each_layer
def test_structure_survives_none(case):
    """A layer whose leaves became None gives its leaves' places back when they are filled again."""
    layer, state = case.exported()
    emptied = jax.tree.map(lambda leaf: None, layer)
    assert jax.tree.leaves(emptied) == []
    assert leaves_and_holes(emptied) == leaves_and_holes(layer)
    filled = jax.tree.map(
        lambda hole, leaf: leaf if hole is None else hole,
        emptied,
        layer,
        is_leaf=lambda node: node is None,
    )
    assert_same_bits(filled, layer)
    assert_close(call(filled, state, example())[0], case.expected(example()))


def test_every_second_leaf_can_be_cut_out_and_put_back():
    """A model split into two trees with None in the gaps can be merged without loss."""
    model, state = export_state(Network())
    keep = jax.tree.unflatten(
        jax.tree.structure(model), [index % 2 == 0 for index in range(len(jax.tree.leaves(model)))]
    )
    kept = jax.tree.map(lambda flag, leaf: leaf if flag else None, keep, model)
    rest = jax.tree.map(lambda flag, leaf: None if flag else leaf, keep, model)
    merged = jax.tree.map(
        lambda one, other: other if one is None else one, kept, rest, is_leaf=lambda n: n is None
    )
    assert_same_bits(merged, model)
    x = example(shape=(5, 4))
    assert_same_bits(merged(x, state), model(x, state))


def train_one_step(optimiser, model, state, x):
    """One optax step on the whole model; gives the new model, state and gradient."""

    @jax.jit
    def step(model, state, optimiser_state):
        def loss(model):
            y, updated = model(x, state)
            return jnp.mean((y - 1) ** 2), updated

        gradient, updated = jax.grad(loss, has_aux=True)(model)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, model)
        return optax.apply_updates(model, updates), updated, gradient

    return step(model, state, optimiser.init(model))


def test_weight_decay_spares_the_norms_through_an_optax_mask(standard_promotion):
    """`adamw(mask=...)` with the inverse of `is_norm_parameter` decays the linear maps alone."""
    model, state = export_state(Network())
    x = example(shape=(6, 4))
    mask = jax.tree.map(lambda is_norm: not is_norm, is_norm_parameter(model))
    assert jax.tree.structure(mask) == jax.tree.structure(model)
    rate, decay = 0.125, 0.5
    plain, _, _ = train_one_step(optax.adamw(rate, weight_decay=0.0), model, state, x)
    decayed, _, _ = train_one_step(
        optax.adamw(rate, weight_decay=decay, mask=mask), model, state, x
    )
    for before, without, decay_applies, with_decay in zip(
        *map(jax.tree.leaves, (model, plain, mask, decayed)), strict=True
    ):
        expected = np.asarray(without, np.float64) - decay_applies * rate * decay * np.asarray(
            before, np.float64
        )
        assert_close(with_decay, expected, 16)


def test_masked_updates_move_the_chosen_leaves_alone(standard_promotion):
    """`optax.masked`, which puts its own nodes in leaves' places, works on layers."""
    model, state = export_state(Network())
    x = example(shape=(6, 4))
    mask = is_norm_parameter(model)
    inverse = jax.tree.map(lambda flag: not flag, mask)
    optimiser = optax.chain(
        optax.masked(optax.sgd(0.5), mask), optax.masked(optax.set_to_zero(), inverse)
    )
    moved, _, gradient = train_one_step(optimiser, model, state, x)
    for before, flag, slope, after in zip(
        *map(jax.tree.leaves, (model, mask, gradient, moved)), strict=True
    ):
        expected = np.asarray(before, np.float64) - 0.5 * flag * np.asarray(slope, np.float64)
        assert_close(after, expected, 4)
    assert sum(jax.tree.leaves(mask)) == 5


def test_labels_in_the_layers_places_choose_the_optimiser(standard_promotion):
    """A tree of strings with the model's structure serves `optax.multi_transform`.

    Optax takes a callable for a function that makes the labels, and a network is one, so the labels
    are handed over by a function.
    """
    model, state = export_state(Network())
    x = example(shape=(6, 4))
    labels = jax.tree.map(lambda is_norm: "norm" if is_norm else "rest", is_norm_parameter(model))
    optimiser = optax.multi_transform(
        {"norm": optax.sgd(1.0), "rest": optax.sgd(0.25)}, lambda _: labels
    )
    moved, _, gradient = train_one_step(optimiser, model, state, x)
    for before, label, slope, after in zip(
        *map(jax.tree.leaves, (model, labels, gradient, moved)), strict=True
    ):
        rate = {"norm": 1.0, "rest": 0.25}[label]
        assert_close(
            after, np.asarray(before, np.float64) - rate * np.asarray(slope, np.float64), 4
        )
