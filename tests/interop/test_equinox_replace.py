"""`replace` for Equinox: every norm of the framework's own is exchanged, and nothing else."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import equinox as ours
from inox.interop.equinox import replace

AXES = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}


class Scaled(eqx.nn.LayerNorm):
    """A user's own norm, which computes something else, and holds one of Equinox's."""

    inner: eqx.nn.RMSNorm

    def __init__(self, size):
        super().__init__(size)
        self.inner = eqx.nn.RMSNorm(size)

    def __call__(self, x):
        return 2 * self.inner(super().__call__(x))


class Model(eqx.Module):
    """Norms at every kind of place, beside what is none."""

    stem: eqx.nn.Sequential
    blocks: list
    table: dict
    own: Scaled
    nothing: None
    activation: object
    name: str = eqx.field(static=True)
    hidden: eqx.nn.LayerNorm = eqx.field(static=True)

    def __init__(self, key):
        norm = eqx.nn.LayerNorm(4)
        self.stem = eqx.nn.Sequential(
            [
                eqx.nn.Linear(3, 4, key=key),
                eqx.nn.BatchNorm(4, "batch", mode="batch", momentum=0.5),
                eqx.nn.Lambda(jax.nn.relu),
                eqx.nn.Dropout(0.5),
            ]
        )
        self.blocks = [norm, [eqx.nn.GroupNorm(2, 4), None], (norm, 3)]
        self.table = {"rms": eqx.nn.RMSNorm(4, use_bias=False), "of a weight": None}
        self.own = Scaled(4)
        self.nothing = None
        self.activation = jnp.tanh
        self.name = "model"
        self.hidden = eqx.nn.LayerNorm(4, use_weight=False, use_bias=False)

    def __call__(self, x, state, *, key=None):
        x, state = self.stem(x, state, key=key)
        x = self.blocks[1][0](self.blocks[0](x)) + self.blocks[2][0](x)
        return self.activation(self.own(self.table["rms"](x))), state


def built(key=0):
    model, state = eqx.nn.make_with_state(Model)(jax.random.key(key))
    return eqx.tree_at(lambda model: model.blocks[0].weight, model, jnp.arange(1.0, 5)), state


def test_every_norm_is_replaced_and_named(capsys):
    """A line for each: path, class, what it is; and why the others were left."""
    model, _ = built()
    new = replace(model)
    assert capsys.readouterr().out.splitlines() == [
        ".hidden: LayerNorm left, as it is in a static field",
        ".stem.layers[1]: equinox BatchNorm replaced (4 channels, mode batch)",
        ".blocks[0]: equinox LayerNorm replaced (shape (4,))",
        ".blocks[1][0]: equinox GroupNorm replaced (2 groups)",
        ".blocks[2][0]: equinox LayerNorm replaced (shape (4,))",
        ".table['rms']: equinox RMSNorm replaced (shape (4,))",
        ".own: Scaled left, a subclass of equinox LayerNorm that may compute something else",
        ".own.inner: equinox RMSNorm replaced (shape (4,))",
    ]
    assert type(new) is Model
    assert type(new.stem) is eqx.nn.Sequential
    assert type(new.stem[1]) is ours.BatchNorm
    assert type(new.blocks[1][0]) is ours.GroupNorm
    assert type(new.table["rms"]) is ours.RMSNorm
    assert type(new.own) is Scaled
    assert type(new.own.inner) is ours.RMSNorm
    assert type(new.hidden) is eqx.nn.LayerNorm
    assert type(model.blocks[0]) is eqx.nn.LayerNorm
    assert new.activation is model.activation


def test_leaves_and_their_order_are_kept(standard_promotion):
    """The copy has the same leaves at the same paths, the same objects, and static settings."""
    model, state = built()
    new = replace(eqx.nn.inference_mode(model))
    before = jax.tree_util.tree_leaves_with_path(eqx.nn.inference_mode(model))
    after = jax.tree_util.tree_leaves_with_path(new)
    assert [path for path, _ in before] == [path for path, _ in after]
    for (_, one), (_, other) in zip(before, after, strict=True):
        assert one is other
    assert new.stem[1].momentum == 0.5
    assert new.stem[1].inference is True
    assert new.stem[1].batch_counter.marker == model.stem[1].batch_counter.marker
    assert new.table["rms"].use_bias is False
    assert new(jnp.ones(3), state, key=jax.random.key(1))[0].shape == (4,)


def test_the_model_goes_on_where_it_was(rng, standard_promotion):
    """A state that the framework's classes have moved goes on with ours, in both modes."""
    model, state = built()
    keys = jax.random.split(jax.random.key(1), 8)

    @eqx.filter_jit
    def run(model, x, state):
        return jax.vmap(
            lambda x, state, key: model(x, state, key=key),
            axis_name="batch",
            in_axes=(0, None, 0),
            out_axes=(0, None),
        )(x, state, keys)

    for x in rng.standard_normal((40, 8, 3)).astype(np.float32):
        _, state = run(model, x, state)
    new = replace(model)
    for step in (lambda tree: tree, eqx.nn.inference_mode):
        one, moved = run(step(model), x, jax.tree.map(lambda leaf: leaf, state))
        other, also_moved = run(step(new), x, jax.tree.map(lambda leaf: leaf, state))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(also_moved), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_layer_at_two_places_stays_one():
    """One object at several places is one object afterwards."""
    model, _ = built()
    norm = eqx.nn.LayerNorm(2)
    new = replace([norm, {"again": norm}, eqx.nn.LayerNorm(2)])
    assert new[0] is new[1]["again"]
    assert new[0] is not new[2]
    new = replace(model)
    assert type(new.blocks[0]) is type(new.blocks[2][0]) is ours.LayerNorm


