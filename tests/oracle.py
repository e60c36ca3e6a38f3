"""Normalization in float64 NumPy, written from the formulas.

Everything is told one slice at a time. A slice is a vector of flat positions of `x`: the ones that
share a mean and a variance. Masked positions are left out of the vector, as in a ragged batch, so
there is no arithmetic with masks here at all. The gradient is the chain rule of Ioffe and Szegedy
(2015), through the variance and the mean, and not the projection that the library derives.

Every function also takes complex numbers, and is analytic in them. `directional` uses that: the
imaginary part of f(x + i h v) / h is the derivative along v with no cancellation, for h as small as
1e-30. It checks the gradients below, and gives second derivatives from first ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]
# By name of the array: the terms whose sum is its gradient, in the shape of x, and their sizes.
Terms = tuple[Arrays, Arrays]


def slices(shape: Sequence[int], axis: int | Sequence[int], groups: int = 1) -> np.ndarray:
    """Flat positions of every slice, in the shape (kept axes..., groups, elements).

    The last axis is split in `groups`; with `groups` = 1 it need not be among `axis`.
    """
    axes = [a % len(shape) for a in ([axis] if isinstance(axis, int) else axis)]
    positions = np.arange(math.prod(shape)).reshape(shape)
    if groups > 1:
        positions = positions.reshape(*shape[:-1], groups, shape[-1] // groups)
        axes = [a if a < len(shape) - 1 else len(shape) for a in axes]
    kept = [a for a in range(positions.ndim) if a not in axes]
    elements = math.prod(positions.shape[a] for a in axes)
    return positions.transpose(*kept, *axes).reshape(*(positions.shape[a] for a in kept), elements)


def reduce_to(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The transpose of broadcasting: the sum over what broadcasting to `array.shape` repeated."""
    lead = array.ndim - len(shape)
    array = array.sum(tuple(range(lead)))
    repeated = tuple(a for a, n in enumerate(shape) if n == 1 and array.shape[a] != 1)
    return array.sum(repeated, keepdims=True)


def full(arrays: Arrays, name: str, default: float) -> np.ndarray:
    """A parameter, broadcast to `x` from the right."""
    return np.broadcast_to(arrays.get(name, np.float64(default)), arrays["x"].shape)


@dataclass(frozen=True)
class Normalization:
    """Computes y = (x - mean) / sqrt(var + epsilon) * scale + bias over the given slices.

    `positions` has the shape (slices..., elements), and 'count', 'mean' and 'var' have (slices...).
    Without an 'epsilon' among the arrays there is no y: only moments are asked for.
    Without `centred` the mean is taken as 0, so 'var' is the mean square (RMS norm).
    """

    positions: np.ndarray
    centred: bool = True

    def _selected(self, arrays: Arrays, where: np.ndarray | None):
        """Index of every slice with its unmasked positions."""
        keep = (
            np.ones(arrays["x"].shape, bool)
            if where is None
            else np.broadcast_to(where, arrays["x"].shape)
        )
        for index in np.ndindex(self.positions.shape[:-1]):
            p = self.positions[index]
            yield index, p[keep.reshape(-1)[p]]

    def evaluate(self, arrays: Arrays, where: np.ndarray | None = None) -> Arrays:
        x = arrays["x"]
        epsilon = arrays.get("epsilon", np.float64(0))
        dtype = np.result_type(np.float64, *arrays.values())
        scale, bias = full(arrays, "scale", 1).reshape(-1), full(arrays, "bias", 0).reshape(-1)
        y = np.zeros(x.size, dtype)
        count, mean, var = (np.zeros(self.positions.shape[:-1], dtype) for _ in range(3))
        for index, p in self._selected(arrays, where):
            if p.size == 0:
                continue
            values = x.reshape(-1)[p]
            count[index] = p.size
            mean[index] = values.sum() / p.size if self.centred else 0
            deviation = values - mean[index]
            var[index] = (deviation * deviation).sum() / p.size
            if "epsilon" in arrays:
                y[p] = deviation / np.sqrt(var[index] + epsilon) * scale[p] + bias[p]
        return {"y": y.reshape(x.shape), "count": count, "mean": mean, "var": var}

    def terms(self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None) -> Terms:
        x = arrays["x"]
        epsilon = arrays.get("epsilon", np.float64(0))
        dtype = np.result_type(np.float64, *arrays.values(), *cotangents.values())
        scale = full(arrays, "scale", 1).reshape(-1)
        dy = cotangents.get("y", np.zeros(x.shape)).reshape(-1)
        zeros = np.zeros(self.positions.shape[:-1])
        dx, dscale, dbias, depsilon = (np.zeros(x.size, dtype) for _ in range(4))
        size = np.zeros(x.size)
        for index, p in self._selected(arrays, where):
            if p.size == 0:
                continue
            values = x.reshape(-1)[p]
            mean = values.sum() / p.size if self.centred else 0
            deviation = values - mean
            var = (deviation * deviation).sum() / p.size
            dvar = np.asarray(cotangents.get("var", zeros), dtype)[index]
            dmean = np.asarray(cotangents.get("mean", zeros), dtype)[index]
            direct = np.zeros(p.size, dtype)
            if "y" in cotangents:
                dhat = dy[p] * scale[p]
                root = np.sqrt(var + epsilon)
                direct = dhat / root
                depsilon[p] = -dhat * deviation / (2 * root * root * root)
                dvar = dvar + depsilon[p].sum()
                dmean = dmean - direct.sum()
                dscale[p] = dy[p] * deviation / root
                dbias[p] = dy[p]
            # var depends on the mean by -2 sum(deviation) / n, which is zero.
            through_var = dvar * 2 * deviation / p.size
            through_mean = dmean / p.size if self.centred else 0
            dx[p] = direct + through_var + through_mean
            size[p] = np.abs(direct) + np.abs(through_var) + np.abs(through_mean)
        dense = {"x": dx, "scale": dscale, "bias": dbias, "epsilon": depsilon}
        sizes = {name: np.abs(array) for name, array in dense.items()} | {"x": size}
        return dense, sizes

    def pullback(
        self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None
    ) -> Arrays:
        """The gradient of sum(cotangent * result) over 'y', 'mean' and 'var', by array."""
        return collect(arrays, self.terms(arrays, cotangents, where)[0])

    def sizes(self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None) -> Arrays:
        """The same sums over absolute values of their terms: what rounding errors scale with."""
        return collect(arrays, self.terms(arrays, cotangents, where)[1])


