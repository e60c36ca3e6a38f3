"""The part of the speed benchmark about what happens outside of compiled code."""

import copy
import inspect
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.speed import (
    agreement,
    bars,
    command,
    compiling,
    outside,
    page,
    tables,
    tracing,
    trees,
    updating,
)
from benchmarks.speed.cells import SMALL, data
from tests.benchmarks import made_up
from tests.conftest import import_peer

pytestmark = pytest.mark.usefixtures("standard_promotion")
NAMES = ("textbook", "ours", "ours_xla")


# ---- what is measured


@pytest.mark.parametrize("kind", ["layer", "batch"])
@pytest.mark.parametrize("name", trees.MODELS)
def test_models_hold_scale_and_bias_and_state_in_each_layer(name, kind):
    """As arrays, of which plain `jax.jit` takes all; Equinox counts batches, too."""
    if name == "equinox":
        import_peer("equinox")
    model = trees.MODELS[name](kind, layers=3)
    leaves = jax.tree.leaves(model.arrays)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    held = [leaf for leaf in leaves if leaf.shape == (trees.CHANNELS,)]
    assert len(held) == 3 * (2 if kind == "layer" else 4)
    assert len(leaves) - len(held) == (3 if (name, kind) == ("equinox", "batch") else 0)


@pytest.mark.parametrize("kind", ["layer", "batch"])
@pytest.mark.parametrize("name", trees.MODELS)
def test_operations_do_what_they_are_named_for(name, kind):
    """The model taken apart, put together, or passed by to get x back."""
    if name == "equinox":
        import_peer("equinox")
    model = trees.MODELS[name](kind, layers=2)
    leaves, structure = jax.tree.flatten(model.tree)
    results = {what: trees.program(what, model).step() for what in trees.OPERATIONS}
    assert results["flatten"][1] == structure
    for what in ("unflatten", "map"):
        found = jax.tree.leaves(results[what])
        assert jax.tree.structure(results[what]) == structure
        assert all(a is b for a, b in zip(found, leaves, strict=True))
    np.testing.assert_array_equal(results["call"], np.ones((8, trees.CHANNELS)))


@pytest.mark.parametrize("name", NAMES)
def test_an_eager_call_agrees_with_the_formulas(name):
    """y, against float64 NumPy."""
    exact = agreement.exact(SMALL, data(SMALL))[:1]
    assert agreement.compare(SMALL, exact, tracing.eager(name).results()) == (None, None)


@pytest.mark.parametrize("name", [*NAMES, "flax", "equinox"])
def test_gradients_of_a_chain_agree(name):
    """With those of the textbook formula in float64, in x and each scale and bias."""
    if name in ("flax", "equinox"):
        import_peer(name)
    function, given = tracing.chain_gradient(name, 3)
    found = jax.tree.leaves(jax.jit(function)(*given))
    with jax.enable_x64(True):
        function, given = tracing.chain_gradient("textbook", 3)
        wide = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), given)
        expected = jax.tree.leaves(jax.jit(function)(*wide))
    assert len(found) == len(expected) == 7
    # All scales and biases start alike, and each position has a gradient of its own.
    for a, b in zip(found, expected, strict=True):
        assert b.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * np.abs(b).max())


@pytest.mark.parametrize("name", NAMES)
def test_lowering_finds_no_cache(name):
    """Tracing again goes through the norm's own code again."""
    lowering = tracing.Lowering(name, 2)
    program, seconds = lowering.lowered()
    assert "func.func public @main" in program.as_text()
    assert seconds > 0
    tracing.forget()
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] == "inox":
            for value in vars(module).values():
                # What takes no argument is found out once a process: the library, for one.
                if hasattr(value, "cache_info") and inspect.signature(value).parameters:
                    assert value.cache_info().currsize == 0


def test_compiling_has_a_limit():
    """Seconds of a process of its own; None where it is ended before."""
    assert compiling.compile_seconds("ours", 1, limit=100) > 0
    assert compiling.compile_seconds("ours", 1, limit=0.01) is None


def test_the_instruction_set_is_named():
    """What `python -m inox` says of the kernels."""
    assert outside.kernels().startswith(("in use, ", "not used: "))


# ---- what is told of it


def record(what, unit=1e-3, **seconds):
    """The same seconds in three rounds, in milliseconds."""
    return {"what": what, "seconds": {name: [unit * s] * 3 for name, s in seconds.items()}}


