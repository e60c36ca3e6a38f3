r"""How far running statistics are from those of some data.

A layer divides by :math:`\sqrt{\hat{v} + \epsilon}`, so a channel is a normal distribution with
mean :math:`\hat{\mu}` and variance :math:`\hat{v} + \epsilon` by its running statistics, and one
with :math:`\mu` and :math:`v + \epsilon` by the data. With

.. math:: z = \frac{\mu - \hat{\mu}}{\sqrt{\hat{v} + \epsilon}}, \qquad
    \rho = \ln \frac{v + \epsilon}{\hat{v} + \epsilon}

the normalized data has the mean z and the variance :math:`e^\rho` in evaluation mode, in place of
0 and 1, and the divergence of the two distributions is, in nats,

.. math:: \mathrm{KL} = \tfrac{1}{2} \left( e^\rho - 1 - \rho + z^2 \right)

All three are 0 where the statistics agree.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..nn import BatchNorm
from ..nn.normalization.pooled_moments import PooledMoments
from .layers import batch_norms
from .passes import Apply, Pass
from .plotting import draw
from .recalibration import recalibrated

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerDrift:
    r"""The drift of one batch norm: a number for each channel, as NumPy arrays of float64.

    Args:
        layer: The path of the layer in the model.
        count: How many elements of each channel were seen.
        mean_score: :math:`z`, the shift of the mean in running deviations.
        log_variance_ratio: :math:`\rho`, positive where the data spreads more.
        divergence: The divergence KL in nats.

    Example:
        >>> import jax, inox.nn as nn
        >>> model, state = nn.export_state([nn.BatchNorm(1, epsilon=0.0)])
        >>> apply = lambda model, state, x: model[0](x, state)[1]
        >>> found = drift(apply, model, state, [jax.numpy.array([[2.0], [4.0]])])
        >>> print(found.rows[0].layer, found.rows[0].mean_score)
        [0] [3.]
    """

    layer: str
    count: Array
    mean_score: Array
    log_variance_ratio: Array
    divergence: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Drift:
    """A row for each batch norm; `str` makes a table of it.

    Args:
        rows: The rows, in the order of the layers in the model.

    Example:
        >>> import jax, inox.nn as nn
        >>> model, state = nn.export_state([nn.BatchNorm(2, epsilon=0.0)])
        >>> apply = lambda model, state, x: model[0](x, state)[1]
        >>> print(drift(apply, model, state, [jax.numpy.array([[2.0, -1.0], [4.0, 1.0]])]))
                        z of the mean   log variance ratio    KL in nats
        layer channels   mean   worst      mean      worst    mean   worst  worst channel
        [0]          2  1.500  +3.000     0.000     +0.000   2.250   4.500              0
    """

    rows: tuple[LayerDrift, ...]

    def __str__(self) -> str:
        width = max([len("layer"), *(len(row.layer) for row in self.rows)])
        lines = [
            f"{'':{width}}          {'z of the mean':>15}  {'log variance ratio':>19}"
            f"  {'KL in nats':>12}",
            f"{'layer':{width}} channels {'mean':>6}  {'worst':>6}  {'mean':>8}  {'worst':>9}"
            f"  {'mean':>6}  {'worst':>6}  worst channel",
        ]
        for row in self.rows:
            z, ratio, divergence = row.mean_score, row.log_variance_ratio, row.divergence
            lines.append(
                f"{row.layer:{width}} {len(z):8} {_rounded(np.abs(z).mean()):>6}"
                f"  {_rounded(_worst(z), '+'):>6}  {_rounded(np.abs(ratio).mean()):>8}"
                f"  {_rounded(_worst(ratio), '+'):>9}  {_rounded(divergence.mean()):>6}"
                f"  {_rounded(divergence.max()):>6}  {int(np.argmax(divergence)):13}"
            )
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draws the three numbers of each channel, a line for each layer.

        Args:
            path: The file to write; its ending tells the format.

        Raises:
            ImportError: If matplotlib isn't installed.
        """
        draw(self.rows, path)


def drift(
    apply: Apply,
    model: Any,
    state: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    progress: bool = True,
    sequential: bool = False,
) -> Drift:
    r"""Compares the running statistics with those of a data set.

    .. math:: z = \frac{\mu - \hat{\mu}}{\sqrt{\hat{v} + \epsilon}}, \qquad
        \rho = \ln \frac{v + \epsilon}{\hat{v} + \epsilon}, \qquad
        \mathrm{KL} = \tfrac{1}{2} \left( e^\rho - 1 - \rho + z^2 \right)

    for each channel, where :math:`\mu, v` are what :func:`recalibrate` with the same arguments
    would replace the running :math:`\hat{\mu}, \hat{v}` by. So a batch norm's row tells of its own
    statistics, not of the ones before it: these normalize by the data. KL is the divergence, in
    nats, of the data's normal distribution from that of the running statistics.

    Args:
        apply: A function of model, state and one batch that calls the model and returns the state.
        model: Any PyTree that holds layers, exported with :func:`.export_state`.
        state: Its state. It is not changed.
        batches: The data, any iterable.
        progress: Whether a bar goes round the batches, as in :func:`recalibrate`.
        sequential: Whether there is one pass for each batch norm, as in :func:`recalibrate`.

    Returns:
        A row for each batch norm that isn't frozen and was called.

    Raises:
        TypeError: As :func:`recalibrate`.
        ValueError: As :func:`recalibrate`; but a layer that isn't called, as long as another one
            is, and statistics that are not finite or of one element are no errors here.

    Example:
        >>> import jax, inox.nn as nn
        >>> model, state = nn.export_state({"norm": nn.BatchNorm(1)})
        >>> apply = lambda model, state, x: model["norm"](x, state)[1]
        >>> far = drift(apply, model, state, [jax.numpy.array([[2.0], [4.0]])])
        >>> print(far.rows[0].layer, far.rows[0].mean_score.round(2))
        ['norm'] [3.]
    """
    run = Pass(apply, batches, progress, "measuring drift")
    _, pools = recalibrated(run, model, state, sequential, strict=False)
    rows = (
        _row(layer, state, pools[key]) for key, layer in batch_norms(model).items() if key in pools
    )
    return Drift(tuple(row for row in rows if (row.count > 0).any()))


def _row(layer: BatchNorm, state: Mapping[str, Any], pool: PooledMoments) -> LayerDrift:
    def wide(leaves: Iterable[Any]) -> list[Array]:
        return [np.asarray(leaf, np.float64) for leaf in leaves]

    old_mean, old_var = wide(layer.running_statistics(state))
    count, mean, var = wide(pool.moments)
    seen = count > 0
    epsilon = float(layer.epsilon)
    with np.errstate(all="ignore"):  # a variance of 0 with epsilon 0 is infinitely far away
        z = np.where(seen, (mean - old_mean) / np.sqrt(old_var + epsilon), 0)
        ratio = np.where(seen, np.log((var + epsilon) / (old_var + epsilon)), 0)
        divergence = (np.expm1(ratio) - ratio + z**2) / 2
    name = str(layer.stats).removesuffix(".stats") or "(the model)"
    return LayerDrift(name, count, z, ratio, divergence)


def _worst(values: Array) -> float:
    """The value that is furthest from 0, with its sign."""
    return float(values[np.argmax(np.abs(values))])


def _rounded(value: float, sign: str = "") -> str:
    """Three digits after the point, none for large numbers, a power of ten for extreme ones."""
    size = abs(value)
    if value == 0 or 1e-3 <= size < 100 or not np.isfinite(value):
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.0f}" if 100 <= size < 1e5 else f"{value:{sign}.0e}"