@dataclass(frozen=True)
class OffsetScale(Normalization):
    """The same formula with scale + 1 for the scale: the derivatives are those at scale + 1."""

    def evaluate(self, arrays: Arrays, where: np.ndarray | None = None) -> Arrays:
        return super().evaluate(arrays | {"scale": arrays["scale"] + 1}, where)

    def terms(self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None) -> Terms:
        return super().terms(arrays | {"scale": arrays["scale"] + 1}, cotangents, where)


@dataclass(frozen=True)
class ResidualSum:
    """`norm` of r = residual + gate * x, with r beside it."""

    norm: Normalization

    def _inner(self, arrays: Arrays, where: np.ndarray | None) -> tuple[Arrays, np.ndarray]:
        x, keep = clear(arrays["x"], where)
        r = np.where(keep, arrays["residual"] + full(arrays, "gate", 1) * x, 0)
        rest = {name: array for name, array in arrays.items() if name not in ("residual", "gate")}
        return rest | {"x": r}, x

    def evaluate(self, arrays: Arrays, where: np.ndarray | None = None) -> Arrays:
        inner, _ = self._inner(arrays, where)
        return self.norm.evaluate(inner, where) | {"r": inner["x"]}

    def terms(self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None) -> Terms:
        inner, x = self._inner(arrays, where)
        dense, sizes = self.norm.terms(inner, {"y": cotangents["y"]}, where)
        dr, _ = clear(cotangents["r"], where)
        gate = full(arrays, "gate", 1)
        total = dense.pop("x").reshape(x.shape) + dr
        size = sizes.pop("x").reshape(x.shape) + np.abs(dr)
        return (
            dense | {"residual": total, "x": gate * total, "gate": x * total},
            sizes | {"residual": size, "x": abs(gate) * size, "gate": abs(x) * size},
        )

    pullback = Normalization.pullback
    sizes = Normalization.sizes