TOLD = {"cell": SMALL.record(), "kernels": "in use, avx2"}
TREE = {"layers": 100}
COMPILE = {**TOLD, "what": "compile", "limit": 240}
OUTSIDE = [
    {**record("flatten", equinox=1, ours=1.5), "kind": "layer", **TREE},
    {**record("unflatten", equinox=1, ours=3), "kind": "layer", **TREE},
    {**record("call", equinox=2, ours=2.2), "kind": "layer", **TREE},
    {**record("flatten", equinox=1, ours=3.5), "kind": "batch", **TREE},
    {**record("eager", textbook=2, ours=1, ours_xla=3), **TOLD},
    {**record("lower", textbook=2, ours=2.5, ours_xla=3), **TOLD, "norms": 20},
    {**COMPILE, "norms": 30, "over": [], "seconds": {"ours": [0.1, 0.3, 0.2], "flax": [20.0]}},
    {**COMPILE, "norms": 100, "over": ["flax"], "seconds": {"ours": [0.5]}},
]
RESULTS = made_up.results({"outside": OUTSIDE})


def test_demands():
    """Ours over Equinox's or over the textbook formula's; what wasn't measured is not met."""
    found = [(b.limit, b.measured, b.met) for b in bars.bars(RESULTS) if b.measured is not None]
    expected = [
        (2, 1.5, True),
        (2, 3.0, False),
        (4, 3.5, True),
        (1.2, 1.1, True),
        (1, 0.5, True),
        (1.2, 1.25, False),
    ]
    assert [(limit, round(value, 6), met) for limit, value, met in found] == expected


def test_tables():
    """One for trees, an eager call, lowering and compiling each, rows as long as their heads."""
    made = [t for t in tables.all_tables(RESULTS) if t.title.startswith("Outside of compiled")]
    by_title = {table.title.split(", ")[1]: table for table in made}
    assert list(by_title) == ["trees", "an eager call", "trace and lower", "time to compile"]
    assert all(len(row) == len(table.head) for table in made for row in table.rows)
    assert by_title["trees"].head == ["", "equinox, µs", "ours"]
    assert by_title["trees"].rows[0][0] == "`jax.tree.flatten`, 100 layer norms"
    assert by_title["trees"].rows[0][1].startswith("1000 ")
    assert by_title["trees"].rows[0][2].startswith("1.50 ")
    assert by_title["an eager call"].head[1] == "textbook formula, µs"
    assert "in use, avx2" in by_title["an eager call"].note
    assert [row[1:] for row in by_title["time to compile"].rows] == [
        ["0.20 (0.15–0.25)", "20.0 (20.0–20.0)"],  # noqa: RUF001 (as the page has it)
        ["0.50 (0.50–0.50)", "> 240"],  # noqa: RUF001 (as the page has it)
    ]


def test_without_equinox_the_trees_are_left_out():
    """The rest is told."""
    alone = copy.deepcopy(RESULTS)
    for held in alone["sections"]["outside"]:
        held["seconds"].pop("equinox", None)
    titles = [table.title for table in tables.all_tables(alone)]
    assert "Outside of compiled code, trees" not in titles
    assert "Outside of compiled code, an eager call" in titles


# ---- measured again, alone


def test_parts_measured_again_leave_the_others():
    """The date of the whole stays; the page tells when, and on what, a part was measured again."""
    whole = {**RESULTS, "sections": {"outside": [], "import": [{"seconds": [0.05]}]}}
    again = {**RESULTS, "date": "2026-03-04", "versions": {"jax": "1.3"}}
    found = updating.updated(whole, again)
    assert found["date"] == "2026-01-02"
    assert found["sections"] == {"outside": OUTSIDE, "import": [{"seconds": [0.05]}]}
    assert "updated" not in whole
    text = page.part(found, "some.json")
    assert "2026-01-02: a processor, 2 cores; jax 1.2." in text
    assert "Measured again, alone: outside. 2026-03-04: a processor, 2 cores; jax 1.3." in text
    later = updating.updated(
        found, {**again, "date": "2026-05-06", "sections": {"import": [{"seconds": [0.04]}]}}
    )
    assert [told["date"] for told in later["updated"].values()] == ["2026-03-04", "2026-05-06"]


def test_the_newest_file_of_a_kind_of_machine(tmp_path):
    """By the date in the file; a folder without one is told."""
    gpu = {"platform": "gpu"}
    for name, date, machine in (
        ("b", "2026-01-02", RESULTS["machine"]),
        ("a", "2026-01-03", RESULTS["machine"]),
        ("c", "2026-01-04", gpu),
        ("d", "2026-01-05", {**RESULTS["machine"], "instruction_set": "avx2"}),
    ):
        text = json.dumps({**RESULTS, "date": date, "machine": machine})
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    assert updating.newest("cpu", tmp_path).name == "a.json"
    (tmp_path / "c.json").unlink()
    with pytest.raises(SystemExit, match="make bench"):
        updating.newest("gpu", tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--only", "layer"], ["--only", "layer,outside"], ["--only", "outside", "--quick"]],
)
def test_only_whole_parts_are_put_in(arguments, capsys):
    """A norm alone, or a short run, would leave a table of two kinds of figures."""
    with pytest.raises(SystemExit):
        command.parsed(["--update", *arguments])
    assert "--update" in capsys.readouterr().err
    assert command.parsed(["--update", "--only", "outside,import"]).parts == ["outside", "import"]
