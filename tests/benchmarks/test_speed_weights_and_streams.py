"""Functions of weights and streams in the speed benchmark: what is timed computes the same."""

import jax
import numpy as np
import pytest

from benchmarks.speed import tables, weights_and_streams
from inox import streaming

pytestmark = pytest.mark.usefixtures("standard_promotion")
PAIRS = {
    **weights_and_streams.weight_pairs((3, 3, 5, 8)),
    **weights_and_streams.stream_pairs((16, 3)),
}


def numbers(result):
    """The arrays of a result; of a stream the count, the mean and the variance."""
    if isinstance(result, streaming.Stream):
        result = result.count[0], result.mean, result.var
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(result)]


@pytest.mark.parametrize("name", PAIRS)
def test_both_compute_the_same(name):
    """On easy numbers the bare formula is right, too, and so are its gradients."""
    pair = PAIRS[name]
    ours = numbers(pair.ours(pair.state, *pair.operands))
    bare = numbers(pair.bare(pair.bare_state, *pair.operands))
    for found, expected in zip(ours, bare, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    if name in ("update", "normalize"):
        return
    weight = np.random.default_rng(1).standard_normal(pair.operands[0].shape).astype(np.float32)
    gradients = [
        jax.grad(lambda *operands, f=f, s=s: (weight * f(s, *operands)).sum())(*pair.operands)
        for f, s in ((pair.ours, pair.state), (pair.bare, pair.bare_state))
    ]
    np.testing.assert_allclose(*gradients, rtol=2e-4, atol=2e-5)


def test_the_tables_tell_ratios_to_the_bare_formula():
    """Microseconds of the bare formula, and ours over it."""
    programs = weights_and_streams.programs(PAIRS["update"], "forward", queued=False)
    seconds = {name: [program.seconds()] for name, program in programs.items()}
    record = {"what": "update", "shape": (16, 3), "pass": "forward", "seconds": seconds}
    results = {"versions": {}, "sections": {"streams": [record]}}
    (table,) = tables.beside_formulas(results)
    assert table.head == ["", "textbook formula, µs", "ours"]
    assert table.rows[0][0].startswith("update, 16")
    ratio = seconds["ours"][0] / seconds["textbook"][0]
    assert float(table.rows[0][2].split()[0]) == pytest.approx(ratio, rel=1e-2, abs=1e-2)
