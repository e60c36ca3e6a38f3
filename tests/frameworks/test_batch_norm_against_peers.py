"""Outputs and running statistics over several steps, against torch and flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox.nn import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm, export_state

STEPS = 4
RANDOM = np.random.default_rng(5)
SCALE, BIAS = RANDOM.standard_normal((2, 6)).astype(np.float32)
BATCHES = (RANDOM.standard_normal((STEPS, 3, 5, 4, 6)) * 2 + np.arange(6)).astype(np.float32)
WEIGHT = RANDOM.standard_normal((3, 5, 4, 6)).astype(np.float32)
# Both sides round in float32 with values of order one: a few ulp each, and sums of 60 terms.
CLOSE = {"rtol": 2e-5, "atol": 1e-5}


def ours(**keywords):
    return export_state(BatchNorm(6, scale=jnp.asarray(SCALE), bias=jnp.asarray(BIAS), **keywords))


@jax.jit
def step(layer, state, x):
    """Output, new state and the gradients of one training call."""

    def loss(layer, x):
        y, updated = layer(x, state)
        return jnp.sum(y * WEIGHT), (y, updated)

    (by_layer, by_x), (y, updated) = jax.grad(loss, (0, 1), has_aux=True)(layer, x)
    return y, updated, by_x, by_layer


@pytest.mark.parametrize("momentum", [0.9, 0.3])
def test_torch_batch_norm(peer, momentum):
    """Torch's momentum is one minus ours, and its running variance is the unbiased one.

    With n values a channel, each of torch's steps adds n / (n - 1) times our variance. So what the
    steps have added to the starting 1, which shrinks as momentum^t, differs by that factor.
    """
    torch = peer("torch")
    layer, state = ours(momentum=momentum)
    other = torch.nn.BatchNorm2d(6, eps=1e-5, momentum=1 - momentum)
    with torch.no_grad():
        other.weight.copy_(torch.tensor(SCALE))
        other.bias.copy_(torch.tensor(BIAS))
    count = BATCHES[0].size // 6
    for t, batch in enumerate(BATCHES, 1):
        y, state, by_x, by_layer = step(layer, state, batch)
        images = torch.tensor(batch.transpose(0, 3, 1, 2).copy(), requires_grad=True)
        other.zero_grad()
        found = other(images)
        (found * torch.tensor(WEIGHT.transpose(0, 3, 1, 2).copy())).sum().backward()
        np.testing.assert_allclose(y, found.detach().numpy().transpose(0, 2, 3, 1), **CLOSE)
        np.testing.assert_allclose(by_x, images.grad.numpy().transpose(0, 2, 3, 1), **CLOSE)
        np.testing.assert_allclose(
            by_layer.scale(), other.weight.grad.numpy(), rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(by_layer.bias(), other.bias.grad.numpy(), rtol=1e-4, atol=1e-4)
        mean, var = (np.asarray(part, np.float64) for part in state[layer.stats])
        np.testing.assert_allclose(mean, other.running_mean.numpy(), **CLOSE)
        unbiased = momentum**t + (var - momentum**t) * count / (count - 1)
        np.testing.assert_allclose(unbiased, other.running_var.numpy(), **CLOSE)

    with torch.no_grad():
        # Evaluation, with our biased variance put in the place of theirs.
        other.running_var.copy_(torch.tensor(np.array(state[layer.stats].var)))
        other.eval()
        expected = other(torch.tensor(BATCHES[0].transpose(0, 3, 1, 2).copy())).numpy()
    layer.train(False)
    y, _ = layer(BATCHES[0], state)
    np.testing.assert_allclose(y, expected.transpose(0, 2, 3, 1), **CLOSE)


@pytest.mark.parametrize("momentum", [0.9, 0.3])
def test_flax_linen_batch_norm(peer, standard_promotion, momentum):
    """Linen means the same by momentum, epsilon and variance: equal numbers at each step."""
    linen = peer("flax.linen")
    layer, state = ours(momentum=momentum)
    other = linen.BatchNorm(momentum=momentum, epsilon=1e-5, use_fast_variance=False)
    variables = {
        "params": {"scale": jnp.asarray(SCALE), "bias": jnp.asarray(BIAS)},
        "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)},
    }

    @jax.jit
    def their_step(variables, x):
        return other.apply(variables, x, use_running_average=False, mutable=["batch_stats"])

    for batch in BATCHES:
        y, state, _, _ = step(layer, state, batch)
        found, updated = their_step(variables, batch)
        variables = {**variables, **updated}
        np.testing.assert_allclose(y, found, **CLOSE)
        np.testing.assert_allclose(state[layer.stats].mean, updated["batch_stats"]["mean"], **CLOSE)
        np.testing.assert_allclose(state[layer.stats].var, updated["batch_stats"]["var"], **CLOSE)
    layer.train(False)
    expected = other.apply(variables, BATCHES[0], use_running_average=True)
    np.testing.assert_allclose(layer(BATCHES[0], state)[0], expected, **CLOSE)


def test_flax_nnx_batch_norm(peer, standard_promotion):
    """NNX keeps the same running statistics, there as variables of the module."""
    nnx = peer("flax.nnx")
    layer, state = ours(momentum=0.9)
    other = nnx.BatchNorm(6, momentum=0.9, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))
    other.scale[...] = jnp.asarray(SCALE)
    other.bias[...] = jnp.asarray(BIAS)
    for batch in BATCHES:
        y, state, _, _ = step(layer, state, batch)
        np.testing.assert_allclose(y, other(jnp.asarray(batch), use_running_average=False), **CLOSE)
        np.testing.assert_allclose(state[layer.stats].mean, other.mean[...], **CLOSE)
        np.testing.assert_allclose(state[layer.stats].var, other.var[...], **CLOSE)
    layer.train(False)
    expected = other(jnp.asarray(BATCHES[0]), use_running_average=True)
    np.testing.assert_allclose(layer(BATCHES[0], state)[0], expected, **CLOSE)


def test_torch_layers_without_state(peer):
    """Layer, group, root-mean-square and instance norm equal torch's."""
    torch = peer("torch")
    x = BATCHES[0]
    scale, bias = jnp.asarray(SCALE), jnp.asarray(BIAS)
    weight, offset = torch.tensor(SCALE), torch.tensor(BIAS)
    images = torch.tensor(x.transpose(0, 3, 1, 2).copy())
    functional = torch.nn.functional
    pairs = [
        (
            LayerNorm(scale=scale, bias=bias)(x),
            functional.layer_norm(torch.tensor(x), (6,), weight, offset).numpy(),
        ),
        (
            LayerNorm((-3, -2, -1))(x),
            functional.layer_norm(torch.tensor(x), (5, 4, 6)).numpy(),
        ),
        (
            RMSNorm(scale=scale)(x),
            functional.rms_norm(torch.tensor(x), (6,), weight, 1e-6).numpy(),
        ),
        (
            GroupNorm(3, axis=(-3, -2, -1), scale=scale, bias=bias)(x),
            functional.group_norm(images, 3, weight, offset).numpy().transpose(0, 2, 3, 1),
        ),
        (
            InstanceNorm(scale=scale, bias=bias)(x),
            functional.instance_norm(images, weight=weight, bias=offset)
            .numpy()
            .transpose(0, 2, 3, 1),
        ),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, **CLOSE)
