"""A caller's mistakes with batch norm and its state: what the errors say, and the state is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import assert_same_bits, check_message, example

from inox.nn import BatchNorm, Module, Parameter, export_state, update_state

X = example(shape=(3, 5, 4))


def replaced(layer, **arrays):
    """A copy of the layer with other parameters."""
    copied = jax.tree.map(lambda leaf: leaf, layer)
    for name, array in arrays.items():
        setattr(copied, name, Parameter(array))
    return copied


BATCH_CALLS = {
    "no_batch_axis": (
        lambda layer, state: layer(X[0, 0], state),
        ValueError,
        ("x", "(4,)", "batch", "(N, *, C)"),
    ),
    "scalar": (lambda layer, state: layer(jnp.float32(0), state), ValueError, ("x", "()", "batch")),
    "channel_count": (
        lambda layer, state: layer(X[..., :3], state),
        ValueError,
        ("channels", "4", "3", "(3, 5, 3)"),
    ),
    "channels_first": (
        lambda layer, state: layer(X.transpose(0, 2, 1), state),
        ValueError,
        ("channels", "(3, 4, 5)", "last"),
    ),
    "state_is_none": (
        lambda layer, state: layer(X, None),
        TypeError,
        ("state", "dict", "NoneType", "export_state"),
    ),
    "state_is_a_list": (
        lambda layer, state: layer(X, [state]),
        TypeError,
        ("state", "dict", "list"),
    ),
    "state_is_the_pair": (
        lambda layer, state: layer(X, (layer, state)),
        TypeError,
        ("state", "dict", "tuple", "export_state"),
    ),
    "state_lacks_the_key": (
        lambda layer, state: layer(X, {"another": state[layer.stats]}),
        ValueError,
        ("state", ".stats", "another", "export_state"),
    ),
    "state_is_empty": (
        lambda layer, state: layer(X, {}),
        ValueError,
        ("state", ".stats", "export_state"),
    ),
    "not_exported": (
        lambda layer, state: BatchNorm(4)(X, state),
        ValueError,
        ("state", "export_state"),
    ),
    "where_does_not_broadcast": (
        lambda layer, state: layer(X, state, where=np.ones((3, 5), bool)),
        ValueError,
        ("where", "(3, 5)", "(3, 5, 4)"),
    ),
    "where_of_numbers": (
        lambda layer, state: layer(X, state, where=np.ones((3, 5, 1), np.int32)),
        TypeError,
        ("where", "int32", "bool"),
    ),
    "scale_does_not_broadcast": (
        lambda layer, state: replaced(layer, scale=jnp.ones(3))(X, state),
        ValueError,
        ("scale", "(3,)", "(3, 5, 4)"),
    ),
    "bias_does_not_broadcast": (
        lambda layer, state: replaced(layer, bias=jnp.ones((5, 1, 1, 4)))(X, state),
        ValueError,
        ("bias", "(5, 1, 1, 4)", "(3, 5, 4)"),
    ),
    "complex": (lambda layer, state: layer(X + 0j, state), TypeError, ("x", "complex64")),
    "unknown_key": (
        lambda layer, state: update_state(state, {".other": jnp.ones(1)}),
        ValueError,
        (".other",),
    ),
}


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", BATCH_CALLS)
def test_batch_norm_call_is_refused_and_the_state_is_kept(name, mode):
    """A mistake is refused in both modes, and the state handed in keeps every bit."""
    layer, state = export_state(BatchNorm(4))
    _, state = layer(X, state)
    layer.train(mode)
    entries = dict(state)
    bits = jax.tree.map(np.array, state)
    run, kind, fragments = BATCH_CALLS[name]
    for attempt in (
        run,
        lambda layer, state: jax.eval_shape(lambda state: run(layer, state), state),
    ):
        with pytest.raises(kind) as error:
            attempt(layer, state)
        check_message(error, *fragments)
    assert state.keys() == entries.keys()
    assert all(state[key] is entries[key] for key in state)
    assert_same_bits(jax.tree.map(np.array, state), bits)


def test_unbound_axis_name_is_refused():
    """The error names the axis, the axes that are bound, and what binds one."""
    layer, state = export_state(BatchNorm(4, axis_name="devices"))
    before = dict(state)
    with pytest.raises(ValueError, match="devices") as error:
        layer(X, state)
    check_message(error, "axis_name", "'devices'", "shard_map", "vmap")
    with pytest.raises(ValueError, match="devices") as error:
        jax.vmap(lambda x: layer(x, state), axis_name="batch")(X[None])
    check_message(error, "axis_name", "'devices'", "'batch'")
    assert state == before


def test_unbound_axis_name_does_not_matter_in_evaluation():
    """Evaluation exchanges nothing, so a model trained on devices is evaluated on one."""
    layer, state = export_state(BatchNorm(4, axis_name="devices"))
    layer.train(False)
    y, _ = layer(X, state)
    np.testing.assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_unexported_layer_deep_in_a_model_says_what_to_do():
    """A model used before `export_state` gives that hint and no tracer error."""
    model = Module(norms=[BatchNorm(4)])
    with pytest.raises(ValueError, match="export_state") as error:
        jax.jit(lambda model, x: model.norms[0](x, {}))(model, X)
    check_message(error, "state", "stats")


def test_state_of_another_model_is_refused():
    """The error shows the key asked for and the keys that the state has."""
    model, _ = export_state(Module(norm=BatchNorm(4)))
    _, other = export_state(Module(layers=[BatchNorm(4)]))
    with pytest.raises(ValueError, match=r"\.norm\.stats") as error:
        model.norm(X, other)
    check_message(error, "state", ".layers[0].stats", "export_state")


def test_state_of_another_size_is_refused():
    """A state whose statistics have another number of channels is named with both shapes."""
    layer, _ = export_state(BatchNorm(4))
    _, other = export_state(BatchNorm(3))
    with pytest.raises(ValueError, match="state") as error:
        layer(X, other)
    check_message(error, "(3,)", "4")


def test_error_leaves_a_model_usable():
    """After a refused call the same layer and state go on with the right numbers."""
    layer, state = export_state(BatchNorm(4, momentum=0.0))
    with pytest.raises(ValueError, match="channels"):
        layer(X[..., :2], state)
    _, state = layer(X, state)
    np.testing.assert_allclose(
        state[layer.stats].mean, X.astype(np.float64).mean((0, 1)), rtol=1e-5
    )
