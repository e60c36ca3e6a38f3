"""What is asked of the speed, and what was measured."""

import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .cells import TIMES
from .contestants import JAX_PEERS
from .timing import fastest, geometric_mean, ratio

Results = dict[str, Any]
# Which contestant the bars are about, and which order of torch's memory: that of our data.
OURS, TORCH = "ours", "torch"


class Bar(NamedTuple):
    """A demand: `measured` (None where it wasn't) is to be at least, or at most, `limit`."""

    text: str
    limit: float | None
    measured: float | None
    at_least: bool
    unit: str = TIMES

    @property
    def met(self) -> bool | None:
        """Whether it is met; None where nothing is asked, or was measured."""
        if self.measured is None or self.limit is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def cell_ratios(
    records: Iterable[dict[str, Any]],
    which: str,
    against: tuple[str, ...],
    dtype: str | None = None,
    ours: str = OURS,
) -> list[float]:
    """In each cell, the time of the fastest of some others over ours: a median over rounds."""
    found = []
    for record in records:
        seconds = record["seconds"]
        others = [name for name in against if name in seconds]
        if record["pass"] != which or ours not in seconds or not others:
            continue
        if dtype is not None and record["cell"]["dtype"] != dtype:
            continue
        found.append(ratio(seconds[fastest(seconds, others)], seconds[ours]).median)
    return found


def _of(values: list[float], summary: Callable[[list[float]], float]) -> float | None:
    return summary(values) if values else None


def _over(seconds: dict[str, list[float]], above: str, below: str) -> float | None:
    if above in seconds and below in seconds:
        return ratio(seconds[above], seconds[below]).median
    return None


def bars(results: Results) -> list[Bar]:
    """Every demand with what was measured."""
    parts = results["sections"]
    grid, plain = parts.get("grid", []), parts.get("plain", [])
    networks = {record["network"]: record for record in parts.get("networks", [])}
    wall = networks.get("transformer", {}).get("seconds", {})
    cpu = networks.get("convolutional", {}).get("cpu_seconds", {})
    outside = {
        (record["what"], record.get("kind")): record["seconds"]
        for record in parts.get("outside", [])
    }
    small = parts.get("dispatch", [{}])[0].get("seconds", {})
    imports = parts.get("import", [{}])[0].get("seconds", [])

    both = cell_ratios(grid, "both", JAX_PEERS)
    reference = cell_ratios(plain, "both", ("reference",))
    torch = cell_ratios(grid, "both", (TORCH,))
    either = cell_ratios(grid, "both", (TORCH, "torch_first"))
    forward = cell_ratios(grid, "forward", JAX_PEERS)
    floors = [1 / value for value in cell_ratios(grid, "both", ("floor",), "float32")]

    passes = "forward + backward"
    peers = "the fastest of flax, equinox and haiku in each cell"
    milliseconds = [1e3 * value for value in imports]
    return [
        *_faster(f"{passes}, faster than {peers}", both, 3, 1),
        *_faster(
            f"{passes}, faster than the inox distribution, neither with scale and bias",
            reference,
            2,
        ),
        *_faster(f"{passes}, faster than torch eager", torch, 1.2, 0.85),
        *_faster("for comparison, torch in the faster of its orders of memory", either),
        *_faster(f"forward, faster than {peers}", forward, 1.3, 0.9),
        *_with_avx2(results, passes, peers),
        _at_most(
            f"{passes}, float32, against the floor: geometric mean",
            1.3,
            _of(floors, geometric_mean),
        ),
        _at_most("one jitted (8, 64) layer norm against `x + 1`", 1.4, _over(small, OURS, "floor")),
        _at_most(
            "transformer's training step against the same without norm",
            1.03,
            _over(wall, OURS, "none"),
        ),
        Bar("the same, faster than with flax's layer norm", 1.1, _over(wall, "flax", OURS), True),
        _at_most(
            "convolutional net's training step, CPU time, against the same without norm",
            1.08,
            _over(cpu, OURS, "none"),
        ),
        *_outside(outside),
        _at_most(
            "import of `inox` beyond `import jax`", 60, _of(milliseconds, statistics.median), "ms"
        ),
    ]


def _with_avx2(results: Results, passes: str, peers: str) -> list[Bar]:
    """Demands on the kernels of processors without AVX-512, where they were measured.

    The peers keep what the processor has.
    """
    grid = results["sections"].get("grid", [])
    ours = OURS if results["machine"].get("instruction_set") == "avx2" else "ours_avx2"

    def of(which: str, against: tuple[str, ...]) -> list[float]:
        return cell_ratios(grid, which, against, ours=ours)

    both, torch, forward = of("both", JAX_PEERS), of("both", (TORCH,)), of("forward", JAX_PEERS)
    if not both:
        return []
    with_avx2 = "our kernels with AVX2"
    return [
        *_faster(f"{with_avx2}, {passes}, faster than {peers}", both, 2.5, 1),
        *_faster(f"{with_avx2}, {passes}, faster than torch eager", torch, 1.3, 0.85),
        *_faster(f"{with_avx2}, forward, faster than those peers", forward, 1.3, 0.9),
    ]


def _outside(seconds: dict[Any, dict[str, list[float]]]) -> list[Bar]:
    """Demands on what happens outside of compiled code."""

    def bar(text: str, limit: float, of: tuple[str, str | None], below: str) -> Bar:
        return _at_most(text, limit, _over(seconds.get(of, {}), OURS, below))

    formula, equinox = "that of the textbook formula", "equinox"
    return [
        bar("flatten of 100 layer norms against equinox's", 2, ("flatten", "layer"), equinox),
        bar("unflatten of the same", 2, ("unflatten", "layer"), equinox),
        bar("flatten of 100 batch norms against equinox's", 4, ("flatten", "batch"), equinox),
        bar("unflatten of the same", 4, ("unflatten", "batch"), equinox),
        bar(
            "a compiled call with 100 layer norms, unused, against equinox's",
            1.2,
            ("call", "layer"),
            equinox,
        ),
        bar(f"one eager (8, 64) layer norm against {formula}", 1, ("eager", None), "textbook"),
        bar(
            f"trace and lower the gradient of 20 layer norms against {formula}",
            1.2,
            ("lower", None),
            "textbook",
        ),
    ]


def _faster(
    text: str, values: list[float], mean: float | None = None, least: float | None = None
) -> list[Bar]:
    """Demands on how many times faster ours is: on the mean over cells, and on every cell."""
    found = [Bar(f"{text}: geometric mean", mean, _of(values, geometric_mean), True)]
    if least is not None:
        found.append(Bar("the same: slowest cell", least, _of(values, min), True))
    return found


def _at_most(text: str, limit: float, measured: float | None, unit: str = TIMES) -> Bar:
    return Bar(text, limit, measured, False, unit)
