"""Files that Keras writes by `save_weights`: read by path, written back, and no others."""

import subprocess
import sys

import h5py
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from keras import layers

from inox.interop.keras import dump, load
from inox.nn import BatchNorm, LayerNorm, export_state
from tests.interop.keras_layers import C, arrays, batch_norm, bound

# Keras makes NumPy arrays of its variables in a way that NumPy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ONES = np.ones(C, np.float32)


def model():
    """A network with two batch norms; the second has a name of its own."""
    return keras.Sequential(
        [
            keras.Input((4, 4, C)),
            layers.BatchNormalization(),
            layers.Conv2D(C, 3),
            layers.BatchNormalization(center=False, name="last"),
            layers.LayerNormalization(dtype="bfloat16"),
        ]
    )


@pytest.fixture
def saved(tmp_path, standard_promotion):
    """A model, trained for a few steps, and the file of its weights."""
    keras.utils.set_random_seed(5)
    network = model()
    for variable in network.trainable_variables:
        variable.assign(np.random.default_rng(variable.shape[0]).normal(0.5, 1, variable.shape))
    for step in range(3):
        network(np.random.default_rng(step).normal(3, 2, (8, 4, 4, C)), training=True)
    path = tmp_path / "model.weights.h5"
    network.save_weights(path)
    return network, path


def test_paths_are_those_of_keras(saved):
    """The order of arrays is gamma, beta, moving mean, moving variance; missing ones leave no gap.

    Groups are numbered by class in the order of the model, whatever the layers are called.
    """
    network, path = saved
    first, last = network.layers[0], network.get_layer("last")
    with h5py.File(path) as file:
        for group, other in (("batch_normalization", first), ("batch_normalization_1", last)):
            found = file[f"layers/{group}/vars"]
            assert list(found) == [str(index) for index in range(len(other.weights))]
            assert found.attrs["name"] == other.name
            for index, variable in enumerate(other.weights):
                np.testing.assert_array_equal(found[str(index)][()], variable.numpy())
    assert [v.name for v in first.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [v.name for v in last.weights] == ["gamma", "moving_mean", "moving_variance"]


@pytest.mark.parametrize("ending", ["", "/", "/vars", "/vars/"])
def test_evaluates_as_keras_does(saved, ending):
    """A layer loaded by its path gives what the model's layer gives."""
    network, path = saved
    x = np.random.default_rng(9).normal(3, 2, (8, 4, 4, C)).astype(np.float32)
    layer, state = export_state(batch_norm(**arrays()))
    layer, state = load(layer, state, path, "layers/batch_normalization" + ending)
    theirs = np.asarray(network.layers[0](x, training=False))
    ours, _ = layer(x, state, training=False)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))
    layer, state = export_state(batch_norm(**arrays(bias=False)))
    layer, state = load(layer, state, str(path), "layers/batch_normalization_1" + ending)
    theirs = np.asarray(network.get_layer("last")(x, training=False))
    ours, _ = layer(x, state, training=False)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))


def test_bfloat16_in_a_file(saved):
    """Keras marks it beside the array, as HDF5 has no such numbers."""
    network, path = saved
    layer = LayerNorm(epsilon=1e-3, **arrays(dtype=jnp.bfloat16))
    layer, _ = load(layer, {}, path, "layers/layer_normalization")
    for ours, theirs in zip((layer.scale, layer.bias), network.layers[-1].weights, strict=True):
        assert ours.value.dtype == jnp.bfloat16
        np.testing.assert_array_equal(ours.value, theirs.numpy())


def test_keras_loads_what_is_dumped(saved, tmp_path):
    """Written into a copy of the file, or into a file of the whole, `load_weights` reads it."""
    network, path = saved
    layer, state = export_state(batch_norm(**arrays()))
    layer, state = load(layer, state, path, "layers/batch_normalization")
    x = np.random.default_rng(1).normal(1, 3, (8, 4, 4, C)).astype(np.float32)
    _, state = layer(x, state, training=True)
    dumped = dump(layer, state, "layers/batch_normalization")
    copy = tmp_path / "copy.weights.h5"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        for place, array in dumped.items():
            file[place][...] = array
    whole = tmp_path / "whole.weights.h5"
    with h5py.File(copy) as old, h5py.File(whole, "w") as new:

        def note(place, node):
            if isinstance(node, h5py.Dataset) and place not in dumped:
                old.copy(node, new, place)

        old.visititems(note)
        for place, array in dumped.items():
            new[place] = array
    for file in (copy, whole):
        again = model()
        again.load_weights(file)
        for variable, array in zip(again.layers[0].weights, dumped.values(), strict=True):
            np.testing.assert_array_equal(variable.numpy(), array)
        np.testing.assert_array_equal(
            again.layers[1].kernel.numpy(), network.layers[1].kernel.numpy()
        )
    assert not np.array_equal(dumped["layers/batch_normalization/vars/2"], arrays()["scale"])


def test_what_a_file_lacks(saved):
    """By its path: another layer's, one array too many or too few, a path that leads nowhere."""
    _, path = saved
    layer, state = export_state(batch_norm(**arrays()))
    with pytest.raises(ValueError, match=r"lacks 'layers/batch_normalization_1/vars/3'"):
        load(layer, state, path, "layers/batch_normalization_1")
    with pytest.raises(ValueError, match=r"has 'layers/batch_normalization/vars/3', for which"):
        load(*export_state(batch_norm(**arrays(bias=False))), path, "layers/batch_normalization")
    with pytest.raises(ValueError, match=r"'batch_normalization/'.*'layers/batch_normalization'"):
        load(layer, state, path, "batch_normalization")
    with pytest.raises(ValueError, match=r"weights\['layers/conv2d/vars/0'\] must have the shape"):
        load(LayerNorm(**arrays()), {}, path, "layers/conv2d")


