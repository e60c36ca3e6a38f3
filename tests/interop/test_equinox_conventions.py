"""The Equinox classes are built, stored, filtered and called as the framework's own."""

import dataclasses
import inspect
import io
import pickle
import subprocess
import sys
import warnings
from importlib.util import find_spec

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop import equinox as ours
from tests.test_docstrings import missing_from, public_methods

NORMS = ["BatchNorm", "GroupNorm", "LayerNorm", "RMSNorm"]
# Every argument at least once at a value that is no default.
BUILDS = [
    ("BatchNorm", (3, "batch"), {"mode": "batch"}),
    ("BatchNorm", (3, "batch"), {"mode": "ema"}),
    ("BatchNorm", (3, ("i", "j"), 1e-3, False, 0.5, True, jnp.float16, "batch"), {}),
    ("BatchNorm", (3, ["i", "j"], 1e-3, False, 0.5, True, jnp.bfloat16, "ema"), {}),
    ("GroupNorm", (2, 4), {}),
    ("GroupNorm", (2, None, 1e-3, False), {}),
    ("GroupNorm", (2, 4, 1e-3, True, jnp.float16), {}),
    ("LayerNorm", (4,), {}),
    ("LayerNorm", ((2, 3), 1e-3, True, False, jnp.bfloat16), {}),
    ("LayerNorm", ([2, 3],), {"use_weight": False}),
    ("LayerNorm", ((),), {}),
    ("RMSNorm", (4,), {}),
    ("RMSNorm", ((2, 3), 1e-3, False, True, jnp.float16), {}),
    ("RMSNorm", (4,), {"use_bias": False}),
]


def both(name, args, settings):
    """A layer of ours and of the framework's own, from the same arguments."""
    return tuple(getattr(source, name)(*args, **settings) for source in (ours, eqx.nn))


