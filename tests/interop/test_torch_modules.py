"""A torch module given in place of its `state_dict`: what it is set to is compared as well."""

import jax.numpy as jnp
import numpy as np
import pytest

from inox.interop.torch import load
from inox.nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, export_state
from tests.interop.torch_layers import C, arrays


def batch_norm(*args, **keywords):
    return export_state(BatchNorm(C, *args, **arrays(C), **keywords))


# The module of torch (from its module), the layer and state of ours; words of the message.
REFUSED = {
    "epsilon": (
        lambda nn: nn.BatchNorm2d(C, eps=1e-3),
        batch_norm,
        ["epsilon", "0.001", "1e-05", "BatchNorm2d of torch"],
    ),
    "momentum": (
        lambda nn: nn.BatchNorm2d(C, momentum=0.03),
        batch_norm,
        ["momentum", "0.97", "0.9"],
    ),
    "equal averages": (
        lambda nn: nn.BatchNorm2d(C, momentum=None),
        batch_norm,
        ["momentum=None", "momentum=1.0, warmup=True"],
    ),
    "equal averages, then not": (
        lambda nn: nn.BatchNorm2d(C, momentum=None),
        lambda: batch_norm(warmup=True),
        ["momentum of the layer must be 1"],
    ),
    "groups": (
        lambda nn: nn.GroupNorm(3, C),
        lambda: (GroupNorm(2, **arrays(C)), {}),
        ["groups", "3", "2"],
    ),
    "axes": (
        lambda nn: nn.LayerNorm((2, C)),
        lambda: (LayerNorm(**arrays((2, C))), {}),
        ["axis", "(2, 6)", "(-2, -1)"],
    ),
    "torch's own epsilon": (
        lambda nn: nn.RMSNorm(C),
        lambda: (RMSNorm(**arrays(C, bias=False)), {}),
        ["epsilon", "1.192092896e-07", "1e-06"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_settings_are_refused(peer, case):
    """The message says what torch has, what the layer has, and how to build it."""
    build, make, words = REFUSED[case]
    layer, state = make()
    with pytest.raises(ValueError, match=words[0]) as raised:
        load(layer, state, build(peer("torch").nn))
    assert [word for word in words if word not in str(raised.value)] == []


def test_an_offset_of_the_scale_is_refused(peer):
    """Torch's RMS norm multiplies by the weight itself, where a layer may add a number to it."""
    module = peer("torch").nn.RMSNorm(C, eps=1e-6)
    layer = RMSNorm(**arrays(C, bias=False))
    load(layer, {}, module)
    layer.scale_offset = 1.0
    with pytest.raises(ValueError, match=r"scale_offset of the layer must be 0.* found 1"):
        load(layer, {}, module)


# The layer of torch, a layer of ours that takes the same arrays and computes something else.
OTHERS = {
    "layer norm": (
        lambda nn: nn.LayerNorm(C),
        lambda: (InstanceNorm(**arrays(C)), {}),
        "a LayerNorm, to",
    ),
    "group norm": (
        lambda nn: nn.GroupNorm(3, C),
        lambda: (LayerNorm(**arrays(C)), {}),
        "a GroupNorm, to",
    ),
    "instance norm": (
        lambda nn: nn.InstanceNorm2d(C, affine=True, track_running_stats=True),
        lambda: (InstanceNorm(**arrays(C)), {}),
        "a BatchNorm, to",
    ),
    "batch norm": (
        lambda nn: nn.BatchNorm2d(C, track_running_stats=False),
        batch_norm,
        "a LayerNorm, to",
    ),
    "rms norm": (
        lambda nn: nn.RMSNorm(C, eps=1e-5),
        lambda: (LayerNorm(scale=jnp.ones(C)), {}),
        "a RMSNorm, to",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_layers_are_refused(peer, case):
    """Arrays of the same names and shapes are no reason to take one layer for another."""
    build, make, words = OTHERS[case]
    layer, state = make()
    with pytest.raises(TypeError, match=words):
        load(layer, state, build(peer("torch").nn))


def test_layers_inside_of_a_model(peer):
    """By their path, which is the prefix; a path that leads nowhere is refused."""
    nn = peer("torch").nn
    model = nn.Sequential(nn.Linear(3, C), nn.Sequential(nn.BatchNorm1d(C, eps=1e-3)))
    layer, state = batch_norm(epsilon=1e-3)
    for prefix in ("1.0", "1.0."):
        new, _ = load(layer, state, model, prefix)
        np.testing.assert_array_equal(new.scale.value, np.ones(C))
    with pytest.raises(ValueError, match=r"prefix '1\.3' is no layer of the Sequential"):
        load(layer, state, model, "1.3")


def test_modules_that_torch_does_not_have(peer):
    """A class derived from one of torch is that one; of another, what it is set to counts alone."""
    torch = peer("torch")

    class Frozen(torch.nn.Module):  # the arrays of a batch norm but for the count
        eps = 1e-5

        def __init__(self):
            super().__init__()
            for name in ("weight", "bias", "running_mean", "running_var"):
                self.register_buffer(name, torch.full((C,), 2.0))

    class Derived(torch.nn.GroupNorm):
        pass

    layer, state = batch_norm()
    new, loaded = load(layer, state, Frozen())
    np.testing.assert_array_equal(loaded[new.stats].var, np.full(C, 2.0))
    with pytest.raises(TypeError, match="a GroupNorm, to compute what Derived does"):
        load(layer, state, Derived(3, C))
    with pytest.raises(ValueError, match=r"epsilon of the layer must be 1e-05.*found 0\.0099"):
        load(*batch_norm(epsilon=jnp.array(0.01)), Frozen())
