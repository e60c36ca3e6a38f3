"""What is refused of a `state_dict`, with the key, what was found and the cure."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop.torch import dump, load
from inox.nn import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Module,
    RMSNorm,
    export_state,
    is_parameter,
)
from tests.interop.torch_layers import C, arrays

ONES = np.ones(C, np.float32)
AFFINE = {"weight": ONES, "bias": ONES}
TRACKED = {"running_mean": ONES, "running_var": ONES, "num_batches_tracked": np.array(3)}
FULL = {f"bn1.{key}": value for key, value in (AFFINE | TRACKED).items()}


def without(*names):
    return {key: value for key, value in FULL.items() if key.split(".")[-1] not in names}


def batch_norm(**keywords):
    return export_state(BatchNorm(C, **{**arrays(C), **keywords}))


# What is loaded into batch_norm(), from "bn1"; words of the message.
SOURCES = {
    "missing weight": (without("weight"), ValueError, ["'bn1.weight'", "without scale"]),
    "missing affine": (
        without("weight", "bias"),
        ValueError,
        ["'bn1.weight', 'bn1.bias'", "it has 'running_mean'", "without bias and scale"],
    ),
    "missing variance": (without("running_var"), ValueError, ["'bn1.running_var'"]),
    "not tracked": (
        without(*TRACKED),
        ValueError,
        ["'bn1.running_mean', 'bn1.running_var'", "track_running_stats=False", "axis=(0, 1, 2)"],
    ),
    "extra": (
        FULL | {"bn1.weight_g": ONES},
        ValueError,
        ["'bn1.weight_g'", "has no use", "scale, bias, mean, var"],
    ),
    "another place": (
        {f"module.{key}": value for key, value in FULL.items()},
        ValueError,
        ["'bn1.weight'", "'module.bn1'"],
    ),
    "no place": ({"conv1.kernel": ONES}, ValueError, ["'bn1.weight'", "'conv1.kernel'"]),
    "the layer's alone": (AFFINE | TRACKED, ValueError, ["'bn1.'", "prefix=''"]),
    "a key as prefix": ({"bn1": ONES}, ValueError, ["'bn1' is the key", "in front of"]),
    "channels": (
        FULL | {"bn1.weight": np.ones(5, np.float32)},
        ValueError,
        ["state_dict['bn1.weight']", "(6,)", "(5,)", "scale=jnp.ones((5,))"],
    ),
    "channels of the statistics": (
        FULL | {"bn1.running_mean": np.ones(5, np.float32)},
        ValueError,
        ["state_dict['bn1.running_mean']", "(6,)", "(5,)", "channels=5"],
    ),
    "negative variance": (
        FULL | {"bn1.running_var": -ONES},
        ValueError,
        ["state_dict['bn1.running_var']", "-1.0"],
    ),
    "double": (
        FULL | {"bn1.weight": np.ones(C)},
        TypeError,
        ["state_dict['bn1.weight'] is float64", "float32", "round", "jax_enable_x64"],
    ),
    "double statistics": (
        FULL | {"bn1.running_var": np.ones(C)},
        TypeError,
        ["state_dict['bn1.running_var'] is float64", "round"],
    ),
    "integers": (
        FULL | {"bn1.weight": np.ones(C, np.int8)},
        TypeError,
        ["state_dict['bn1.weight']", "int8", "quantized"],
    ),
    "complex": (FULL | {"bn1.bias": ONES * 1j}, TypeError, ["state_dict['bn1.bias']", "complex"]),
    "strings": (FULL | {"bn1.bias": ["a"] * C}, TypeError, ["state_dict['bn1.bias']", "numbers"]),
    "objects": (FULL | {"bn1.bias": object()}, TypeError, ["state_dict['bn1.bias']", "object"]),
    "ragged": (FULL | {"bn1.bias": [[1.0], [1, 2]]}, TypeError, ["state_dict['bn1.bias']"]),
    "keys": (FULL | {3: ONES}, TypeError, ["3", "strings"]),
    "a list": (list(FULL.values()), TypeError, ["state_dict", "list", "module.state_dict()"]),
    "nothing": (None, TypeError, ["state_dict", "NoneType"]),
}


@pytest.mark.parametrize("case", SOURCES)
def test_refused_sources(case):
    """The message names the key and the cure; nothing is loaded, and nothing changed."""
    source, kind, words = SOURCES[case]
    layer, state = batch_norm()
    with pytest.raises(kind) as raised:
        load(layer, state, source, "bn1")
    assert [word for word in words if word not in str(raised.value)] == []
    np.testing.assert_array_equal(layer.scale.value, np.full(C, 7.0))
    np.testing.assert_array_equal(state[layer.stats].mean, np.zeros(C))


# A layer and its state, what is loaded into it, words of the message.
LAYERS = {
    "names of TensorFlow": (
        lambda: (LayerNorm(**arrays(C)), {}),
        {"gamma": ONES, "beta": ONES},
        ["'weight', 'bias'", "'gamma', 'beta'", "rename these keys"],
    ),
    "no scale": (
        lambda: export_state(BatchNorm(C)),
        AFFINE | TRACKED,
        ["'weight', 'bias'", "no use", "scale=jnp.ones(...)"],
    ),
    "no bias": (
        lambda: (LayerNorm(scale=jnp.ones(C)), {}),
        AFFINE,
        ["'bias'", "no use", "bias=jnp.zeros(...)"],
    ),
    "rms norm": (lambda: (RMSNorm(scale=jnp.ones(C)), {}), AFFINE, ["'bias'", "no use"]),
    "instance norm": (
        lambda: (InstanceNorm(**arrays(C)), {}),
        AFFINE | TRACKED,
        ["'running_mean'", "track_running_stats=True", "into a BatchNorm", "training=False"],
    ),
    "group norm": (
        lambda: (GroupNorm(2, **arrays(C)), {}),
        AFFINE | TRACKED,
        ["'running_mean'", "of a batch norm"],
    ),
    "a count alone": (
        lambda: (LayerNorm(scale=jnp.ones(C)), {}),
        {"weight": ONES, "num_batches_tracked": np.array(3)},
        ["'num_batches_tracked'", "of a batch norm"],
    ),
    "channels first": (
        lambda: (LayerNorm((-3, -2, -1), scale=jnp.ones((4, 5, 3))), {}),
        {"weight": np.ones((3, 4, 5), np.float32)},
        ["'weight'", "(4, 5, 3)", "(3, 4, 5)", "channel_axis=0"],
    ),
    "a scale for all": (
        lambda: (LayerNorm(scale=jnp.array(1.0)), {}),
        {"weight": ONES},
        ["'weight'", "()", "(6,)", "scale=jnp.ones((6,))"],
    ),
    "no count": (
        lambda: batch_norm(warmup=True),
        {key: value for key, value in (AFFINE | TRACKED).items() if "num" not in key},
        ["'num_batches_tracked'", "0.4.1", "without warmup"],
    ),
    "a negative count": (
        lambda: batch_norm(warmup=True),
        AFFINE | TRACKED | {"num_batches_tracked": np.array(-1)},
        ["'num_batches_tracked'", "-1"],
    ),
    "counts": (
        lambda: batch_norm(warmup=True),
        AFFINE | TRACKED | {"num_batches_tracked": np.ones(C, np.int32)},
        ["'num_batches_tracked'", "shape (6,)"],
    ),
    "state of another": (
        lambda: (batch_norm()[0], export_state(BatchNorm(5))[1]),
        AFFINE | TRACKED,
        ["state", "(6,)", "(5,)"],
    ),
    "no entry": (lambda: (batch_norm()[0], {}), AFFINE | TRACKED, ["state", "'.stats'"]),
    "not exported": (
        lambda: (BatchNorm(C, **arrays(C)), {}),
        AFFINE | TRACKED,
        ["export_state"],
    ),
    "an entry of another kind": (
        lambda: (batch_norm()[0], dict.fromkeys(batch_norm()[1], 3)),
        AFFINE | TRACKED,
        ["Statistics(mean, var)", "int"],
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers_that_do_not_fit(case):
    """The message says what the layer lacks or has too much."""
    make, source, words = LAYERS[case]
    layer, state = make()
    with pytest.raises(ValueError, match=re.escape(words[0])) as raised:
        load(layer, state, source)
    assert [word for word in words if word not in str(raised.value)] == []


def test_half_types_are_not_mixed():
    """Neither half type holds the other's numbers, and a half layer not those of float32."""
    for held, found in [("float16", "bfloat16"), ("bfloat16", "float16"), ("bfloat16", "float32")]:
        layer = LayerNorm(scale=jnp.ones(C, held))
        with pytest.raises(TypeError, match=f"'weight'.* is {found}.*{held}.*would round it"):
            load(layer, {}, {"weight": np.ones(C, jnp.dtype(found))})


