"""Against PyTorch and Flax, where they mean the same: values and gradients.

PyTorch runs in float64, so that what is compared with is exact for our purpose; its channels come
second. Flax runs in float32 with its accurate variance, on data whose mean is small.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests.conftest import import_peer
from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import quick_jit

torch = import_peer("torch")
linen = import_peer("flax.linen")

N, H, W, C = 2, 3, 2, 6
EPSILON = 1e-3
generator = np.random.default_rng(0)
X = generator.normal(0.5, 2, (N, H, W, C)).astype(np.float32)
DY = generator.normal(size=X.shape).astype(np.float32)
SCALE = generator.uniform(0.5, 1.5, C).astype(np.float32)
BIAS = generator.normal(size=C).astype(np.float32)
MEAN = generator.normal(size=C).astype(np.float32)
VAR = generator.uniform(1, 2, C).astype(np.float32)

settings = {"epsilon": EPSILON}
OURS = {
    "layer_norm": lambda x, s, b: functional.layer_norm(x, s, b, **settings),
    "rms_norm": lambda x, s, b: functional.rms_norm(x, s, **settings) + b[None, None, None],
    "group_norm": lambda x, s, b: functional.group_norm(x, 3, s, b, axis=(1, 2, 3), **settings),
    "one group": lambda x, s, b: functional.group_norm(x, 1, s, b, axis=(1, 2, 3), **settings),
    "instance_norm": lambda x, s, b: functional.layer_norm(x, s, b, axis=(1, 2), **settings),
    "batch_norm": lambda x, s, b: functional.batch_norm(x, s, b, **settings)[0],
    "given": lambda x, s, b: functional.batch_norm(x, s, b, statistics=(MEAN, VAR), **settings)[0],
}


def of_torch(name, x, scale, bias):
    """The norm of that name, in PyTorch, channels last."""
    f = torch.nn.functional
    if name == "layer_norm":
        return f.layer_norm(x, (C,), scale, bias, EPSILON)
    if name == "rms_norm":
        return f.rms_norm(x, (C,), scale, EPSILON) + bias
    first = x.movedim(-1, 1)
    if name in ("group_norm", "one group"):
        y = f.group_norm(first, 3 if name == "group_norm" else 1, scale, bias, EPSILON)
    elif name == "instance_norm":
        y = f.instance_norm(first, weight=scale, bias=bias, eps=EPSILON)
    elif name == "batch_norm":
        y = f.batch_norm(first, None, None, scale, bias, training=True, eps=EPSILON)
    else:
        mean, var = (torch.tensor(a, dtype=torch.float64) for a in (MEAN, VAR))
        y = f.batch_norm(first, mean, var, scale, bias, training=False, eps=EPSILON)
    return y.movedim(1, -1)


@pytest.mark.parametrize("name", OURS)
def test_torch(name):
    """y, dx, dscale, dbias, and a Hessian-vector product in x (PyTorch's double backward)."""
    direction = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)

    @quick_jit
    def program(x, scale, bias):
        def loss(x):
            return (OURS[name](x, scale, bias) * DY).sum()

        y, pullback = jax.vjp(OURS[name], x, scale, bias)
        product = jax.jvp(jax.grad(loss), (x,), (jnp.asarray(direction),))[1]
        return y, pullback(jnp.asarray(DY)), product

    y, gradients, product = program(X, SCALE, BIAS)
    leaves = [
        torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in (X, SCALE, BIAS)
    ]
    theirs = of_torch(name, *leaves)
    dy, along = (torch.tensor(array, dtype=torch.float64) for array in (DY, direction))
    expected = torch.autograd.grad(theirs, leaves, dy, create_graph=True)
    assert_close(y, theirs.detach().numpy(), "y")
    for label, actual, exact in zip(("x", "scale", "bias"), gradients, expected, strict=True):
        # The parameters' gradients are sums of a dozen terms of size 1 or 2.
        assert_close(actual, exact.detach().numpy(), f"gradient {label}", size=np.array(2.0))
    if name == "given":  # linear in x: no second derivative
        np.testing.assert_array_equal(product, np.zeros(X.shape))
        return
    (second,) = torch.autograd.grad(expected[0], leaves[0], along)
    assert_close(product, second.numpy(), "second order", factor=128)