@dataclass(frozen=True)
class Weighted(Normalization):
    """The same formula with weighted means, whose weights are among the arrays.

    An element of weight 0 is normalized as all others are. 'count' is the sum of the weights.
    """

    def evaluate(self, arrays: Arrays, where: np.ndarray | None = None) -> Arrays:
        x, weights = arrays["x"], full(arrays, "weights", 1).reshape(-1)
        epsilon = arrays.get("epsilon", np.float64(0))
        dtype = np.result_type(np.float64, *arrays.values())
        scale, bias = full(arrays, "scale", 1).reshape(-1), full(arrays, "bias", 0).reshape(-1)
        y = np.zeros(x.size, dtype)
        count, mean, var = (np.zeros(self.positions.shape[:-1], dtype) for _ in range(3))
        for index, p in self._selected(arrays, where):
            if p.size == 0 or weights[p].sum() == 0:
                continue
            values, w = x.reshape(-1)[p], weights[p]
            count[index] = w.sum()
            mean[index] = (w * values).sum() / w.sum()
            deviation = values - mean[index]
            var[index] = (w * deviation * deviation).sum() / w.sum()
            y[p] = deviation / np.sqrt(var[index] + epsilon) * scale[p] + bias[p]
        return {"y": y.reshape(x.shape), "count": count, "mean": mean, "var": var}

    def terms(self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None) -> Terms:
        x, weights = arrays["x"], full(arrays, "weights", 1).reshape(-1)
        epsilon = arrays.get("epsilon", np.float64(0))
        dtype = np.result_type(np.float64, *arrays.values(), *cotangents.values())
        scale = full(arrays, "scale", 1).reshape(-1)
        dy = cotangents.get("y", np.zeros(x.shape)).reshape(-1)
        zeros = np.zeros(self.positions.shape[:-1])
        names = ("x", "scale", "bias", "epsilon", "weights")
        dense = {name: np.zeros(x.size, dtype) for name in names}
        sizes = {name: np.zeros(x.size) for name in ("x", "weights")}
        for index, p in self._selected(arrays, where):
            if p.size == 0 or weights[p].sum() == 0:
                continue
            values, w = x.reshape(-1)[p], weights[p]
            n = w.sum()
            deviation = values - (w * values).sum() / n
            var = (w * deviation * deviation).sum() / n
            root = np.sqrt(var + epsilon)
            direct = dy[p] * scale[p] / root
            dense["epsilon"][p] = -direct * deviation / (2 * root * root)
            dense["scale"][p] = dy[p] * deviation / root
            dense["bias"][p] = dy[p]
            dvar = np.asarray(cotangents.get("var", zeros), dtype)[index]
            dvar = dvar + dense["epsilon"][p].sum()
            dmean = np.asarray(cotangents.get("mean", zeros), dtype)[index] - direct.sum()
            # var depends on the mean by -2 sum(w deviation) / n, which is zero.
            of_x = direct, dvar * 2 * w * deviation / n, dmean * w / n
            of_weights = dvar * deviation * deviation / n, -dvar * var / n, dmean * deviation / n
            for name, terms in (("x", of_x), ("weights", of_weights)):
                dense[name][p] = sum(terms)
                sizes[name][p] = sum(map(np.abs, terms))
        return dense, {name: np.abs(array) for name, array in dense.items()} | sizes


@dataclass(frozen=True)
class FixedStatistics:
    """The same formula with a mean and a variance that are handed in."""

    def evaluate(self, arrays: Arrays, where: np.ndarray | None = None) -> Arrays:
        x, keep = clear(arrays["x"], where)
        hat = (x - full(arrays, "mean", 0)) / np.sqrt(full(arrays, "var", 1) + arrays["epsilon"])
        y = np.where(keep, hat * full(arrays, "scale", 1) + full(arrays, "bias", 0), 0)
        return {"y": y}

    def terms(self, arrays: Arrays, cotangents: Arrays, where: np.ndarray | None = None) -> Terms:
        x, keep = clear(arrays["x"], where)
        root = np.sqrt(full(arrays, "var", 1) + arrays["epsilon"])
        deviation = x - full(arrays, "mean", 0)
        dy = np.where(keep, cotangents["y"], 0)
        dx = dy * full(arrays, "scale", 1) / root
        dvar = -dx * deviation / (2 * root * root)
        dense = {"x": dx, "mean": -dx, "var": dvar, "epsilon": dvar}
        dense |= {"scale": dy * deviation / root, "bias": dy}
        return dense, {name: np.abs(array) for name, array in dense.items()}

    pullback = Normalization.pullback
    sizes = Normalization.sizes


def clear(x: np.ndarray, where: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """`x` with the masked positions at 0, and the mask in full."""
    keep = np.broadcast_to(True if where is None else where, x.shape)
    return np.where(keep, x, 0), keep


def collect(arrays: Arrays, dense: Arrays) -> Arrays:
    """For each of the arrays, the sum of the dense terms over what its broadcasting repeated."""
    shape = arrays["x"].shape
    return {
        name: reduce_to(dense[name].reshape(shape), array.shape) for name, array in arrays.items()
    }


def directional(function: Callable[[Arrays], Arrays], arrays: Arrays, tangents: Arrays) -> Arrays:
    """The derivative of `function` along `tangents`, by a complex step: exact to rounding."""
    h = 1e-30
    moved = {
        name: array + 1j * h * tangents[name] if name in tangents else array
        for name, array in arrays.items()
    }
    return {name: value.imag / h for name, value in function(moved).items()}


def as_float64(arrays: dict) -> Arrays:
    """Exact conversion from any narrower dtype."""
    return {name: np.asarray(array).astype(np.float64) for name, array in arrays.items()}
