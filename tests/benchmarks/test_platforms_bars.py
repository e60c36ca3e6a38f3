"""From figures of programs to bars, tables and the page, on figures made up for the purpose."""

import json

import jax
import pytest

from benchmarks.marked_part import part_of
from benchmarks.platforms import bars, cells, checking, command, contestants, page, tables
from benchmarks.platforms.targets import TARGETS
from benchmarks.speed.cells import GRID, TIMES, Cell

LARGE, SIZE = TIMES.join(("90112", "768")), TIMES.join(("8192", "768"))
CELL = Cell("layer", (8192, 768), "float32")


def figures(kernels, moved, cycles=0, temporary=0):
    """Of one program."""
    return {
        "kernels": kernels,
        "prefetches": 0,
        "bytes": moved,
        "cycles": cycles,
        "temporary": temporary,
        "processor_seconds": 1.0,
    }


def record(which="forward", target="h100", cell=CELL, **programs):
    """With a floor of 100 bytes and 10 cycles."""
    found = {"floor": figures(1, 100, 10 if target != "h100" else 0), **programs}
    return {"target": target, "cell": cell.record(), "pass": which, "programs": found}


RECORDS = [
    record(ours=figures(2, 150), flax=figures(3, 120), equinox=figures(1, 300)),
    record("both", ours=figures(9, 201), flax=figures(7, 201), equinox=figures(7, 302)),
    record(
        "both",
        "v5e",
        CELL.larger(11),
        ours=figures(4, 225, 40),
        flax=figures(3, 150, 20),
        equinox={"refused": "too large"},
    ),
]


@pytest.fixture
def asked(monkeypatch):
    """Bars of the test's own."""

    def ask(**targets):
        monkeypatch.setattr(
            checking, "BARS", {"h100": {}, "v5e": {}, "v6e": {}, **targets}, raising=True
        )

    return ask


def test_a_figure_above_its_bar_is_told(asked):
    """Kernels, bytes and cycles each by itself, whatever the number of rows."""
    name = ("layer", (768,), "float32")
    asked(h100={name: ((2, 1.5), None, (8, 2.0))}, v5e={name: (None, None, (4, 2.0, 3.9))})
    on_gpu, on_tpu = f"H100, layer norm {SIZE}", f"TPU v5e, layer norm {LARGE}"
    assert [str(line) for line in checking.broken(RECORDS)] == [
        f"{on_gpu} float32, both: 9 kernels, at most 8 are asked",
        f"{on_gpu} float32, both: 2.01 times the floor's bytes, at most 2 are asked",
        f"{on_tpu} float32, both: 2.25 times the floor's bytes, at most 2 are asked",
        f"{on_tpu} float32, both: 4 times the floor's cycles, at most 3.9 are asked",
    ]


def test_a_broken_bar_is_an_exit_status(asked, capsys):
    """Of the short form: 1 where one is broken, else 0."""
    name = ("layer", (768,), "float32")
    asked(h100={name: ((2, 1.5), None, (8, 2.01))})
    assert int(command.told_broken(RECORDS[:1])) == 0
    assert int(command.told_broken(RECORDS[:2])) == 1
    assert "9 kernels, at most 8 are asked" in capsys.readouterr().out


def test_what_was_measured_keeps_its_own_bars(asked):
    """The lines that are printed for the file of bars, read back."""
    found = eval("{" + checking.source(RECORDS) + "}")  # our own text
    assert found["h100"] == {("layer", (768,), "float32"): ((2, 1.5), None, (9, 2.01))}
    asked(**found)
    assert checking.broken(RECORDS) == []


def test_ratios_are_rounded_up():
    """So that a bar of two digits is kept by what it was read from."""
    assert checking.found_in(record(ours=figures(1, 100.001))) == (1, 1.01)
    assert checking.found_in(record(ours=figures(1, 107))) == (1, 1.07)


def test_a_refused_program_is_above_every_bar(asked):
    """It can't be run at all."""
    asked(h100={("layer", (768,), "float32"): ((2, 1.5), None, None)})
    lines = checking.broken([record(ours={"refused": "too large"})])
    assert [line.figure for line in lines] == ["kernels", "bytes"]


def test_bars_are_about_cells_of_the_grid():
    """Every line names one, and has a place for each pass; TPU has cycles where they are told."""
    known = {checking.key(cell) for cell in GRID}
    assert set(bars.BARS) == set(bars.CHECKED) == set(TARGETS)
    for target, of_target in bars.BARS.items():
        lengths = (2, 3) if TARGETS[target].platform == "tpu" else (2,)
        assert set(of_target) <= known
        for passes in of_target.values():
            assert len(passes) == len(cells.PASSES)
            assert all(bar is None or len(bar) in lengths for bar in passes)