def test_shared_nodes_stay_shared(standard_promotion):
    """Inside of `eqx.nn.Shared` a norm whose weight is another's is replaced as well."""
    pair = eqx.nn.LayerNorm(3), eqx.nn.RMSNorm(3)
    shared = eqx.nn.Shared(pair, lambda pair: pair[1].weight, lambda pair: pair[0].weight)
    new = replace(shared)
    first, second = new()
    assert type(first) is ours.LayerNorm
    assert type(second) is ours.RMSNorm
    assert second.weight is first.weight
    assert len(jax.tree.leaves(eqx.filter(new, eqx.is_array))) == 3


def test_a_norm_alone_and_none_at_all(capsys):
    """The model may itself be a norm, or hold none: that is said, too."""
    assert type(replace(eqx.nn.LayerNorm(2))) is ours.LayerNorm
    assert capsys.readouterr().out == "model: equinox LayerNorm replaced (shape (2,))\n"
    linear = eqx.nn.Linear(2, 2, key=jax.random.key(0))
    assert eqx.tree_equal(replace(linear), linear)
    assert "no norm of Equinox's own" in capsys.readouterr().out
    layer = ours.LayerNorm(2)
    assert eqx.tree_equal(replace(layer), layer)


def test_norms_of_weights_are_left_and_what_they_wrap_too(capsys):
    """`WeightNorm` and `SpectralNorm` normalize a weight; they are Equinox's own afterwards."""
    key = jax.random.key(0)
    model = [eqx.nn.WeightNorm(eqx.nn.Linear(2, 3, key=key))]
    assert eqx.tree_equal(replace(model), model)
    assert "[0]: WeightNorm left, as it normalizes a weight" in capsys.readouterr().out


def test_stacked_layers_are_replaced(rng, standard_promotion):
    """Layers made under `filter_vmap` keep their leading axis, and shapes serve as leaves, too."""
    stacked = eqx.filter_vmap(lambda _: eqx.nn.LayerNorm(3))(jnp.arange(4))
    new = replace(stacked)
    assert new.weight.shape == (4, 3)
    x = rng.standard_normal((4, 3)).astype(np.float32)
    run = eqx.filter_vmap(lambda layer, x: layer(x))
    np.testing.assert_allclose(run(new, x), run(stacked, x), rtol=1e-5, atol=1e-6)
    shapes = replace(eqx.filter_eval_shape(lambda: eqx.nn.LayerNorm(3)))
    assert shapes.weight == jax.ShapeDtypeStruct((3,), jnp.float32)


def test_inside_of_make_with_state_the_keys_are_the_same():
    """Replaced before the state is taken out, the state has the same keys and arrays."""
    model, state = eqx.nn.make_with_state(lambda key: replace(Model(key)))(jax.random.key(0))
    _, expected = built()
    assert eqx.tree_equal(state, expected)
    assert type(model.stem[1]) is ours.BatchNorm


def test_a_norm_of_another_release_is_refused():
    """Where a layer lacks a field of those that ours have, nothing is made of it."""
    layer = eqx.nn.LayerNorm(2)
    old = object.__new__(eqx.nn.LayerNorm)
    for name in ("shape", "eps", "weight", "bias"):
        object.__setattr__(old, name, getattr(layer, name))
    with pytest.raises(TypeError, match=r"^model is a LayerNorm .*without the field 'use_weight'"):
        replace(old)
