"""The time of a layer beside that of the textbook's formula and of a copy."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .layers import Layer, both, textbook

Array = jax.Array


class Speed(NamedTuple):
    """Seconds of one call: ours, the textbook's, and a copy that reads and writes as much."""

    ours: float
    textbook: float
    copy: float


def size_for(platform: str, quick: bool) -> int:
    """How many elements x has: more than caches hold, few enough for the time there is."""
    if platform == "cpu":
        return 2**19 if quick else 2**21
    return 2**22 if quick else 2**25


def _random(layer: Layer, dtype: str, elements: int) -> tuple[Array, ...]:
    """dy, x, scale and bias, made on the device."""
    kind, channels = jnp.dtype(dtype), layer.example[-1:]
    shape = layer.shape(max(2, elements // math.prod(layer.example)))

    def make(seed: int) -> tuple[Array, ...]:
        keys = jax.random.split(jax.random.key(seed), 4)
        x, dy = (jax.random.normal(key, shape, jnp.float32).astype(kind) for key in keys[:2])
        scale, bias = (jax.random.normal(key, channels, jnp.float32) for key in keys[2:])
        return dy, x, 1 + scale / 8, bias

    return jax.jit(make, static_argnums=0)(0)


def seconds(calls: Mapping[str, Callable[[], Any]], rounds: int, least: float) -> dict[str, float]:
    """The median time of each call, taken in turn so that a slow moment hits all alike.

    A measurement takes several calls, `least` seconds of them: handing one over, and waiting for
    it, takes longer than a small one itself on a device that works by itself.
    """
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        jax.block_until_ready(call())
        start = time.perf_counter()
        jax.block_until_ready(call())
        once = max(time.perf_counter() - start, 1e-7)
        repeats[name] = min(20, max(1, math.ceil(least / once)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            results = None
            for _ in range(repeats[name]):
                results = call()
            jax.block_until_ready(results)
            taken[name].append((time.perf_counter() - start) / repeats[name])
    return {name: statistics.median(times) for name, times in taken.items()}


def speed(layer: Layer, dtype: str, implementation: str | None, quick: bool) -> tuple[Speed, Speed]:
    """Forward alone, and forward and backward together."""
    platform = jax.devices()[0].platform
    dy, x, scale, bias = _random(layer, dtype, size_for(platform, quick))
    epsilon = jnp.float32(1e-5)
    one = jnp.asarray(1, x.dtype)
    forward: dict[str, Callable[[], Any]] = {}
    backward: dict[str, Callable[[], Any]] = {}
    for name, call in (("ours", layer.call), ("textbook", textbook(layer))):
        alone = jax.jit(lambda *a, call=call: call(*a, implementation))
        together = jax.jit(both(call, implementation))
        forward[name] = lambda run=alone: run(x, scale, bias, epsilon)
        backward[name] = lambda run=together: run(dy, x, scale, bias, epsilon)
    copy, copies = jax.jit(lambda x: x + one), jax.jit(lambda dy, x: (x + one, x + dy))
    forward["copy"], backward["copy"] = lambda: copy(x), lambda: copies(dy, x)
    rounds, least = (5, 2e-3) if quick else (15, 5e-3)
    return Speed(**seconds(forward, rounds, least)), Speed(**seconds(backward, rounds, least))
