"""`repr` shows a module's configuration in full and its arrays by dtype and shape."""

import jax
import jax.numpy as jnp
import pytest
from layer_cases import each_layer

from inox.nn import BatchNorm, GroupNorm, LayerNorm, Module, Parameter, RMSNorm, export_state


def test_configuration_is_shown_in_full():
    """Class, arguments and their values can be read from the text."""
    text = repr(BatchNorm(4, 1e-3, 0.75, axis_name="devices", warmup=True))
    assert text.startswith("BatchNorm(")
    for part in (
        "channels=4",
        "epsilon=0.001",
        "momentum=0.75",
        "axis_name='devices'",
        "warmup=True",
    ):
        assert part in text
    text = repr(GroupNorm(2, axis=(-3, -2, -1)))
    for part in ("GroupNorm(", "groups=2", "(-3, -2, -1)", "epsilon=1e-05"):
        assert part in text
    assert "epsilon=1e-06" in repr(RMSNorm())
    assert "axis=(-2, -1)" in repr(LayerNorm((-2, -1)))


def test_arrays_are_shown_by_dtype_and_shape():
    """An array appears as its dtype and shape; its numbers do not."""
    text = repr(LayerNorm(scale=jnp.full((3, 4), 0.12345), bias=jnp.zeros(4, jnp.bfloat16)))
    assert "float32[3, 4]" in text
    assert "bfloat16[4]" in text
    assert "0.12345" not in text
    assert "float32[]" in repr(LayerNorm(epsilon=jnp.float32(0.5)))
    assert "float32[2]" in repr(Parameter(jnp.ones(2)))


def test_mode_is_shown():
    """Training and evaluation can be told apart by looking."""
    layer = BatchNorm(4)
    training = repr(layer)
    layer.train(False)
    assert repr(layer) != training


def test_containers_are_shown_with_their_contents():
    """Lists, dicts and nested modules appear with their names and what they hold."""
    text = repr(
        Module(
            layers=[LayerNorm(scale=jnp.ones(4)), RMSNorm()],
            table={"key": BatchNorm(3)},
            name="label",
        )
    )
    for part in (
        "layers=",
        "LayerNorm(",
        "RMSNorm(",
        "'key'",
        "channels=3",
        "name='label'",
        "float32[4]",
    ):
        assert part in text
    assert text.count("\n") > 3, "one line a layer keeps a model readable"


FILLS = {
    "booleans": lambda leaf: True,
    "none": lambda leaf: None,
    "strings": lambda leaf: "filled",
    "shapes": lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
    "objects": lambda leaf: object(),
}


@pytest.mark.parametrize("fill", FILLS)
@each_layer
def test_trees_with_other_leaves_have_a_repr(case, fill):
    """A layer filled with booleans, None or placeholders can be printed."""
    layer, _ = case.exported()
    name = type(layer).__name__
    filled = jax.tree.map(FILLS[fill], layer)
    assert repr(filled).startswith(f"{name}(")
    assert str(filled)
    if case.parameters and fill in ("booleans", "strings"):
        assert {"booleans": "True", "strings": "'filled'"}[fill] in repr(filled)


@each_layer
def test_traced_layers_have_a_repr(case):
    """Inside `jax.jit` and `jax.vmap` the text has the traced arrays' dtype and shape."""
    layer, _ = case.exported()
    texts = []

    @jax.jit
    def look(layer):
        texts.append(repr(layer))
        return layer

    look(layer)
    assert texts[0].startswith(f"{type(layer).__name__}(")
    if case.parameters:
        assert "float32[4]" in texts[0]


def test_layers_have_a_repr_before_and_after_export():
    """A batch norm prints with its statistics, and with the key that replaces them."""
    model = Module(norm=BatchNorm(3))
    assert "channels=3" in repr(model)
    model, state = export_state(model)
    assert "channels=3" in repr(model)
    assert ".norm.stats" in repr(model)
    assert ".norm.stats" in repr(state)
