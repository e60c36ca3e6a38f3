"""A caller's mistake: which argument, what was found, and the cure, before anything is computed.

Every call is made three times: with arrays, while `jit` traces, and under `eval_shape`, where there
is nothing to compute with. The message is the same.
"""

import functools
import re

import jax
import numpy as np
import pytest

from inox import functional

X = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
ONES = np.ones(6, np.float32)

# Every operation with arguments of its own that are right.
OPERATIONS = {
    "layer_norm": functional.layer_norm,
    "rms_norm": functional.rms_norm,
    "group_norm": functools.partial(functional.group_norm, groups=3),
    "batch_norm": functional.batch_norm,
    "standardize": functional.standardize,
    "moments": functools.partial(functional.moments, axis=-1),
}
WITH_AXIS = ["layer_norm", "rms_norm", "group_norm", "standardize", "moments"]
WITH_SCALE = ["layer_norm", "rms_norm", "group_norm", "batch_norm"]
WITH_BIAS = ["layer_norm", "group_norm", "batch_norm"]
WITH_EPSILON = ["layer_norm", "rms_norm", "group_norm", "batch_norm", "standardize"]


def each(names):
    return pytest.mark.parametrize("function", [OPERATIONS[n] for n in names], ids=names)


def check_error(function, kind, *fragments, x=X):
    """`function(x)` raises `kind`, eager and traced, and the message has every fragment."""
    for program in (function, jax.jit(function), functools.partial(jax.eval_shape, function)):
        with pytest.raises(kind) as caught:
            program(x)
        message = str(caught.value)
        for fragment in fragments:
            assert re.search(fragment, message), f"no {fragment!r} in {message!r}"
        # A sentence, not a stack of them: one that a person reads to the end.
        assert len(message) < 400


@each(WITH_AXIS)
@pytest.mark.parametrize("axis", [3, -4, (-1, 5)], ids=str)
def test_axis_out_of_range(function, axis):
    """The axis, the shape of x, and the range of valid ones."""
    bad = axis if isinstance(axis, int) else axis[1]
    call = functools.partial(function, axis=axis)
    check_error(call, ValueError, r"\baxis\b", rf"{bad}\b", r"\(2, 3, 6\)", "-3", "2")


@each(WITH_AXIS)
@pytest.mark.parametrize("axis", [(-1, -1), (-1, 2), [2, 0, -1]], ids=str)
def test_repeated_axis(function, axis):
    """Also where a positive and a negative number mean the same axis."""
    call = functools.partial(function, axis=axis)
    check_error(call, ValueError, r"\baxis\b", "repeat|twice", re.escape(str(axis)), "once")


@each(WITH_AXIS)
def test_axis_that_is_no_integer(function):
    """A float or a string is a TypeError."""
    for axis in (1.0, "channels", (0, 1.5)):
        check_error(functools.partial(function, axis=axis), TypeError, r"\baxis\b", "integer")


@each(WITH_AXIS)
def test_no_axis_at_all(function):
    """An empty list of axes has no statistics."""
    check_error(functools.partial(function, axis=()), ValueError, r"\baxis\b", "at least one|last")


@pytest.mark.parametrize("groups", [4, 5, 12])
def test_groups_that_do_not_divide_the_channels(groups):
    """The number of groups, of channels, the shape, and a hint to use a divisor."""
    call = functools.partial(functional.group_norm, groups=groups)
    check_error(call, ValueError, "groups", str(groups), r"\b6\b", r"\(2, 3, 6\)", "divisor|divide")


@pytest.mark.parametrize("groups", [0, -2])
def test_groups_below_one(groups):
    """At least one group."""
    call = functools.partial(functional.group_norm, groups=groups)
    check_error(call, ValueError, "groups", str(groups), "positive|above 0|at least 1")


def test_groups_that_is_no_integer():
    """2.0 is a mistake that would otherwise surface as a shape error."""
    call = functools.partial(functional.group_norm, groups=2.0)
    check_error(call, TypeError, "groups", r"2\.0", "integer")


def test_group_axes_without_the_last():
    """The channels are what is split: they are among the pooled axes."""
    call = functools.partial(functional.group_norm, groups=3, axis=(0, 1))
    check_error(call, ValueError, r"\baxis\b", r"\(0, 1\)", "last", "-1")


@each(OPERATIONS)
@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 6), (1, 2, 3, 6), (5,)], ids=str)
def test_where_that_does_not_broadcast(function, shape):
    """Both shapes; (N, L) for (N, L, C) is the mistake most made, so the cure names it."""
    call = functools.partial(function, where=np.ones(shape, bool))
    cure = "where[..., None]"
    check_error(
        call, ValueError, r"\bwhere\b", re.escape(str(shape)), r"\(2, 3, 6\)", re.escape(cure)
    )


@each(OPERATIONS)
@pytest.mark.parametrize("shape", [(2, 6), (6, 6), (6,), ()], ids=str)
def test_where_of_another_rank(function, shape):
    """Refused also where it would broadcast: a mask of tokens, where channels and tokens are 6.

    From the right, it would be a mask of channels: other elements take part, and no error.
    """
    call = functools.partial(function, where=np.ones(shape, bool))
    fragments = (r"\bwhere\b", re.escape(str(shape)), r"\(2, 6, 6\)", r"where\[\.\.\., None\]")
    check_error(call, ValueError, *fragments, x=np.zeros((2, 6, 6), np.float32))


