"""Names, order, kinds and defaults of the public interface, as the interface page has them."""

import importlib
import inspect

import pytest

import inox
import inox.nn

CONSTRUCTORS = {
    "BatchNorm": "(channels, epsilon=1e-05, momentum=0.9, *, scale=None, bias=None, axis_name=None,"
    " axis_index_groups=None, warmup=False, skip_nonfinite=False, virtual_batch=None,"
    " channel_axis=-1, implementation=None)",
    "BatchRenorm": "(channels, epsilon=0.001, momentum=0.99, *, scale=None, bias=None,"
    " axis_name=None, r_max=3.0, d_max=5.0, steps=1000, skip_nonfinite=False,"
    " implementation=None)",
    "LayerNorm": "(axis=-1, epsilon=1e-05, *, scale=None, bias=None, axis_name=None,"
    " implementation=None)",
    "GroupNorm": "(groups, epsilon=1e-05, *, axis=-1, center=True, scale=None, bias=None,"
    " axis_name=None, implementation=None)",
    "RMSNorm": "(axis=-1, epsilon=1e-06, *, scale=None, scale_offset=0.0, normalized_dtype=None,"
    " axis_name=None, implementation=None)",
    "InstanceNorm": "(axis=None, epsilon=1e-05, *, scale=None, bias=None, axis_name=None,"
    " implementation=None)",
    "AddLayerNorm": "(axis=-1, epsilon=1e-05, *, scale=None, bias=None, scale_offset=0.0,"
    " out_dtype=None, residual_dtype=None, normalize_rounded=False, implementation=None)",
    "AddRMSNorm": "(axis=-1, epsilon=1e-06, *, scale=None, scale_offset=0.0, out_dtype=None,"
    " residual_dtype=None, normalize_rounded=False, implementation=None)",
    "Module": "(**kwargs)",
    "Parameter": "(value)",
}

CALLS = {
    "BatchNorm": "(self, x, state, *, where=None, weights=None, training=None)",
    "BatchRenorm": "(self, x, state, *, where=None, weights=None, training=None)",
    "LayerNorm": "(self, x, *, where=None)",
    "GroupNorm": "(self, x, *, where=None)",
    "RMSNorm": "(self, x, *, where=None)",
    "InstanceNorm": "(self, x, *, where=None)",
    "AddLayerNorm": "(self, x, residual, *, gate=None, where=None)",
    "AddRMSNorm": "(self, x, residual, *, gate=None, where=None)",
    "Parameter": "(self)",
}

FUNCTIONS = {
    "export_state": "(tree, *, prefix='')",
    "update_state": "(state, mutation)",
    "join_states": "(*states)",
    "train": "(tree, mode=True)",
    "freeze": "(tree)",
    "is_norm_parameter": "(tree)",
    "is_parameter": "(tree)",
}

METHODS = {"train": "(self, mode=True)", "partition": "(self, *filters)"}


def plain(function) -> str:
    """The signature without annotations and positional-only marks."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            kind=inspect.Parameter.POSITIONAL_OR_KEYWORD
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
            else parameter.kind,
        )
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(parameters))


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_constructors_take_the_documented_arguments(name):
    """Names, order, keyword-only marks and defaults of each class are the documented ones."""
    assert plain(getattr(inox.nn, name)) == CONSTRUCTORS[name]


@pytest.mark.parametrize("name", CALLS)
def test_calls_take_the_documented_arguments(name):
    """A layer is called as (x) or (x, state), with `where` by keyword alone."""
    assert plain(getattr(inox.nn, name).__call__) == CALLS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_documented_arguments(name):
    """The functions beside the layers have the documented arguments."""
    assert plain(getattr(inox.nn, name)) == FUNCTIONS[name]


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_the_documented_arguments(name):
    """`Module.train` and `Module.partition` have the documented arguments, on every layer."""
    for owner in ("Module", "BatchNorm", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm"):
        assert plain(getattr(getattr(inox.nn, owner), name)) == METHODS[name]


def test_layers_are_the_same_classes_in_both_places():
    """`inox.nn.normalization` is the home of the layers; `inox.nn` has the same classes."""
    home = importlib.import_module("inox.nn.normalization")
    for name in ("BatchNorm", "LayerNorm", "GroupNorm", "RMSNorm", "InstanceNorm"):
        assert getattr(home, name) is getattr(inox.nn, name)
        assert issubclass(getattr(home, name), inox.nn.Module)


def test_the_arguments_are_kept_as_readable_attributes():
    """What a layer was built with can be read back from it."""
    layer = inox.nn.BatchNorm(4, 1e-3, 0.5)
    assert (layer.channels, layer.epsilon, layer.momentum) == (4, 1e-3, 0.5)
    assert inox.nn.GroupNorm(2, 1e-3).groups == 2
    assert inox.nn.RMSNorm().epsilon == 1e-6
    assert inox.nn.LayerNorm(-1).axis in (-1, (-1,))
    assert inox.nn.BatchNorm(4).training is True