def test_the_short_form_has_bars():
    """A program of it without one would be checked against nothing."""
    programs = checking.checked()
    assert len(programs) == sum(map(len, bars.CHECKED.values()))
    for target, cell, which in programs:
        assert checking.bar_of(record(which, target, cell)) is not None


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_arrays_are_as_large_as_a_target_wants(target):
    """By more rows or images; the grid's own where they are large enough."""
    for cell in GRID:
        sized = cells.sized(cell, target)
        assert sized.shape[1:] == cell.shape[1:]
        assert sized.array_bytes >= target.least_bytes
        assert sized.array_bytes < target.least_bytes + cell.array_bytes or sized == cell


def test_ratios_of_the_tables():
    """To the floor, to x and to the best peer of the cell."""
    forward, both, on_tpu = RECORDS
    assert tables.over_floor(forward, "ours") == 1.5
    assert tables.passes_over_x(forward, "ours") == 3
    assert tables.passes_over_x(on_tpu, "ours") == 9
    assert tables.against_best(forward, "bytes") == 1.25
    assert tables.against_best(both, "bytes") == 1
    assert tables.against_best(on_tpu, "cycles") == 2
    assert tables.cycles_over_floor(on_tpu, "ours") == 4


RESULTS = {
    "date": "2026-01-02",
    "versions": {"jax": "1.2"},
    "records": RECORDS,
    "devices": [
        {
            "target": "v5e",
            "cell": CELL.record(),
            "split": "channels",
            "pass": "forward",
            "programs": {
                "ours": {"collectives": 3, "bytes": 98304},
                "flax": {"collectives": 0, "bytes": 0},
            },
        }
    ],
}


def test_rows_of_the_page():
    """A table for each target and pass, and what is refused is said."""
    text = page.part(RESULTS, "x.json")
    for line in (
        "Made from `benchmarks/results/platforms/x.json`. 2026-01-02: jax 1.2.",
        "| H100, forward, bytes | 1.50 | 1.25 | 1.25 | 1 of 1 |",
        "| H100, forward + backward, bytes | 2.01 | 1.00 | 1.00 | 0 of 1 |",
        "| TPU v5e, forward + backward, cycles | 4.00 | 2.00 | 2.00 | 1 of 1 |",
        f"| layer norm {LARGE} float32 | 0.00 | 9.00 in 4 | 6.00 in 3 | refused | 1.50 |",
        f"| 4 TPU v5e, layer norm {SIZE} float32, channels split, forward | 3: 98,304 B | none |",
    ):
        assert line in text


def test_results_are_saved_a_record_a_line(tmp_path):
    """And read back as they were."""
    path = tmp_path / "folder" / "results.json"
    page.save(RESULTS, path)
    assert page.load(path) == json.loads(json.dumps(RESULTS))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5 + len(RECORDS) + len(RESULTS["devices"])


def test_what_is_compiled_again_takes_its_place():
    """The rest stays, in order, the others' programs among it; no other compiler's is mixed in."""
    fresh = record("both", ours=figures(1, 100))
    more = record("backward", ours=figures(1, 100))
    again = {**RESULTS, "date": "2026-02-03", "records": [fresh, more], "devices": []}
    found = page.updated(RESULTS, again)
    assert found["date"] == "2026-02-03"
    merged = {**fresh, "programs": {**RECORDS[1]["programs"], **fresh["programs"]}}
    assert found["records"] == [RECORDS[0], merged, RECORDS[2], more]
    assert found["devices"] == RESULTS["devices"]
    with pytest.raises(SystemExit, match="Compile everything again"):
        page.updated(RESULTS, {**again, "versions": {"jax": "1.3"}})


def test_the_page_is_made_from_the_newest_results():
    """What stands in it is what the program would write."""
    path = page.newest()
    text = page.PAGE.read_text(encoding="utf-8")
    assert part_of(text, page.PART) == page.part(page.load(path), path.name)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", ["floor", *contestants.NAMES])
def test_every_norm_of_the_grid_can_be_compiled(name):
    """Shapes of x and of the parameters are those that the norm takes, and what comes out x's."""
    for cell in GRID:
        for which in ("forward", "both"):
            function, shapes = contestants.program(name, cell, which)
            results = jax.tree.leaves(jax.eval_shape(function, *shapes))
            assert results[0].shape == shapes[0].shape, cell
