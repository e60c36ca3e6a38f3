"""Every layer over every arrangement of axes, told as functions of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import inox.functional
from inox.kernels.cpu.library import library
from inox.kernels.expansion import expand
from tests.accuracy.oracle import Exact, Slices, normalized
from tests.accuracy.tree_sums import with_tree_sums

# Platforms whose programs of XLA's own operations are carried out here, by what tests call them.
PROGRAMS_OF = {"cuda": "cuda", "tpu programs": "tpu"}
# (x, scale, bias, epsilon, implementation) -> y
Call = Callable[[Any, Any, Any, Any, str], Any]


@dataclass(frozen=True)
class Layout:
    """A layer, the shape of its input and the slices that it normalizes.

    `parameters` is the shape of scale and bias where it isn't the channels: per sample, say.
    `by_xla` are the results that XLA finishes, whatever the implementation: an elementwise part, or
    sums over a kept dimension that stands between the reduced ones.
    """

    name: str
    slices: Slices
    call: Call
    centred: bool = True
    parameters: tuple[int, ...] = ()
    by_xla: tuple[str, ...] = ()

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """The shape of scale and bias."""
        return self.parameters or self.slices.shape[-1:]

    def program(self, implementation: str) -> Callable[..., dict[str, jax.Array]]:
        """(x, dy, scale, bias, epsilon) -> every result, in one function to compile.

        For one of `PROGRAMS_OF` it is what XLA is given there, carried out here with sums in lanes.
        """
        if platform := PROGRAMS_OF.get(implementation):
            return with_tree_sums(expand(self.program("xla"), platform=platform))

        def run(x: Any, dy: Any, scale: Any, bias: Any, epsilon: Any) -> dict[str, jax.Array]:
            y, pull = jax.vjp(lambda *a: self.call(*a, epsilon, implementation), x, scale, bias)
            dx, dscale, dbias = pull(dy)
            results = {"y": y, "dx": dx, "dscale": dscale}
            if self.centred:
                view = jnp.reshape(x, self.slices.view)
                moments = inox.functional.moments(
                    view, self.slices.view_axis, implementation=implementation
                )
                results |= {"dbias": dbias, "mean": moments.mean, "var": moments.var}
            return results

        return run

    def exact(self, x: Any, dy: Any, scale: Any, bias: Any, epsilon: Any) -> Exact:
        """The same results in extended precision."""
        if not self.centred:
            bias = np.zeros_like(bias)
        return normalized(self.slices, x, dy, scale, bias, epsilon, centred=self.centred)


def layer(name: str, shape: tuple[int, ...], axis: tuple[int, ...], **settings: Any) -> Layout:
    """Layer norm."""

    def call(x: Any, scale: Any, bias: Any, epsilon: Any, implementation: str) -> Any:
        return inox.functional.layer_norm(
            x, scale, bias, axis=axis, epsilon=epsilon, implementation=implementation
        )

    return Layout(name, Slices(shape, axis), call, **settings)


def rms(name: str, shape: tuple[int, ...], axis: tuple[int, ...], **settings: Any) -> Layout:
    """RMS norm."""

    def call(x: Any, scale: Any, bias: Any, epsilon: Any, implementation: str) -> Any:
        return inox.functional.rms_norm(
            x, scale, axis=axis, epsilon=epsilon, implementation=implementation
        )

    return Layout(name, Slices(shape, axis), call, centred=False, **settings)


def group(
    name: str, shape: tuple[int, ...], groups: int, axis: tuple[int, ...], centred: bool = True
) -> Layout:
    """Group norm; RMS norm of groups where nothing is centred."""

    def call(x: Any, scale: Any, bias: Any, epsilon: Any, implementation: str) -> Any:
        return inox.functional.group_norm(
            x,
            groups,
            scale,
            bias if centred else None,
            axis=axis,
            center=centred,
            epsilon=epsilon,
            implementation=implementation,
        )

    return Layout(name, Slices(shape, axis, groups), call, centred)


def batch(name: str, shape: tuple[int, ...]) -> Layout:
    """Batch norm with the statistics of the batch."""

    def call(x: Any, scale: Any, bias: Any, epsilon: Any, implementation: str) -> Any:
        y, _ = inox.functional.batch_norm(
            x, scale, bias, epsilon=epsilon, implementation=implementation
        )
        return y

    return Layout(name, Slices(shape, tuple(range(len(shape) - 1))), call, by_xla=("y", "dx"))


# Those that are there: the kernels may be switched off, or left out of an installation.
IMPLEMENTATIONS = ("xla", "cpu") if library().available else ("xla",)

# Sizes that are no powers of two, but for one that is.
LAYOUTS = {
    layout.name: layout
    for layout in (
        layer("layer, rows", (48, 100), (-1,)),
        layer("layer, wide rows", (6, 3000), (-1,)),
        layer("layer, first axis", (90, 36), (0,)),
        layer("layer, middle axis", (6, 90, 12), (1,)),
        layer("layer, kept axis between", (11, 12, 24), (0, 2), by_xla=("dscale", "dbias")),
        layer(
            "layer, unsorted and negative",
            (6, 12, 7, 9),
            (-1, -3),
            by_xla=("dscale", "dbias"),
        ),
        layer(
            "layer, everything, scale per sample",
            (12, 7, 9),
            (2, 0, 1),
            parameters=(12, 1, 9),
            by_xla=("dscale", "dbias"),
        ),
        rms("rms, rows", (48, 100), (-1,)),
        rms("rms, kept axis between", (11, 12, 24), (-3, -1), by_xla=("dscale",)),
        group("group, per position", (6, 20, 40), 5, (-1,)),
        group("group, over the image", (4, 6, 7, 24), 4, (-3, -2, -1)),
        group("group RMS, per position", (6, 20, 40), 5, (-1,), centred=False),
        layer("instance", (3, 16, 16, 12), (-3, -2)),
        batch("batch, table", (90, 36)),
        batch("batch, images", (4, 9, 8, 12)),
    )
}

LONG = {
    layout.name: layout
    for layout in (
        layer("layer, a thousand rows", (1000, 768), (-1,)),
        batch("batch, thousands of samples", (4096, 64)),
        layer("layer, rows of a million", (1, 1_000_000), (-1,)),
        rms("rms, rows of a million", (1, 1_000_000), (-1,)),
        batch("batch, a million samples", (1_000_000, 1)),
        group("group, a slice of a million", (1, 500, 500, 4), 1, (-3, -2, -1)),
    )
}