@each(OPERATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.int32], ids=lambda dtype: dtype.__name__)
def test_where_that_is_not_boolean(function, dtype):
    """A mask of 0 and 1 is refused, with the conversion to make."""
    call = functools.partial(function, where=np.ones((2, 3, 1), dtype))
    check_error(call, TypeError, r"\bwhere\b", "boolean", dtype.__name__, "astype|!= 0|> 0")


@pytest.mark.parametrize("shape", [(5,), (2, 6), (2, 3, 2), (1, 2, 3, 6)], ids=str)
def test_scale_or_bias_that_does_not_broadcast(shape):
    """Both shapes, the argument's name, and how parameters line up."""
    value = np.ones(shape, np.float32)
    for names, argument in ((WITH_SCALE, "scale"), (WITH_BIAS, "bias")):
        for name in names:
            call = functools.partial(OPERATIONS[name], **{argument: value})
            fragments = (
                rf"\b{argument}\b",
                re.escape(str(shape)),
                r"\(2, 3, 6\)",
                "right|trailing",
            )
            check_error(call, ValueError, *fragments)


def test_statistics_that_do_not_fit():
    """A mean or a variance of another number of channels, and something that is no pair."""
    good, bad = np.ones(6, np.float32), np.ones(5, np.float32)
    for pair in ((bad, good), (good, bad)):
        call = functools.partial(functional.batch_norm, statistics=pair)
        check_error(call, ValueError, "statistics|mean|var", r"\(5,\)", r"\b6\b")


def test_batch_norm_without_a_batch_axis():
    """The input needs a batch axis besides the channels."""
    for x in (np.ones(6, np.float32), np.float32(1)):
        check_error(
            functional.batch_norm, ValueError, r"\bx\b", re.escape(str(x.shape)), "batch", x=x
        )


@each(WITH_EPSILON)
@pytest.mark.parametrize("epsilon", [-1e-5, float("nan"), np.float32(-1)], ids=str)
def test_negative_epsilon(function, epsilon):
    """The value found; an array is checked too where it is concrete."""
    call = functools.partial(function, epsilon=epsilon)
    check_error(call, ValueError, "epsilon", re.escape(str(epsilon)), "negative")


@each(WITH_EPSILON)
def test_epsilon_of_another_type(function):
    """Neither a string nor None."""
    for epsilon in ("small", None):
        check_error(functools.partial(function, epsilon=epsilon), TypeError, "epsilon", "float")


@each(OPERATIONS)
@pytest.mark.parametrize("dtype", [np.complex64], ids=lambda dtype: dtype.__name__)
def test_complex_input(function, dtype):
    """A TypeError that says which argument, which dtype, and what to do."""
    check_error(function, TypeError, r"\bx\b", "complex64", "real", x=X.astype(dtype))


def test_complex_parameters():
    """Scale and bias are real too."""
    for argument in ("scale", "bias"):
        call = functools.partial(functional.layer_norm, **{argument: ONES.astype(np.complex64)})
        check_error(call, TypeError, argument, "complex64", "real")


@each(OPERATIONS)
def test_unknown_implementation(function):
    """The name found and the ones there are."""
    call = functools.partial(function, implementation="cuda")
    check_error(call, ValueError, "implementation", "'cuda'", "'xla'", "'cpu'", "None")


@pytest.mark.parametrize("function", [functional.batch_norm, OPERATIONS["moments"]])
def test_axis_name_that_is_not_bound(function):
    """The name, that nothing is bound, and how to bind it."""
    call = functools.partial(function, axis_name="batch")
    check_error(call, ValueError, "axis_name", "'batch'", "not bound", "vmap|shard_map")


@pytest.mark.parametrize("function", [functional.batch_norm, OPERATIONS["moments"]])
def test_axis_name_that_is_not_among_the_bound_ones(function):
    """Where others are bound they are listed: the cure is often a spelling."""

    def call(x):
        return jax.vmap(functools.partial(function, axis_name="btach"), axis_name="batch")(x[None])

    check_error(call, ValueError, "axis_name", "'btach'", "'batch'")

    def pair(x):
        return jax.vmap(
            functools.partial(function, axis_name=("batch", "devices")), axis_name="batch"
        )(x[None])

    check_error(pair, ValueError, "axis_name", "'devices'", "'batch'")


def test_merging_nothing():
    """There are no moments of no parts."""
    with pytest.raises((ValueError, TypeError), match="moments"):
        functional.merge_moments()


def test_errors_come_before_any_computation():
    """No operation reaches the compiler or the device when an argument is wrong."""
    mistakes = [
        lambda x: functional.layer_norm(x, axis=7),
        lambda x: functional.layer_norm(x, ONES[:5]),
        lambda x: functional.layer_norm(x, ONES, ONES[:5]),
        lambda x: functional.group_norm(x, 4),
        lambda x: functional.batch_norm(x, where=np.ones((2, 3), bool)),
        lambda x: functional.batch_norm(x, axis_name="batch"),
        lambda x: functional.rms_norm(x, epsilon=-1.0),
    ]
    for mistake in mistakes:

        def recorded(x, mistake=mistake):
            # What was traced before the error is what would have been computed.
            with pytest.raises(ValueError, match=r"must|does not|is not|out of range"):
                mistake(x)
            return x

        jaxpr = jax.make_jaxpr(recorded)(X)
        conversions = {"convert_element_type", "reshape", "broadcast_in_dim", "copy"}
        assert {str(equation.primitive) for equation in jaxpr.eqns} <= conversions
