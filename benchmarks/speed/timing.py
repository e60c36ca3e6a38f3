"""Round robin: every contestant once a round, and what is told of the rounds.

Other programs on the machine slow down whole stretches of time, so only figures of the same round
are compared: a ratio is the median over rounds of a ratio in a round.
"""

import gc
import statistics
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

PAUSE = 0.003  # threads of the one before, which wait in a loop for more work, go to sleep


class Timed(Protocol):
    """Something that says how long one call takes."""

    def seconds(self, calls: int = 1) -> float:
        """The time of one call, averaged over `calls`."""
        ...


class Spread(NamedTuple):
    """A median with its quartiles."""

    median: float
    low: float
    high: float


def round_robin(
    programs: Mapping[str, Timed],
    rounds: int,
    calls: int = 1,
    warm: bool = True,
) -> dict[str, list[float]]:
    """Seconds of each program in each round.

    The order is turned and, every other round, reversed, so that nobody always follows the same.
    With `warm`, a call that isn't counted comes before, so that everybody finds the caches as it
    leaves them itself; long programs do without.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    names = list(programs)
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds):
            start = turn % len(names)
            order = names[start:] + names[:start]
            for name in order[:: 1 if turn % 2 == 0 else -1]:
                time.sleep(PAUSE)
                if warm:
                    programs[name].seconds(1)
                seconds[name].append(programs[name].seconds(calls))
    finally:
        gc.enable()
    return seconds


def spread(values: Iterable[float]) -> Spread:
    """Median and quartiles."""
    ordered = list(values)
    if len(ordered) == 1:
        return Spread(ordered[0], ordered[0], ordered[0])
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(median, low, high)


def ratio(numerator: list[float], denominator: list[float]) -> Spread:
    """How many times longer the first takes, round by round."""
    return spread(a / b for a, b in zip(numerator, denominator, strict=True))


def fastest(seconds: Mapping[str, list[float]], names: Iterable[str]) -> str:
    """Whose median is least."""
    return min(names, key=lambda name: statistics.median(seconds[name]))


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios that treats a ratio and its inverse alike."""
    return statistics.geometric_mean(values)


def rounded(seconds: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """To four digits, for the file of results."""
    return {name: [float(f"{value:.4g}") for value in values] for name, values in seconds.items()}
