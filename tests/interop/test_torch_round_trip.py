"""What was loaded from torch goes back to it, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop.torch import dump, load, to_tensors
from inox.nn import BatchNorm, GroupNorm, LayerNorm, RMSNorm, Statistics, export_state
from inox.nn.normalization import BatchRenorm
from tests.interop.torch_layers import CASES, C, arrays, trained

# Both the smallest and the largest numbers of each dtype, and what is no number.
ODD = [0.0, -0.0, float("inf"), 6e-8, 1.0, 3.14159]
DTYPES = ["float32", "float16", "bfloat16", "float64"]


@pytest.mark.parametrize("name", CASES)
def test_every_layer_goes_back(peer, name):
    """Into a new module, strictly; but for the number of batches, where the layer counts none."""
    torch = peer("torch")
    build, shape, ours = CASES[name]
    module = trained(torch, build(torch.nn), shape)
    layer, state = load(*export_state(ours()), module.state_dict())
    other = build(torch.nn)
    other.load_state_dict(to_tensors(dump(layer, state)), strict=True)
    counted = getattr(layer, "batches", None) is not None
    for key, value in module.state_dict().items():
        if key != "num_batches_tracked" or counted:
            assert torch.equal(other.state_dict()[key], value), key


@pytest.mark.parametrize("held", ["float32", "the same"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_back(peer, dtype, held, x64):
    """A layer in the dtype of the checkpoint, or one in float32 where that holds it."""
    torch = peer("torch")
    held = dtype if held == "the same" else "float32"
    if (dtype, held) == ("float64", "float32"):
        held = "float64"
    module = torch.nn.BatchNorm2d(C).to(getattr(torch, dtype))
    smallest = torch.finfo(module.weight.dtype).smallest_normal / 2
    with torch.no_grad():
        for key in ("weight", "bias", "running_mean"):
            getattr(module, key).copy_(torch.tensor([*ODD[:5], smallest], dtype=torch.float64))
        module.running_var.copy_(torch.tensor(np.abs(ODD)))
    layer, state = export_state(BatchNorm(C, **arrays(C, dtype=held)))
    state = {key: jax.tree.map(lambda leaf: leaf.astype(held), s) for key, s in state.items()}
    layer, state = load(layer, state, module.state_dict())
    assert layer.scale.value.dtype == held
    assert state[layer.stats].mean.dtype == ("float64" if held == "float64" else "float32")
    other = torch.nn.BatchNorm2d(C).to(getattr(torch, dtype))
    other.load_state_dict(to_tensors(dump(layer, state)), strict=True)
    for key, value in module.state_dict().items():
        assert torch.equal(bits(torch, other.state_dict()[key]), bits(torch, value)), key


def bits(torch, tensor):
    """A tensor's bits: -0.0 is not 0.0 there."""
    sizes = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.view(sizes[tensor.element_size()])


def test_keys_and_dtypes_of_a_dump():
    """The keys of torch in its order, with the prefix once, as NumPy arrays of their own."""
    layer, state = export_state(BatchNorm(C, **arrays(C)))
    for prefix in ("layer1.0.bn1", "layer1.0.bn1."):
        found = dump(layer, state, prefix)
        names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
        assert list(found) == [f"layer1.0.bn1.{name}" for name in names]
        assert [value.dtype.name for value in found.values()] == ["float32"] * 4 + ["int64"]
        assert [value.shape for value in found.values()] == [(C,)] * 4 + [()]
    found["layer1.0.bn1.weight"][:] = 0  # it may be written to, and is the caller's
    np.testing.assert_array_equal(layer.scale.value, np.full(C, 7.0))
    assert dump(RMSNorm(), None) == {}