def described_leaves(tree):
    """Path, type, shape, dtype and weak type of every leaf."""
    return [
        (
            jax.tree_util.keystr(path),
            type(leaf),
            *((leaf.shape, leaf.dtype, leaf.weak_type) if isinstance(leaf, jax.Array) else (leaf,)),
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def parameters(function):
    """Name, kind and default of each parameter; a default that is an object counts as one."""
    plain = (int, float, str, bool, type(None))
    return [
        (item.name, item.kind, item.default if isinstance(item.default, plain) else object)
        for item in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("name", NORMS)
def test_signatures_are_the_frameworks(name):
    """Arguments have the names, order, kinds and defaults of the framework's own class."""
    mine, theirs = getattr(ours, name), getattr(eqx.nn, name)
    assert parameters(mine.__init__) == parameters(theirs.__init__)
    assert parameters(mine.__call__) == parameters(theirs.__call__)


@pytest.mark.parametrize("name", NORMS)
def test_fields_are_the_frameworks(name):
    """The fields have the names and order of the framework's own, and the same ones are static."""

    def fields(kind):
        return [
            (field.name, field.metadata.get("static", False)) for field in dataclasses.fields(kind)
        ]

    mine, theirs = getattr(ours, name), getattr(eqx.nn, name)
    assert issubclass(mine, eqx.Module)
    assert not issubclass(mine, theirs)
    assert issubclass(mine, eqx.nn.StatefulLayer) == issubclass(theirs, eqx.nn.StatefulLayer)
    assert fields(mine) == fields(theirs)


@pytest.mark.parametrize(("name", "args", "settings"), BUILDS)
def test_leaves_are_the_frameworks(name, args, settings):
    """The same arguments give leaves of the same paths, shapes, dtypes and values, and statics."""
    mine, theirs = both(name, args, settings)
    assert described_leaves(mine) == described_leaves(theirs)
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(one, other)
    for field in dataclasses.fields(mine):
        if field.metadata.get("static", False):
            assert getattr(mine, field.name) == getattr(theirs, field.name)


@pytest.mark.parametrize("mode", ["batch", "ema"])
def test_state_is_the_frameworks(mode):
    """`eqx.nn.make_with_state` gives a state of the same keys and arrays."""

    def state_of(source):
        return eqx.nn.make_with_state(source.BatchNorm)(3, "batch", mode=mode)[1]

    mine, theirs = state_of(ours), state_of(eqx.nn)
    assert jax.tree.structure(mine) == jax.tree.structure(theirs)
    assert described_leaves(mine) == described_leaves(theirs)


def test_default_dtype_follows_the_precision(x64):
    """With 64 bits enabled, parameters and statistics are float64 as the framework's."""
    for name, args in (
        ("BatchNorm", (3, "batch")),
        ("LayerNorm", (3,)),
        ("RMSNorm", (3,)),
        ("GroupNorm", (1, 3)),
    ):
        settings = {"mode": "batch"} if name == "BatchNorm" else {}
        mine, theirs = both(name, args, settings)
        assert mine.weight.dtype == theirs.weight.dtype == jnp.float64
        assert described_leaves(mine) == described_leaves(theirs)


def test_legacy_mode_warns_and_means_ema():
    """Without a mode there is the framework's warning, and the mode is "ema"."""
    with pytest.warns(UserWarning, match="mode"):
        layer = ours.BatchNorm(3, "batch")
    with pytest.warns(UserWarning, match="mode"):
        theirs = eqx.nn.BatchNorm(3, "batch")
    assert layer.mode == theirs.mode == "ema"


def test_deprecated_switch_of_layer_norm_warns():
    """`elementwise_affine` sets both switches and warns, as the framework's."""
    with pytest.warns(UserWarning, match="elementwise_affine"):
        layer = ours.LayerNorm(3, elementwise_affine=False)
    assert layer.weight is None
    assert layer.bias is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.LayerNorm(3)


@pytest.mark.parametrize(("name", "args", "settings"), BUILDS)
def test_checkpoints_are_read_both_ways(name, args, settings):
    """What one class wrote by `eqx.tree_serialise_leaves` the other reads, states as well."""

    def built(source):
        return eqx.nn.make_with_state(getattr(source, name))(*args, **settings)

    def filled(tree):
        return jax.tree.map(
            lambda leaf: leaf + 7 if eqx.is_inexact_array(leaf) else leaf, built(tree)
        )

    for writer, reader in ((ours, eqx.nn), (eqx.nn, ours)):
        file = io.BytesIO()
        written = filled(writer)
        eqx.tree_serialise_leaves(file, written)
        file.seek(0)
        read = eqx.tree_deserialise_leaves(file, built(reader))
        assert file.read() == b""
        for one, other in zip(jax.tree.leaves(written), jax.tree.leaves(read), strict=True):
            np.testing.assert_array_equal(one, other)
        assert type(read[0]) is getattr(reader, name)


def test_filters_and_surgery_work():
    """`eqx.partition`, `eqx.tree_at` and `eqx.nn.inference_mode` see fields as the framework's."""
    layer = ours.BatchNorm(3, "batch", mode="batch")
    arrays, static = eqx.partition(layer, eqx.is_inexact_array)
    assert len(jax.tree.leaves(arrays)) == 4  # weight, bias and the initial statistics
    assert eqx.tree_equal(eqx.combine(arrays, static), layer)
    moved = eqx.tree_at(lambda layer: layer.weight, layer, jnp.full(3, 2.0))
    np.testing.assert_array_equal(moved.weight, np.full(3, 2.0))
    assert eqx.nn.inference_mode(layer).inference is True
    assert eqx.nn.inference_mode([eqx.nn.inference_mode(layer)], value=False)[0].inference is False


def test_a_layer_is_pickled_and_shown():
    """A layer survives `pickle`, and its representation names the class and its fields."""
    layer = ours.GroupNorm(2, 4)
    assert eqx.tree_equal(pickle.loads(pickle.dumps(layer)), layer)
    assert repr(layer) == repr(eqx.nn.GroupNorm(2, 4))


def test_other_names_are_those_of_equinox():
    """What we don't have is Equinox's: the module stands for `equinox.nn`."""
    assert ours.Linear is eqx.nn.Linear
    assert ours.inference_mode is eqx.nn.inference_mode
    assert ours.BatchNorm is not eqx.nn.BatchNorm
    assert {name for name in dir(eqx.nn) if not name.startswith("_")} <= set(dir(ours))
    with pytest.raises(AttributeError, match="nor has equinox"):
        _ = ours.Nothing


@pytest.mark.parametrize("name", ours.__all__)
def test_public_names_are_documented(name):
    """Arguments, result and an example that runs, as of every public name."""
    value = getattr(ours, name)
    assert missing_from(value, name, example=True) == []
    if isinstance(value, type):
        for method, member in public_methods(value):
            assert missing_from(member, method, example=False) == []


def test_every_norm_of_equinox_is_there():
    """A norm of activations that Equinox adds is noticed here: those of weights are its own."""
    found = {name for name in dir(eqx.nn) if name.endswith("Norm")}
    assert found == {*NORMS, "SpectralNorm", "WeightNorm"}
    assert set(ours.__all__) == {*NORMS, "replace"}


def test_without_equinox_the_error_tells_what_to_install():
    """In a process that can't find Equinox, importing the adapter names the extra."""
    program = (
        "import sys\n"
        "sys.modules['equinox'] = None\n"
        "import inox.interop\n"
        "try:\n"
        "    import inox.interop.equinox\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "inox-normalization[equinox]" in done.stdout
    assert find_spec("equinox") is not None
