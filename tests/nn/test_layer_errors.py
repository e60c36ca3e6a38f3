"""Every mistake of a caller: the error names the argument, what was found and the cure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import check_message, example

from inox.nn import (
    BatchNorm,
    BatchRenorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
)

LAYERS = [
    (BatchNorm, (4,)),
    (BatchRenorm, (4,)),
    (LayerNorm, ()),
    (GroupNorm, (2,)),
    (InstanceNorm, ()),
    (RMSNorm, ()),
]

CONSTRUCTIONS = {
    "momentum_above_one": (
        lambda: BatchNorm(4, momentum=1.5),
        ValueError,
        ("momentum", "1.5", "[0, 1]"),
    ),
    "momentum_below_zero": (lambda: BatchNorm(4, momentum=-0.1), ValueError, ("momentum", "-0.1")),
    "momentum_nan": (lambda: BatchNorm(4, momentum=float("nan")), ValueError, ("momentum", "nan")),
    "momentum_text": (lambda: BatchNorm(4, momentum="0.9"), TypeError, ("momentum", "'0.9'")),
    "epsilon_negative_batch": (lambda: BatchNorm(4, -1e-5), ValueError, ("epsilon", "-1e-05")),
    "epsilon_negative_layer": (lambda: LayerNorm(epsilon=-1.0), ValueError, ("epsilon", "-1.0")),
    "epsilon_negative_group": (lambda: GroupNorm(2, -1.0), ValueError, ("epsilon", "-1.0")),
    "epsilon_negative_root": (lambda: RMSNorm(epsilon=-1.0), ValueError, ("epsilon", "-1.0")),
    "epsilon_negative_instance": (
        lambda: InstanceNorm(epsilon=-1.0),
        ValueError,
        ("epsilon", "-1.0"),
    ),
    "epsilon_text": (lambda: LayerNorm(epsilon="small"), TypeError, ("epsilon", "'small'")),
    "channels_zero": (lambda: BatchNorm(0), ValueError, ("channels", "0")),
    "channels_negative": (lambda: BatchNorm(-3), ValueError, ("channels", "-3")),
    "channels_float": (lambda: BatchNorm(4.0), TypeError, ("channels", "4.0")),
    "channels_bool": (lambda: BatchNorm(True), ValueError, ("channels", "True")),
    "groups_zero": (lambda: GroupNorm(0), ValueError, ("groups", "0")),
    "groups_negative": (lambda: GroupNorm(-2), ValueError, ("groups", "-2")),
    "groups_float": (lambda: GroupNorm(2.0), TypeError, ("groups", "2.0")),
    "axis_repeated": (lambda: LayerNorm((-1, -1)), ValueError, ("axis", "(-1, -1)")),
    "axis_text": (lambda: LayerNorm("channels"), TypeError, ("axis", "'channels'")),
    "axis_empty": (lambda: LayerNorm(()), ValueError, ("axis", "()")),
    "scale_complex": (
        lambda: LayerNorm(scale=jnp.ones(4, complex)),
        TypeError,
        ("scale", "complex64"),
    ),
    "group_axis_without_the_last": (
        lambda: GroupNorm(2, axis=(-3, -2)),
        ValueError,
        ("axis", "(-3, -2)", "last", "(-3, -2, -1)"),
    ),
    "group_one_axis_that_is_not_the_last": (
        lambda: GroupNorm(2, axis=-2),
        ValueError,
        ("axis", "-2", "last"),
    ),
    "groups_do_not_divide_the_scale": (
        lambda: GroupNorm(3, scale=jnp.ones(8)),
        ValueError,
        ("groups", "3", "scale", "(8,)", "divisor"),
    ),
    "groups_do_not_divide_the_bias": (
        lambda: GroupNorm(3, bias=jnp.ones((2, 1, 8))),
        ValueError,
        ("groups", "3", "bias", "(2, 1, 8)"),
    ),
    "scale_of_other_channels": (
        lambda: BatchNorm(8, scale=jnp.ones(3)),
        ValueError,
        ("scale", "(3,)", "8 channels", "(8,)"),
    ),
    "bias_of_other_channels": (
        lambda: BatchRenorm(8, bias=jnp.ones((8, 3))),
        ValueError,
        ("bias", "(8, 3)", "8 channels"),
    ),
    "warmup_text": (lambda: BatchNorm(4, warmup="no"), TypeError, ("warmup", "'no'", "True or")),
    "warmup_number": (lambda: BatchNorm(4, warmup=1), TypeError, ("warmup", "1", "True or")),
    "skip_nonfinite_text": (
        lambda: BatchNorm(4, skip_nonfinite="no"),
        TypeError,
        ("skip_nonfinite", "'no'", "True or"),
    ),
    "skip_nonfinite_none_renorm": (
        lambda: BatchRenorm(4, skip_nonfinite=None),
        TypeError,
        ("skip_nonfinite", "None"),
    ),
    **{
        f"implementation_{cls.__name__}": (
            lambda cls=cls, first=first: cls(*first, implementation="gpu"),
            ValueError,
            ("implementation", "'gpu'", "'xla'"),
        )
        for cls, first in LAYERS
    },
    "implementation_of_another_type": (
        lambda: LayerNorm(implementation=True),
        ValueError,
        ("implementation", "True"),
    ),
    "scale_text": (lambda: LayerNorm(scale="ones"), TypeError, ("scale", "'ones'")),
}


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_construction_is_refused(name):
    """An impossible configuration is refused where it is written, not at the first call."""
    build, kind, fragments = CONSTRUCTIONS[name]
    with pytest.raises(kind) as error:
        build()
    check_message(error, *fragments)


X = example(shape=(3, 5, 4))

CALLS = {
    "layer_axis_out_of_range": (
        lambda: LayerNorm(-4)(X),
        ValueError,
        ("axis", "-4", "(3, 5, 4)"),
    ),
    "layer_axis_positive_out_of_range": (
        lambda: LayerNorm(3)(X),
        ValueError,
        ("axis", "3", "(3, 5, 4)"),
    ),
    "layer_axis_repeated_in_two_ways": (
        lambda: LayerNorm((-1, 2))(X),
        ValueError,
        ("axis", "(-1, 2)", "(3, 5, 4)"),
    ),
    "layer_axis_of_a_scalar": (lambda: LayerNorm()(jnp.float32(1)), ValueError, ("axis", "()")),
    "root_axis_out_of_range": (lambda: RMSNorm(5)(X), ValueError, ("axis", "5", "(3, 5, 4)")),
    "instance_too_few_axes": (
        lambda: InstanceNorm()(X[0, 0]),
        ValueError,
        ("x", "(4,)", "x[None]", "axis="),
    ),
    "instance_no_spatial_axis": (
        lambda: InstanceNorm()(X[0]),
        ValueError,
        ("x", "(5, 4)", "(N, *, C)", "axis="),
    ),
    "instance_axis_out_of_range": (
        lambda: InstanceNorm((-4, -3))(X),
        ValueError,
        ("axis", "-4", "(3, 5, 4)"),
    ),
    "groups_do_not_divide": (lambda: GroupNorm(3)(X), ValueError, ("groups", "3", "(3, 5, 4)")),
    "group_axis_without_the_last": (
        lambda: GroupNorm(2, axis=(0, 1))(X),
        ValueError,
        ("axis", "(0, 1)", "last"),
    ),
    "where_does_not_broadcast": (
        lambda: LayerNorm()(X, where=np.ones((3, 4, 1), bool)),
        ValueError,
        ("where", "(3, 4, 1)", "(3, 5, 4)"),
    ),
    "where_has_more_axes": (
        lambda: GroupNorm(2)(X, where=np.ones((1, 3, 5, 4), bool)),
        ValueError,
        ("where", "(1, 3, 5, 4)", "(3, 5, 4)"),
    ),
    "where_of_numbers": (
        lambda: RMSNorm()(X, where=np.ones((3, 5, 1), np.float32)),
        TypeError,
        ("where", "float32", "bool"),
    ),
    "scale_does_not_broadcast": (
        lambda: LayerNorm(scale=jnp.ones(3))(X),
        ValueError,
        ("scale", "(3,)", "(3, 5, 4)"),
    ),
    "bias_does_not_broadcast": (
        lambda: InstanceNorm(bias=jnp.ones(5))(X),
        ValueError,
        ("bias", "(5,)", "(3, 5, 4)"),
    ),
    "complex_layer": (lambda: LayerNorm()(X + 0j), TypeError, ("x", "complex64")),
    "complex_group": (lambda: GroupNorm(2)(X + 0j), TypeError, ("x", "complex64")),
    "complex_root": (lambda: RMSNorm()(X + 0j), TypeError, ("x", "complex64")),
    "complex_instance": (lambda: InstanceNorm()(X + 0j), TypeError, ("x", "complex64")),
}


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused(name, jit):
    """A mistake in a call is refused with the shapes, eagerly and while JAX traces."""
    run, kind, fragments = CALLS[name]
    with pytest.raises(kind) as error:
        jax.eval_shape(run) if jit else run()
    check_message(error, *fragments)


def test_array_momentum_and_epsilon_are_checked_where_they_are_known():
    """A concrete array is checked as a float is; a traced one can't be looked at."""
    with pytest.raises(ValueError, match="momentum"):
        BatchNorm(4, momentum=jnp.float32(1.5))
    with pytest.raises(ValueError, match="epsilon"):
        LayerNorm(epsilon=jnp.float32(-1.0))
    shape = jax.eval_shape(lambda m: BatchNorm(4, momentum=m), jnp.float32(1.5)).momentum.shape
    assert shape == ()
