"""A norm with its neighbours: what a compiler gains by fusing them, a kernel must make up for."""

from collections.abc import Callable
from typing import Any, NamedTuple

from .cells import GROUPED, IMAGES, Cell

Norm = Callable[..., Any]


class Neighbours(NamedTuple):
    """The elementwise functions of a framework."""

    gelu: Callable[[Any], Any]
    relu: Callable[[Any], Any]


class Chain(NamedTuple):
    """`build` gives a function of x, of the residual if there is one, and of the parameters."""

    title: str
    cell: Cell
    build: Callable[[Norm, Neighbours], Callable[..., Any]]
    with_residual: bool


def norm_gelu(norm: Norm, of: Neighbours) -> Callable[..., Any]:
    """gelu(norm(x)), gelu in its form with tanh."""
    return lambda x, *parameters: of.gelu(norm(x, *parameters))


def residual_norm(norm: Norm, of: Neighbours) -> Callable[..., Any]:
    """h = x + residual and norm(h): the one goes on, the other enters the next block."""

    def chain(x: Any, residual: Any, *parameters: Any) -> Any:
        h = x + residual
        return h, norm(h, *parameters)

    return chain


def norm_relu_residual(norm: Norm, of: Neighbours) -> Callable[..., Any]:
    """relu(norm(x)) + residual."""
    return lambda x, residual, *parameters: of.relu(norm(x, *parameters)) + residual


def chains(dtype: str) -> tuple[Chain, ...]:
    """The chains in a dtype."""
    rows = Cell("layer", (8192, 768), dtype)
    return (
        Chain("norm → gelu", rows, norm_gelu, False),
        Chain("residual → norm", rows, residual_norm, True),
        Chain("norm → relu → residual", Cell("batch", IMAGES, dtype), norm_relu_residual, True),
        Chain("norm → relu → residual", Cell("group", GROUPED, dtype), norm_relu_residual, True),
    )


def neighbours(backend: str) -> Neighbours:
    """Those of JAX or of PyTorch."""
    if backend == "torch":
        from torch.nn import functional as f

        return Neighbours(lambda x: f.gelu(x, approximate="tanh"), f.relu)
    import jax

    return Neighbours(jax.nn.gelu, jax.nn.relu)


def identity(x: Any, *parameters: Any) -> Any:
    """No norm: the limit of what a chain or a network can reach."""
    return x