def test_prefixes():
    """With or without the dot at the end; "" for the arrays of the layer alone."""
    weight = np.arange(3, dtype=np.float32)
    for prefix, key in (("a.b", "a.b.weight"), ("a.b.", "a.b.weight"), ("", "weight")):
        found, _ = load(LayerNorm(scale=jnp.ones(3)), {}, {key: weight}, prefix)
        np.testing.assert_array_equal(found.scale.value, weight)
    others = {"norm.weight": weight, "norm1.weight": weight + 1, "a.norm.weight": weight + 2}
    found, _ = load(LayerNorm(scale=jnp.ones(3)), {}, others, "norm")
    np.testing.assert_array_equal(found.scale.value, weight)


def test_shapes_of_scale_and_bias():
    """One number a channel with axes of size 1 before, or one for all: torch has one a channel."""
    weight = np.arange(1, 7, dtype=np.float32)
    layer = GroupNorm(2, axis=(-2, -1), scale=jnp.ones((1, 1, C)))
    layer, _ = load(layer, {}, {"weight": weight})
    assert layer.scale.value.shape == (1, 1, C)
    np.testing.assert_array_equal(dump(layer, {})["weight"], weight)
    layer, state = export_state(BatchNorm(C, scale=jnp.array(2.0)))
    np.testing.assert_array_equal(dump(layer, state)["weight"], np.full(C, 2.0))


@pytest.mark.parametrize("container", [dict, list, tuple])
def test_containers_of_a_state_stay(container):
    """A state restored from a checkpoint has dicts or lists in it, and has them afterwards."""
    layer, state = export_state(BatchNorm(C))
    mean, var = np.arange(C, dtype=np.float32), np.ones(C, np.float32)
    statistics = state[layer.stats]
    held = statistics._asdict() if container is dict else container(statistics)
    _, new = load(
        layer, {layer.stats: held, "other": 3}, {"running_mean": mean, "running_var": var}
    )
    assert type(new[layer.stats]) is container
    assert new["other"] == 3
    found = new[layer.stats]["mean"] if container is dict else new[layer.stats][0]
    np.testing.assert_array_equal(found, mean)


def test_shapes_in_place_of_arrays():
    """A layer of shapes alone, as `jax.eval_shape` gives it, is filled without being made first."""

    def make():
        return export_state(BatchNorm(C, warmup=True, **arrays(C)))

    layer, state = jax.eval_shape(make)
    full, full_state = make()
    found, found_state = load(layer, state, dump(full, full_state))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), (found, found_state), (full, full_state))
    assert all(jax.tree.leaves(same))
    assert jax.tree.structure((found, found_state)) == jax.tree.structure((full, full_state))


def test_under_jit():
    """The arrays of a mapping may be those of a compiled function's arguments."""
    layer, state = export_state(BatchNorm(C, **arrays(C)))
    wanted = {key: jnp.asarray(value) for key, value in dump(layer, state).items() if value.ndim}
    wanted["running_mean"] = jnp.arange(C, dtype=jnp.float32)
    new, loaded = jax.jit(lambda found: load(layer, state, found))(wanted)
    assert isinstance(loaded[new.stats], Statistics)
    np.testing.assert_array_equal(loaded[new.stats].mean, np.arange(C))


def test_arrays_stay_where_they_were_put():
    """On the device, or split over the devices, that the layer's own array was put on."""
    mesh = jax.make_mesh((2,), ("c",))
    sharding = jax.NamedSharding(mesh, jax.P("c"))
    layer = LayerNorm(scale=jax.device_put(jnp.ones(C), sharding))
    layer, _ = load(layer, {}, {"weight": np.arange(C, dtype=np.float32)})
    assert layer.scale.value.sharding.is_equivalent_to(sharding, 1)
    np.testing.assert_array_equal(layer.scale.value, np.arange(C))


def test_large_numbers_of_batches():
    """Beyond 2**24, where float32 stops counting, the number is the nearest one that it has."""
    layer, state = export_state(BatchRenorm(C))
    found = dump(layer, state) | {"num_batches_tracked": np.array(2**24 + 5)}
    assert int(dump(*load(layer, state, found))["num_batches_tracked"]) == 2**24 + 4
