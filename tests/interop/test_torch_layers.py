"""Layers of torch, trained for a few steps, and the layers of ours that were loaded from them."""

import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop.torch import dump, load, to_tensors
from inox.nn import BatchNorm, InstanceNorm, LayerNorm, export_state
from inox.nn.normalization import BatchRenorm
from tests.interop.torch_layers import CASES, C, arrays, channels_last, inputs, trained


def evaluated(layer, state, x):
    if isinstance(layer, BatchNorm):
        return np.asarray(layer(x, state, training=False)[0])
    return np.asarray(layer(x))


def both(torch, name, make=None):
    """Outputs of torch's layer and ours in evaluation, channels last, and ours' input."""
    build, shape, ours = CASES[name]
    module = trained(torch, build(torch.nn), shape)
    layer, state = load(*export_state(ours()), (make or (lambda module: module))(module))
    x = inputs(torch, shape)
    with torch.no_grad():
        theirs = module(x).numpy()
    first = "LayerNorm" not in name and "RMSNorm" not in name
    if first:
        return channels_last(theirs), evaluated(layer, state, channels_last(x))
    return theirs, evaluated(layer, state, x.numpy())


def bound(theirs, epsilon=2.0**-23):
    """6 units in the last place of the largest output.

    Either side rounds the difference from the mean, the reciprocal deviation (three operations),
    two products and a sum by half a unit each, of numbers that are about as large as the largest
    output: 3.5 units on either side if all rounded the same way. Measured: at most 1.6.
    """
    return 6 * epsilon * np.abs(theirs).max()


@pytest.mark.parametrize("name", CASES)
def test_evaluates_as_torch_does(peer, name):
    """In evaluation mode, to 6 units in the last place of the largest output."""
    theirs, ours = both(peer("torch"), name)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))


@pytest.mark.parametrize(
    "make",
    [
        lambda module: module.state_dict(),
        lambda module: dict(module.named_parameters()) | dict(module.named_buffers()),
        lambda module: {key: value.numpy() for key, value in module.state_dict().items()},
        lambda module: {
            key: jnp.asarray(value.numpy().astype(np.float32))
            for key, value in module.state_dict().items()
        },
    ],
    ids=["state_dict", "parameters that need gradients", "numpy", "jax"],
)
def test_takes_arrays_of_every_library(peer, make):
    """Tensors, also such that need a gradient, and arrays of NumPy and JAX give the same layer."""
    theirs, ours = both(peer("torch"), "BatchNorm2d", make)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))


def test_sync_batch_norm(peer):
    """The layer for several processes has the arrays of the others."""
    torch = peer("torch")
    module = torch.nn.SyncBatchNorm(C).eval()  # it trains on accelerators alone
    with torch.no_grad():
        module.running_mean.normal_()
        module.running_var.uniform_(1, 2)
        module.weight.normal_()
    x = torch.randn(4, C, 5, 3)
    layer, state = load(*export_state(BatchNorm(C, **arrays(C))), module)
    with torch.no_grad():
        theirs = channels_last(module(x))
    ours = evaluated(layer, state, channels_last(x))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))


def test_images_normalized_channels_first(peer):
    """A LayerNorm over (C, H, W) is one over (H, W, C): `channel_axis=0`, also on the way back."""
    torch = peer("torch")
    shape = (C, 5, 3)
    module = trained(torch, torch.nn.LayerNorm(shape), (4, *shape))
    layer = LayerNorm((-3, -2, -1), **arrays((5, 3, C)))
    layer, _ = load(layer, {}, module.state_dict(), channel_axis=0)
    x = inputs(torch, (4, *shape))
    with torch.no_grad():
        theirs = channels_last(module(x))
    ours = evaluated(layer, {}, channels_last(x))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))
    back = dump(layer, {}, channel_axis=0)
    assert back["weight"].shape == shape
    np.testing.assert_array_equal(back["weight"], module.weight.detach().numpy())


def test_running_variance_is_taken_as_it_is(peer):
    """It is n / (n - 1) times the biased one, which is what torch evaluates with; so do we."""
    torch = peer("torch")
    module = torch.nn.BatchNorm1d(C, momentum=1.0)
    batch = torch.randn(3, C)
    module(batch)
    _, state = load(*export_state(BatchNorm(C, **arrays(C))), module.state_dict())
    (statistics,) = state.values()
    biased = batch.numpy().var(axis=0)
    np.testing.assert_array_equal(statistics.var, module.running_var.numpy())
    np.testing.assert_allclose(statistics.var, biased * 3 / 2, rtol=1e-6)


def test_number_of_batches(peer):
    """A layer that counts its batches goes on counting from torch's number, and gives it back."""
    torch = peer("torch")
    module = trained(torch, torch.nn.BatchNorm1d(C), (8, C), steps=3)
    for ours in (BatchNorm(C, warmup=True, **arrays(C)), BatchRenorm(C, **arrays(C))):
        layer, state = load(*export_state(ours), module.state_dict())
        np.testing.assert_array_equal(state[layer.batches], np.full(C, 3.0))
        assert state[layer.batches].dtype == jnp.float32
        _, state = layer(np.random.default_rng(0).standard_normal((8, C), np.float32), state)
        count = dump(layer, state)["num_batches_tracked"]
        assert (count.dtype, count.shape, int(count)) == (np.dtype(np.int64), (), 4)