def test_other_arguments():
    """A layer that is none, a prefix that is no string, an axis that is none."""
    layer, weight = LayerNorm((-2, -1), scale=jnp.ones((2, 3))), np.ones((2, 3), np.float32)

    class Model(Module):
        def __init__(self):
            self.norm = layer

    for other in (Model(), [layer], 3):
        with pytest.raises(TypeError, match=r"layer must be a .*found .* one by one"):
            load(other, {}, {"weight": weight})
    with pytest.raises(TypeError, match="prefix must be a string; found int"):
        load(layer, {}, {"weight": weight}, 3)
    with pytest.raises(TypeError, match="prefix must be a string; found NoneType"):
        dump(layer, {}, None)
    with pytest.raises(TypeError, match="channel_axis must be an integer; found 'C'"):
        load(layer, {}, {"weight": weight}, channel_axis="C")
    with pytest.raises(ValueError, match=r"channel_axis must be an axis .* which has 2; found 2"):
        load(layer, {}, {"weight": weight}, channel_axis=2)
    with pytest.raises(ValueError, match=r"channel_axis must be an axis .* which has 2; found 2"):
        dump(layer, {}, channel_axis=2)
    with pytest.raises(TypeError, match="layer and state must hold arrays; found True"):
        load(is_parameter(layer), {}, {"weight": weight})


