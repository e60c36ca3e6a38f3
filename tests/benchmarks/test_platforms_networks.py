"""What a norm adds between two matrix products: the programs, the difference, the table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.platforms import command, contestants, networks, tables
from benchmarks.platforms.devices import CPU
from benchmarks.speed.cells import Cell
from benchmarks.speed.contestants import CONTESTANTS
from tests.conftest import import_peer

pytestmark = pytest.mark.usefixtures("standard_promotion")
CELL = Cell("batch", (4, 6, 6, 16), "float32")


@pytest.mark.parametrize("name", ["flax", "equinox"])
@pytest.mark.parametrize("which", ["forward", "step"])
def test_everybody_is_asked_for_the_same(name, which, rng):
    """The product of the norm of a product, and its gradients, wherever the channels stand."""
    import_peer(name)

    def results(of):
        contestant = CONTESTANTS[of]
        first = contestant.channels_first(CELL)
        run = jax.jit(networks.program(contestant.norm(CELL), which, first))
        given = jnp.moveaxis(x, -1, 1) if first else x
        found = run(given, before, after, scale, bias)
        turned = found if which == "forward" else found[0]
        turned = jnp.moveaxis(turned, 1, -1) if first else turned
        return [turned, *([] if which == "forward" else found[1:])]

    x = rng.normal(size=CELL.shape).astype(np.float32)
    before, after = rng.normal(size=(2, 16, 16)).astype(np.float32) / 4
    scale, bias = rng.normal(size=(2, 16)).astype(np.float32)
    for ours, theirs in zip(results("ours"), results(name), strict=True):
        size = np.abs(theirs).max()
        np.testing.assert_allclose(ours / size, theirs / size, atol=1e-4)


def test_a_norm_adds_what_its_program_moves_beyond_the_products():
    """On the CPU, too, it reads a product and writes an array; no norm adds nothing."""
    import_peer("flax")
    for which in networks.UNITS:
        assert networks.added(CPU, CELL, which, "flax") > 1
    x, *_ = contestants.shapes(CELL, False)
    assert networks._without(CPU, CELL, "forward") >= 2 * x.size * 4


RESULTS = {
    "networks": [
        {
            "target": "h100",
            "cell": Cell("layer", (8, 64), "bfloat16").record(),
            "programs": {
                "ours": {"forward": 2.0, "step": 6.0},
                "ours_xla": {"forward": 3.0, "step": 9.0},
                "flax": {"forward": 4.0, "step": 12.0},
                "equinox": {"refused": "too large"},
            },
        }
    ]
}


def test_the_table_tells_passes_and_what_was_refused():
    (table,) = tables.network_tables(RESULTS)
    assert table.title == "H100, in a network"
    assert table.rows[0][1:] == ["2.00 / 6.00", "3.00 / 9.00", "4.00 / 12.0", "refused"]
    assert "geometric mean: 0.50 / 0.50" in table.note
    assert list(tables.network_tables({})) == []


@pytest.mark.parametrize("options", [["--quick"], ["--passes", "both"], ["--kernels", "ours"]])
def test_options_of_norms_by_themselves_are_refused(options, capsys):
    with pytest.raises(SystemExit):
        command.parsed(["--only", "network", *options])
    assert "leave out --quick, --passes and --kernels" in capsys.readouterr().err
