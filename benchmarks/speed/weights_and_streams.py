"""The parts about normalized weights and about streams: ours beside the bare formulas.

No other library of JAX offers either as a function. The bare formulas are what is written in their
place: exact where numbers are easy, without bounds, masks, weights or counts beyond float32.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inox import functional, streaming

from .programs import Program
from .timing import round_robin, rounded

if TYPE_CHECKING:
    from .sections import Run

Array = jax.Array
Record = dict[str, Any]
OURS, BARE = "ours", "textbook"
KERNELS = ((3, 3, 256, 256), (1024, 4096))
BATCHES = ((64, 17), (4096, 376))  # steps or environments, by the observation's length
EPSILON = 1e-5


class Pair(NamedTuple):
    """One computation twice, what it is differentiated by, and the state that comes first.

    Nothing is closed over: of a constant the compiler would compute what a caller's program must.
    """

    ours: Callable[..., Any]
    bare: Callable[..., Any]
    operands: tuple[Any, ...]
    state: Any = None
    bare_state: Any = None


def weight_pairs(shape: tuple[int, ...]) -> dict[str, Pair]:
    """The three functions of a kernel whose last axis is that of the output channels."""
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.standard_normal(shape, np.float32))
    gain = jnp.asarray(rng.uniform(0.5, 1.5, shape[-1]).astype(np.float32))
    others = tuple(range(len(shape) - 1))
    start = functional.spectral_state(w, steps=16)

    def bare_norm(_: None, v: Array, g: Array) -> Array:
        return g * v / jnp.sqrt(jnp.sum(v * v, others))

    def bare_standard(_: None, w: Array) -> Array:
        return (w - jnp.mean(w, others)) * jax.lax.rsqrt(jnp.var(w, others) + EPSILON)

    def spectral(state: Any, w: Array) -> Array:
        return functional.spectral_norm(w, state, steps=1)[0]

    def bare_spectral(state: Any, w: Array) -> Array:
        """One step of the power iteration, and the estimate, which are constants."""
        matrix = w.reshape(-1, shape[-1])
        left = jax.lax.stop_gradient(matrix @ state.outputs.ravel())
        left = left / jnp.linalg.norm(left)
        right = jax.lax.stop_gradient(matrix.T @ left)
        right = right / jnp.linalg.norm(right)
        return w / (left @ matrix @ right)

    return {
        "weight norm": Pair(lambda _, v, g: functional.weight_norm(v, g), bare_norm, (w, gain)),
        "spectral norm": Pair(spectral, bare_spectral, (w,), start, start),
        "standardized weights": Pair(
            lambda _, w: functional.weight_standardize(w, epsilon=EPSILON), bare_standard, (w,)
        ),
    }


def stream_pairs(shape: tuple[int, ...]) -> dict[str, Pair]:
    """A batch taken into a stream, and normalized by it."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    stream = streaming.update(streaming.init(jnp.zeros(shape[1:])), x)
    sums = (jnp.float32(len(x)), jnp.mean(x, 0), jnp.var(x, 0))

    def bare_update(sums: tuple[Array, Array, Array], x: Array) -> Any:
        count, mean, var = sums
        total = count + len(x)
        delta = jnp.mean(x, 0) - mean
        squares = count * var + len(x) * jnp.var(x, 0) + delta**2 * count * len(x) / total
        return total, mean + delta * len(x) / total, squares / total

    def bare_normalize(sums: tuple[Array, Array, Array], x: Array) -> Array:
        return (x - sums[1]) / jnp.sqrt(sums[2] + EPSILON)

    def normalize(stream: streaming.Stream, x: Array) -> Array:
        return streaming.normalize(stream, x, epsilon=EPSILON)

    return {
        "update": Pair(streaming.update, bare_update, (x,), stream, sums),
        "normalize": Pair(normalize, bare_normalize, (x,), stream, sums),
    }


def programs(pair: Pair, which: str, queued: bool) -> dict[str, Program]:
    """Ours and the bare formula, compiled: forward, or with the gradients of the operands."""

    def made(function: Callable[..., Any], state: Any) -> Program:
        @jax.jit
        def run(state: Any, *operands: Any) -> Any:
            if which == "forward":
                return function(state, *operands)
            y, pull = jax.vjp(lambda *operands: function(state, *operands), *operands)
            return y, pull(y)

        return Program(lambda: run(state, *pair.operands), queued=queued)

    return {OURS: made(pair.ours, pair.state), BARE: made(pair.bare, pair.bare_state)}


def _measured(
    run: "Run",
    pairs_of: Callable[[tuple[int, ...]], dict[str, Pair]],
    shapes: tuple[tuple[int, ...], ...],
    passes: tuple[str, ...],
) -> list[Record]:
    records = []
    for shape in shapes[:1] if run.quick else shapes:
        for name, pair in pairs_of(shape).items():
            for which in passes:
                run.say(f"{name} {shape}, {which}")
                found = programs(pair, which, run.queued)
                seconds = rounded(round_robin(found, run.rounds(16), run.calls))
                records.append({"what": name, "shape": shape, "pass": which, "seconds": seconds})
    return records


def weights(run: "Run") -> list[Record]:
    """Functions of a kernel, and their gradients."""
    return _measured(run, weight_pairs, KERNELS, ("forward", "both"))


def streams(run: "Run") -> list[Record]:
    """Streams of observations, which nothing is differentiated through."""
    return _measured(run, stream_pairs, BATCHES, ("forward",))