def test_equal_averages_go_on(peer):
    """Momentum None, torch's equal average of all batches, is momentum 1 with a warmup.

    One more batch in both moves the means alike: to a fourth of the way.
    """
    torch = peer("torch")
    module = trained(torch, torch.nn.BatchNorm1d(C, momentum=None), (8, C), steps=3)
    layer, state = export_state(BatchNorm(C, momentum=1.0, warmup=True, **arrays(C)))
    layer, state = load(layer, state, module)
    x = inputs(torch, (8, C))
    module.train()(x)
    _, state = layer(x.numpy(), state, training=True)
    np.testing.assert_allclose(
        state[layer.stats].mean, module.running_mean.numpy(), rtol=1e-5, atol=1e-6
    )


def test_training_on_replaces_the_unbiased_variance(peer):
    """After k more batches, what is left of the checkpoint's variance has the weight 0.9^k."""
    torch = peer("torch")
    module = trained(torch, torch.nn.BatchNorm1d(C), (8, C))
    layer, state = load(*export_state(BatchNorm(C, **arrays(C))), module)
    expected = module.running_var.numpy().astype(np.float64)
    for _ in range(5):
        x = inputs(torch, (8, C)).numpy()
        _, state = layer(x, state, training=True)
        expected = 0.9 * expected + 0.1 * x.astype(np.float64).var(axis=0)
    np.testing.assert_allclose(state[layer.stats].var, expected, rtol=1e-5)


def test_instance_norm_with_running_statistics_trains_otherwise(peer):
    """Its evaluation is that of a batch norm; its own statistics of instances are InstanceNorm's.

    Without the running ones, the checkpoint gives what torch computes in training mode.
    """
    torch = peer("torch")
    build, shape, _ = CASES["InstanceNorm2d with running statistics"]
    module = trained(torch, build(torch.nn), shape)
    names = ("weight", "bias")
    kept = {key: value for key, value in module.state_dict().items() if key in names}
    layer, _ = load(InstanceNorm(**arrays(C)), {}, kept)
    x = inputs(torch, shape)
    with torch.no_grad():
        theirs = channels_last(module.train()(x))
    ours = evaluated(layer, {}, channels_last(x))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound(theirs))


@pytest.mark.parametrize(
    "name", ["BatchNorm2d", "LayerNorm of two axes", "GroupNorm", "InstanceNorm1d", "RMSNorm"]
)
def test_double_precision(peer, name, x64):
    """Double layers, too, to as many of their units in the last place."""
    torch = peer("torch")
    build, shape, ours = CASES[name]
    module = trained(torch, build(torch.nn).double(), shape)
    wide = ours()
    for part in ("scale", "bias"):
        if getattr(wide, part) is not None:
            setattr(wide, part, getattr(wide, part).value.astype(jnp.float64))
    layer, state = load(*export_state(wide), module.state_dict())
    x = inputs(torch, shape).double()
    with torch.no_grad():
        theirs = module(x).numpy()
    first = "LayerNorm" not in name and "RMSNorm" not in name
    found = evaluated(layer, state, channels_last(x) if first else x.numpy())
    theirs = channels_last(theirs) if first else theirs
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, theirs, rtol=0, atol=bound(theirs, 2.0**-52))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["BatchNorm2d", "LayerNorm", "GroupNorm", "InstanceNorm1d"])
def test_half_types(peer, name, dtype):
    """Half layers on half input, to 2 units in the last place of the output's dtype.

    Both compute in float32 and round once: two results on either side of a boundary are 1 unit
    apart, and 2 where torch rounds scale and shift, or a mean, to the half type before it adds.
    """
    torch = peer("torch")
    build, shape, ours = CASES[name]
    kind = getattr(torch, dtype)
    module = trained(torch, build(torch.nn), shape).to(kind)
    layer, state = load(*export_state(ours()), module.state_dict())
    x = inputs(torch, shape).to(kind)
    with torch.no_grad():
        theirs = module(x).float().numpy()
    half = x.float().numpy().astype(jnp.dtype(dtype))
    first = "LayerNorm" not in name
    found = evaluated(layer, state, channels_last(half) if first else half)
    assert found.dtype == jnp.dtype(dtype)
    theirs = channels_last(theirs) if first else theirs
    unit = float(jnp.finfo(dtype).eps) * np.abs(theirs).max()
    np.testing.assert_allclose(found.astype(np.float32), theirs, rtol=0, atol=2 * unit)


def test_layer_and_state_stay_as_they_are(peer):
    """Neither is changed in place; what is loaded is shared with no tensor."""
    torch = peer("torch")
    module = trained(torch, torch.nn.BatchNorm1d(C), (8, C))
    layer, state = export_state(BatchNorm(C, **arrays(C)))
    new, loaded = load(layer, state, module.state_dict())
    expected = module.running_mean.numpy().copy()
    with torch.no_grad():
        module.running_mean.zero_()
        module.weight.zero_()
    np.testing.assert_array_equal(layer.scale.value, np.full(C, 7.0))
    np.testing.assert_array_equal(state[layer.stats].mean, np.zeros(C))
    np.testing.assert_array_equal(loaded[new.stats].mean, expected)
    assert np.abs(new.scale.value).min() > 0
    assert new is not layer
    assert loaded is not state
    assert to_tensors(dump(new, loaded))["running_mean"].numpy().tolist() == expected.tolist()