FLAX = {
    "layer_norm": lambda: linen.LayerNorm(EPSILON, use_fast_variance=False),
    "group_norm": lambda: linen.GroupNorm(3, epsilon=EPSILON, use_fast_variance=False),
    "instance_norm": lambda: linen.InstanceNorm(epsilon=EPSILON, use_fast_variance=False),
    "batch_norm": lambda: linen.BatchNorm(False, epsilon=EPSILON, use_fast_variance=False),
}
# Every slice has a position that is True: without any, Flax gives NaN.
MASKS = dict.fromkeys(
    FLAX, np.arange(H)[None, :, None, None] < np.array([3, 1])[:, None, None, None]
)
MASKS["layer_norm"] = np.arange(C) % 4 != 1


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", FLAX)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_flax(name, masked):
    """y, dx, dscale, dbias; with a mask too, at the positions where it is True."""
    layer = FLAX[name]()
    # Flax refuses masks of one channel for group norm, and leaves other values where one is False.
    mask = np.broadcast_to(MASKS[name] if masked else True, X.shape)
    dy = DY * mask
    statistics = {"mean": jnp.zeros(C), "var": jnp.ones(C)}

    def theirs(x, scale, bias):
        variables = {"params": {"scale": scale, "bias": bias}}
        if name == "batch_norm":
            variables["batch_stats"] = statistics
            return layer.apply(variables, x, mask=mask, mutable=["batch_stats"])[0]
        return layer.apply(variables, x, mask=mask)

    forms = {
        "layer_norm": lambda x, s, b: functional.layer_norm(x, s, b, where=mask, **settings),
        "group_norm": lambda x, s, b: functional.group_norm(
            x, 3, s, b, axis=(1, 2, 3), where=mask, **settings
        ),
        "instance_norm": lambda x, s, b: functional.layer_norm(
            x, s, b, axis=(1, 2), where=mask, **settings
        ),
        "batch_norm": lambda x, s, b: functional.batch_norm(x, s, b, where=mask, **settings)[0],
    }

    @quick_jit
    def program(x, scale, bias):
        results = {}
        for label, form in (("ours", forms[name]), ("theirs", theirs)):
            y, pullback = jax.vjp(form, x, scale, bias)
            y = jnp.where(mask, y, 0)
            results[label] = dict(zip("ysb", (y, *pullback(jnp.asarray(dy))[1:]), strict=True))
            results[label]["x"] = pullback(jnp.asarray(dy))[0]
        return results

    results = program(X, SCALE, BIAS)
    exact = {key: np.asarray(value, np.float64) for key, value in results["theirs"].items()}
    sizes = dict.fromkeys(exact, np.array(4.0))
    assert_all_close(results["ours"], exact, name, sizes=sizes)


@pytest.mark.usefixtures("standard_promotion")
def test_flax_rms_norm():
    """Mean of squares, no centring, no bias."""
    layer = linen.RMSNorm(EPSILON)

    @quick_jit
    def program(x, scale):
        results = []
        for form in (
            lambda x, s: functional.rms_norm(x, s, **settings),
            lambda x, s: layer.apply({"params": {"scale": s}}, x),
        ):
            y, pullback = jax.vjp(form, x, scale)
            results.append((y, *pullback(jnp.asarray(DY))))
        return results

    for actual, expected in zip(*program(X, SCALE), strict=True):
        assert_close(actual, np.asarray(expected, np.float64), size=np.array(4.0))


@pytest.mark.usefixtures("standard_promotion")
def test_flax_batch_norm_statistics():
    """Flax's running mean and variance after a step move by what our moments say."""
    layer = linen.BatchNorm(False, momentum=0.75, use_fast_variance=False)
    variables = layer.init(jax.random.key(0), X)
    _, moved = layer.apply(variables, X, mutable=["batch_stats"])
    _, moments = functional.batch_norm(X)
    mean = np.asarray(moved["batch_stats"]["mean"], np.float64)
    var = np.asarray(moved["batch_stats"]["var"], np.float64)
    assert_close(0.25 * moments.mean, mean, size=np.array(1.0))
    assert_close(0.75 + 0.25 * moments.var, var)