def test_nothing_to_dump():
    """Under `jax.jit` or `jax.eval_shape` there are no numbers, and some shapes torch has not."""
    layer = LayerNorm(scale=jnp.ones(C))
    with pytest.raises(TypeError, match=r"scale must be an array; found .*outside of jax\.jit"):
        jax.jit(lambda layer: dump(layer, {}))(layer)
    with pytest.raises(TypeError, match="scale must be an array; found ShapeDtypeStruct"):
        dump(jax.eval_shape(lambda: layer), {})
    with pytest.raises(ValueError, match=r"scale must have one number for each channel.*\(\)"):
        dump(LayerNorm(scale=jnp.array(1.0)), {})
    with pytest.raises(ValueError, match=r"bias must have one number for each channel.*\(5, 6\)"):
        dump(GroupNorm(2, bias=jnp.ones((5, 6))), {})


def test_tensors_without_numbers(peer):
    """A tensor of a kind that NumPy has not is refused by its key."""
    torch = peer("torch")
    for tensor in (
        torch.ones(C, device="meta"),
        torch.ones(C).to_sparse(),
        torch.ones(C, dtype=torch.float8_e4m3fn),
    ):
        with pytest.raises(TypeError, match=r"'weight'.*found Tensor.*dense array"):
            load(LayerNorm(scale=jnp.ones(C)), {}, {"weight": tensor})


def test_arrays_for_a_layer_that_holds_none():
    """What is extra for a layer without scale and bias is no matter of the prefix alone."""
    with pytest.raises(ValueError, match=r"it holds nothing\. Build the layer with all"):
        load(LayerNorm(), {}, {"weight": np.ones(3, np.float32)})


@pytest.mark.parametrize("shape", [(1, C, 1, 1), (C, 1, 1)])
def test_parameters_of_images_are_to_be_reshaped(shape):
    """Hand-written norms hold (1, C, 1, 1): the cure is to reshape them, not to build the same."""
    images = FULL | {"bn1.weight": np.ones(shape, np.float32)}
    with pytest.raises(ValueError, match=rf"reshape.*\({C},\)"):
        load(*batch_norm(), images, "bn1")


def test_a_whole_checkpoint_is_told():
    """What trainers save holds the state_dict beside the epoch: the cure names its key."""
    checkpoint = {"epoch": 3, "state_dict": FULL}
    with pytest.raises(ValueError, match=r"'state_dict'.*checkpoint\['state_dict'\]"):
        load(*batch_norm(), checkpoint, "bn1")
