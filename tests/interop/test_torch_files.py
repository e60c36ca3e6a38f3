"""Files: `.safetensors` ones are read, through their library, and no others."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from inox.interop.torch import dump, load
from inox.nn import BatchNorm, LayerNorm, export_state
from tests.interop.torch_layers import C, arrays

LAYER = LayerNorm(scale=jnp.ones(C))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes_of_a_file(tmp_path, dtype):
    """Each dtype comes out of a file as it was put in, the count of batches included."""
    layer, state = export_state(BatchNorm(C, warmup=True, **arrays(C, dtype=dtype)))
    found = dump(layer, state, "bn") | {"bn.num_batches_tracked": np.array(2**20, np.int64)}
    found["bn.bias"] = np.linspace(-1, 1, C).astype(jnp.dtype(dtype))
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(found, path)
    back = dump(*load(layer, state, path, "bn"), "bn")
    assert list(back) == list(found)
    for key, value in found.items():
        assert back[key].dtype == value.dtype
        np.testing.assert_array_equal(back[key], value)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt", "pkl", "PTH"])
def test_pickled_files_are_refused(tmp_path, peer, ending):
    """By their ending, read or not: the message says how to write another."""
    torch = peer("torch")
    path = tmp_path / f"model.{ending}"
    torch.save({"weight": torch.ones(C)}, path)
    for place in (path, str(path), tmp_path / f"nowhere.{ending}"):
        with pytest.raises(ValueError, match=r"pickled.*safetensors\.torch\.save_file.*weights_on"):
            load(LAYER, {}, place)


def test_files_of_other_content_are_refused(tmp_path, peer):
    """By what they start with, whatever their ending: pickles, text, an empty or a cut off one."""
    torch = peer("torch")
    path = tmp_path / "model.safetensors"
    torch.save({"weight": torch.ones(C)}, path)
    with pytest.raises(ValueError, match=r"'model\.safetensors', which is no \.safetensors file"):
        load(LAYER, {}, path)
    torch.save({"weight": torch.ones(C)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"which is no \.safetensors file: it starts with"):
        load(LAYER, {}, path)
    for content in (b"", b"hello there, world", b"\xff" * 7 + b"\x00{" + b" " * 90):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"which is no \.safetensors file: it starts with"):
            load(LAYER, {}, path)
    safetensors.numpy.save_file({"weight": np.ones(C, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"which is damaged"):
        load(LAYER, {}, path)


def test_files_that_are_not_there(tmp_path):
    """A path that leads nowhere, or to a folder, and the index of a checkpoint in several files."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors', which is not there"):
        load(LAYER, {}, tmp_path / "nowhere.safetensors")
    with pytest.raises(FileNotFoundError, match="which is not there"):
        load(LAYER, {}, tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"index.*Give the file that holds this layer"):
        load(LAYER, {}, index)


def test_keys_of_a_file(tmp_path):
    """What a file lacks is named as in a mapping."""
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a.weight": np.ones(C, np.float32)}, path)
    with pytest.raises(ValueError, match=r"'norm\.weight'.*under 'a'"):
        load(LAYER, {}, path, "norm")


def test_without_the_libraries(tmp_path):
    """Torch is not imported for arrays; without safetensors, a file says what to install."""
    path = tmp_path / "model.safetensors"
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    program = f"""
import sys, numpy, jax.numpy as jnp
sys.modules["safetensors"] = sys.modules["torch"] = None  # as if not installed
from inox.interop.torch import dump, load, to_tensors
from inox.nn import LayerNorm
layer = LayerNorm(scale=jnp.ones(2))
found = dump(*load(layer, {{}}, {{"weight": numpy.ones(2, numpy.float32)}}))
for call in (lambda: load(layer, {{}}, {str(path)!r}), lambda: to_tensors(found)):
    try:
        call()
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    file, tensors = done.stdout.splitlines()
    assert "needs safetensors, which is not installed" in file
    assert "needs torch, which is not installed" in tensors
    for line in (file, tensors):
        assert 'pip install "inox-normalization[torch]"' in line


def test_importing_loads_nothing():
    """Neither module imports the library that it is for, nor those that read its files."""
    program = (
        "import sys, inox.interop.torch, inox.interop.keras\n"
        "print([n for n in ('torch', 'keras', 'h5py', 'safetensors') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_dtype_that_is_not_readable(tmp_path, peer):
    """An array of float8, which NumPy has no name for, is an error with its key and the cure."""
    torch, files = peer("torch"), peer("safetensors.torch")
    path = tmp_path / "model.safetensors"
    files.save_file({"weight": torch.ones(C).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(TypeError, match=r"state_dict\['weight'\] must be .* tensor.float\(\)"):
        load(LAYER, {}, path)