@pytest.mark.parametrize("ending", ["keras", "h5", "weights.json", "pkl"])
def test_other_files_are_refused(saved, tmp_path, ending):
    """Archives and whole models hold code beside the numbers: they are not opened."""
    network, _ = saved
    path = tmp_path / f"model.{ending}"
    if ending == "keras":
        network.save(path)
    with pytest.raises(ValueError, match=r"no \.weights\.h5 file.*model\.save_weights"):
        load(LayerNorm(**arrays()), {}, path)


def test_files_of_other_content_are_refused(tmp_path):
    """A file that is none of HDF5, a damaged one, and one that is not there."""
    path = tmp_path / "model.weights.h5"
    with pytest.raises(FileNotFoundError, match="which is not there"):
        load(LayerNorm(**arrays()), {}, path)
    path.write_bytes(b"PK and so on")
    with pytest.raises(ValueError, match="no file of HDF5: it starts with b'PK and s'"):
        load(LayerNorm(**arrays()), {}, path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(ValueError, match="which is damaged"):
        load(LayerNorm(**arrays()), {}, path)


def test_what_is_no_plain_array_is_not_read(tmp_path):
    """Text, objects, links to other files, arrays that stand in other files."""
    path, other = tmp_path / "model.weights.h5", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["gamma"] = ONES
    (tmp_path / "raw").write_bytes(ONES.tobytes())
    layout = h5py.VirtualLayout((C,), "f4")
    layout[:] = h5py.VirtualSource(other, "gamma", (C,))
    with h5py.File(path, "w") as file:
        for name in ("text", "link", "soft", "virtual", "raw", "opaque"):
            file.create_group(f"layers/{name}/vars")
        file["layers/text/vars/0"] = ["a"] * C
        file["layers/link/vars/0"] = h5py.ExternalLink(other, "gamma")
        file["layers/soft/vars/0"] = h5py.SoftLink("/layers/text/vars/0")
        file.create_virtual_dataset("layers/virtual/vars/0", layout)
        file["layers/raw/vars"].create_dataset(
            "0", (C,), "f4", external=[(str(tmp_path / "raw"), 0, 4 * C)]
        )
        file["layers/opaque/vars/0"] = np.zeros(C, "V2")
    layer = LayerNorm(**arrays(bias=False))
    for name in ("text", "opaque"):
        with pytest.raises(ValueError, match="must be an array of numbers"):
            load(layer, {}, path, f"layers/{name}")
    for name in ("virtual", "raw"):
        with pytest.raises(ValueError, match="stands in another file, which is not read"):
            load(layer, {}, path, f"layers/{name}")
    for name in ("link", "soft"):
        with pytest.raises(ValueError, match=f"no key that starts with 'layers/{name}/'"):
            load(layer, {}, path, f"layers/{name}")


def test_without_the_library(tmp_path):
    """Without h5py, a file says what to install."""
    path = tmp_path / "model.weights.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    program = f"""
import sys, jax.numpy as jnp
sys.modules["h5py"] = None  # as if not installed
from inox.interop.keras import load
from inox.nn import LayerNorm
try:
    load(LayerNorm(scale=jnp.ones(2)), {{}}, {str(path)!r})
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "needs h5py, which is not installed" in done.stdout
    assert 'pip install "inox-normalization[keras]"' in done.stdout


def test_keys_of_a_dump():
    """The paths of Keras in its order; a count of batches is left out."""
    layer, state = export_state(BatchNorm(C, warmup=True, **arrays(scale=False)))
    for prefix in ("layers/bn", "layers/bn/", "layers/bn/vars"):
        found = dump(layer, state, prefix)
        assert list(found) == [f"layers/bn/vars/{index}" for index in range(3)]
    np.testing.assert_array_equal(found["layers/bn/vars/0"], np.full(C, 7.0))
    assert list(dump(layer, state)) == ["vars/0", "vars/1", "vars/2"]


def test_a_file_with_a_damaged_index(tmp_path):
    """Bytes overwritten in the table of names are told as damage, whatever h5py makes of them."""
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["x/vars/0"] = ONES
    content = path.read_bytes()
    assert b"HEAP" in content
    path.write_bytes(content.replace(b"HEAP", b"PAEH"))
    with pytest.raises(ValueError, match=r"'model\.weights\.h5', which is damaged"):
        load(LayerNorm(scale=jnp.ones(C)), {}, path, "x")


def test_a_path_with_a_slash_in_front(tmp_path):
    """As h5py itself names the groups of a file."""
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["x/vars/0"] = 2 * ONES
        prefix = file["x"].name
    layer, _ = load(LayerNorm(scale=jnp.ones(C)), {}, path, prefix)
    np.testing.assert_array_equal(layer.scale.value, 2 * ONES)


def test_a_shape_that_no_layer_has_is_not_read(tmp_path):
    """A file of two kilobytes may declare 64 tebibytes: nothing of the kind is allocated."""
    path = tmp_path / "bomb.weights.h5"
    with h5py.File(path, "w") as file:
        for name in "01":
            file.create_dataset(f"vars/{name}", (1 << 44,), "float32", chunks=(1 << 20,))
    layer = LayerNorm(scale=jnp.ones(C), bias=jnp.zeros(C))
    with pytest.raises(ValueError, match=r"17592186044416.*more numbers"):
        load(layer, {}, path)
