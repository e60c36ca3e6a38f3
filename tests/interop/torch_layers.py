"""Layers of torch with weights and running statistics of their own, and the same layers of ours."""

import jax.numpy as jnp
import numpy as np

from inox.nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm


def trained(torch, module, shape, steps=3):
    """A layer of torch after a few steps of training, in evaluation mode.

    Inputs are off 0 and differ by channel, so that no statistic is near its initial value.
    """
    torch.manual_seed(7)
    dtype = next(iter([*module.parameters(), *module.buffers()]), torch.zeros(1)).dtype
    if not dtype.is_floating_point:
        dtype = torch.float32
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, mean=0.5)
    parameters = list(module.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1) if parameters else None
    for _ in range(steps):
        x = inputs(torch, shape).to(dtype)
        loss = (module(x) * torch.randn(shape).to(dtype)).mean()
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module.eval()


def inputs(torch, shape):
    """A batch of a torch layer, its channels second."""
    ramp = torch.arange(shape[1], dtype=torch.float32).reshape(1, -1, *[1] * (len(shape) - 2))
    return torch.randn(shape) * (1 + ramp) + ramp


def arrays(scale_shape, *, scale=True, bias=True, dtype=jnp.float32):
    """What a layer of ours starts with: its values are all to be replaced."""
    found = {}
    if scale:
        found["scale"] = jnp.full(scale_shape, 7, dtype)
    if bias:
        found["bias"] = jnp.full(scale_shape, 7, dtype)
    return found


def channels_last(x):
    return np.moveaxis(np.asarray(x), 1, -1)


C = 6
# The layer of torch (from its module), the shape of its input, the same layer of ours.
CASES = {
    "BatchNorm1d": (
        lambda nn: nn.BatchNorm1d(C),
        (8, C),
        lambda: BatchNorm(C, **arrays(C)),
    ),
    "BatchNorm1d of sequences": (
        lambda nn: nn.BatchNorm1d(C, eps=1e-3, momentum=0.5),
        (4, C, 5),
        lambda: BatchNorm(C, epsilon=1e-3, momentum=0.5, **arrays(C)),
    ),
    "BatchNorm2d": (
        lambda nn: nn.BatchNorm2d(C),
        (4, C, 5, 3),
        lambda: BatchNorm(C, **arrays(C)),
    ),
    "BatchNorm2d without affine": (
        lambda nn: nn.BatchNorm2d(C, affine=False),
        (4, C, 5, 3),
        lambda: BatchNorm(C),
    ),
    "BatchNorm2d, equal averages": (
        lambda nn: nn.BatchNorm2d(C, momentum=None),
        (4, C, 5, 3),
        lambda: BatchNorm(C, momentum=1.0, warmup=True, **arrays(C)),
    ),
    "BatchNorm2d of a batch, tracked nowhere": (
        lambda nn: nn.BatchNorm2d(C, track_running_stats=False),
        (4, C, 5, 3),
        lambda: LayerNorm(axis=(0, 1, 2), **arrays(C)),
    ),
    "BatchNorm3d": (
        lambda nn: nn.BatchNorm3d(C),
        (2, C, 3, 2, 4),
        lambda: BatchNorm(C, **arrays(C)),
    ),
    "LayerNorm": (
        lambda nn: nn.LayerNorm(C),
        (4, 5, C),
        lambda: LayerNorm(**arrays(C)),
    ),
    "LayerNorm of two axes": (
        lambda nn: nn.LayerNorm((5, C)),
        (4, 5, C),
        lambda: LayerNorm((-2, -1), **arrays((5, C))),
    ),
    "LayerNorm without bias": (
        lambda nn: nn.LayerNorm(C, bias=False, eps=1e-6),
        (4, 5, C),
        lambda: LayerNorm(epsilon=1e-6, **arrays(C, bias=False)),
    ),
    "LayerNorm without affine": (
        lambda nn: nn.LayerNorm(C, elementwise_affine=False),
        (4, 5, C),
        lambda: LayerNorm(),
    ),
    "GroupNorm": (
        lambda nn: nn.GroupNorm(3, C),
        (4, C, 5, 3),
        lambda: GroupNorm(3, axis=(-3, -2, -1), **arrays(C)),
    ),
    "GroupNorm of sequences": (
        lambda nn: nn.GroupNorm(2, C),
        (4, C, 5),
        lambda: GroupNorm(2, axis=(-2, -1), **arrays(C)),
    ),
    "InstanceNorm1d": (
        lambda nn: nn.InstanceNorm1d(C, affine=True),
        (4, C, 5),
        lambda: InstanceNorm(**arrays(C)),
    ),
    "InstanceNorm2d without affine": (
        lambda nn: nn.InstanceNorm2d(C),
        (4, C, 5, 3),
        lambda: InstanceNorm(),
    ),
    "InstanceNorm3d": (
        lambda nn: nn.InstanceNorm3d(C, affine=True),
        (2, C, 3, 2, 4),
        lambda: InstanceNorm(**arrays(C)),
    ),
    "InstanceNorm2d with running statistics": (
        lambda nn: nn.InstanceNorm2d(C, affine=True, track_running_stats=True),
        (4, C, 5, 3),
        lambda: BatchNorm(C, **arrays(C)),
    ),
    "RMSNorm": (
        lambda nn: nn.RMSNorm(C, eps=1e-6),
        (4, 5, C),
        lambda: RMSNorm(**arrays(C, bias=False)),
    ),
    "RMSNorm with torch's epsilon": (
        lambda nn: nn.RMSNorm((5, C)),
        (4, 5, C),
        lambda: RMSNorm((-2, -1), float(jnp.finfo(jnp.float32).eps), **arrays((5, C), bias=False)),
    ),
}
