"""A residual network as torchvision writes it, narrower, and the same one in JAX.

Keys and structure of the `state_dict` are those of torchvision's `resnet18`: twenty batch norms,
three of them in the downsampling branches.
"""

import jax
import jax.numpy as jnp

from inox.nn import BatchNorm, export_state

WIDTHS, CLASSES = (8, 12, 16, 24), 10


def network(torch):
    """The network in torch."""
    nn = torch.nn

    class BasicBlock(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.downsample = None
            if stride != 1 or inputs != outputs:
                self.downsample = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(WIDTHS[0])
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            inputs = WIDTHS[0]
            for index, width in enumerate(WIDTHS, 1):
                blocks = [BasicBlock(inputs, width, 1 if index == 1 else 2)]
                blocks.append(BasicBlock(width, width, 1))
                setattr(self, f"layer{index}", nn.Sequential(*blocks))
                inputs = width
            self.fc = nn.Linear(inputs, CLASSES)

        def forward(self, x):
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            for index in range(1, 5):
                x = getattr(self, f"layer{index}")(x)
            return self.fc(x.mean((2, 3)))

    return ResNet()


def norms(model):
    """Our batch norms, not loaded yet, by the path of torch's, and their state."""
    channels = {
        path: module.num_features
        for path, module in model.named_modules()
        if hasattr(module, "running_mean")
    }
    return export_state(
        {
            path: BatchNorm(size, scale=jnp.ones(size), bias=jnp.zeros(size))
            for path, size in channels.items()
        }
    )


def convolution(arrays, path, x, stride):
    """A convolution with torch's padding; torch has output and input channels first."""
    kernel = arrays[f"{path}.weight"].transpose(2, 3, 1, 0)
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )


@jax.jit
def apply(layers, state, arrays, x):
    """The network in evaluation mode, channels last."""

    def norm(path, x):
        return layers[path](x, state, training=False)[0]

    def block(path, x, stride):
        y = jax.nn.relu(norm(f"{path}.bn1", convolution(arrays, f"{path}.conv1", x, stride)))
        y = norm(f"{path}.bn2", convolution(arrays, f"{path}.conv2", y, 1))
        if f"{path}.downsample.0.weight" in arrays:
            x = convolution(arrays, f"{path}.downsample.0", x, stride)
            x = norm(f"{path}.downsample.1", x)
        return jax.nn.relu(y + x)

    x = jax.nn.relu(norm("bn1", convolution(arrays, "conv1", x, 2)))
    window, strides = (1, 3, 3, 1), (1, 2, 2, 1)
    padding = [(0, 0), (1, 1), (1, 1), (0, 0)]
    lowest = jnp.array(-jnp.inf, x.dtype)
    x = jax.lax.reduce_window(x, lowest, jax.lax.max, window, strides, padding)
    for index in range(1, 5):
        x = block(f"layer{index}.0", x, 1 if index == 1 else 2)
        x = block(f"layer{index}.1", x, 1)
    return x.mean((1, 2)) @ arrays["fc.weight"].T + arrays["fc.bias"][None]
