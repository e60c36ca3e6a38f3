"""From seconds of rounds to ratios, demands and the page, on numbers made up for the purpose."""

import pytest

from benchmarks.marked_part import marks, part_of, with_part
from benchmarks.speed import bars, environment, page, tables, timing
from benchmarks.speed.cells import Cell
from inox.kernels.cpu.library import library
from tests.benchmarks import made_up


class Counted:
    """A program that takes as many seconds as it has been called before."""

    def __init__(self, log, name):
        self.log, self.name, self.calls = log, name, 0

    def seconds(self, calls=1):
        """One more each time."""
        self.log.append(self.name)
        self.calls += 1
        return float(self.calls)


def test_everybody_once_a_round_after_a_call_that_is_not_counted():
    """And nobody is always first."""
    log = []
    found = timing.round_robin({name: Counted(log, name) for name in "abc"}, rounds=3)
    assert found == {name: [2.0, 4.0, 6.0] for name in "abc"}
    rounds = ["".join(log[start : start + 6]) for start in range(0, 18, 6)]
    assert [sorted(r) for r in rounds] == [list("aabbcc")] * 3
    assert len({r[0] for r in rounds}) > 1


def test_without_the_call_before():
    """For programs that take seconds."""
    log = []
    found = timing.round_robin({"a": Counted(log, "a")}, rounds=3, warm=False)
    assert found == {"a": [1.0, 2.0, 3.0]}


def test_a_ratio_is_formed_within_rounds():
    """A machine that is ten times slower in one round changes no ratio."""
    assert timing.ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == (2.0, 2.0, 2.0)
    assert timing.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (3.0, 2.0, 4.0)
    assert timing.geometric_mean([0.5, 2.0]) == pytest.approx(1.0)


def record(dtype, which, **seconds):
    """A cell with the same seconds in three rounds."""
    cell = Cell("layer", (8, 64), dtype).record()
    times = {name: [value] * 3 for name, value in seconds.items()}
    return {"cell": cell, "pass": which, "seconds": times, "wrong": {}, "inexact": {}}


GRID = [
    record("float32", "both", floor=1, ours=2, flax=6, equinox=8, torch=1),
    record("bfloat16", "both", floor=1, ours=1, flax=9, equinox=4, torch=4),
    record("float32", "forward", floor=1, ours=2, flax=2, haiku=3),
]
RESULTS = made_up.results(
    {
        "grid": GRID,
        "import": [{"seconds": [0.05, 0.07, 0.06]}],
        "networks": [
            {
                "network": "transformer",
                "seconds": {"none": [1.0], "ours": [1.02], "flax": [1.2]},
                "cpu_seconds": {"none": [2.0], "ours": [2.0], "flax": [2.0]},
            }
        ],
    }
)


def test_the_fastest_peer_of_each_cell_counts():
    """Flax in one cell (3 times ours), Equinox in the other (4 times)."""
    assert bars.cell_ratios(GRID, "both", ("flax", "equinox", "haiku")) == [3.0, 4.0]
    assert bars.cell_ratios(GRID, "both", ("torch",)) == [0.5, 4.0]
    assert bars.cell_ratios(GRID, "both", ("floor",), "float32") == [0.5]
    assert bars.cell_ratios(GRID, "both", ("reference",)) == []


def test_demands():
    """Each with the figure, met or not; what wasn't measured is neither."""
    found = {(bar.text.split(":")[0], bar.limit): bar for bar in bars.bars(RESULTS)}
    figures = {bar.limit: (bar.measured, bar.met) for bar in bars.bars(RESULTS) if bar.limit}
    assert len(found) == 21
    assert figures[3] == (pytest.approx(12**0.5), True)
    assert figures[0.85] == (0.5, False)
    assert figures[1.03] == (pytest.approx(1.02), True)
    assert figures[60] == (pytest.approx(60.0), True)
    assert figures[2] == (None, None)
    assert figures[1.08] == (None, None)  # the convolutional net isn't there


@pytest.mark.parametrize("best", ["avx2", "avx512"])
def test_demands_on_processors_without_avx512(best):
    """On the best kernels where those are of AVX2, else on the ones measured beside them."""
    ours = "ours" if best == "avx2" else "ours_avx2"
    grid = [
        record(dtype, which, flax=6, torch=4, **{"ours": 1, ours: 2})
        for dtype in ("float32", "bfloat16")
        for which in ("both", "forward")
    ]
    machine = {**RESULTS["machine"], "instruction_set": best}
    found = bars.bars({**RESULTS, "machine": machine, "sections": {"grid": grid}})
    assert [(bar.limit, bar.measured) for bar in found if "AVX2" in bar.text] == [
        (2.5, pytest.approx(3)),
        (1.3, pytest.approx(2)),
        (1.3, pytest.approx(3)),
    ]
    assert not any("AVX2" in bar.text for bar in bars.bars(RESULTS))


def test_tables_tell_ratios_to_the_floor():
    """Milliseconds of the floor, then everybody over it; a dash for who wasn't measured."""
    table = next(t for t in tables.all_tables(RESULTS) if t.title == "Forward + backward")
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert row["floor, ms"].startswith("1000 ")
    assert row["flax"].startswith("6.00 (6.00")
    assert all(len(row) == len(table.head) for row in table.rows)


def test_the_part_of_a_machine_is_exchanged_alone():
    """And read again as it was written."""
    start, end = marks(page.part_name("cpu"))
    text = f"before\n{start}\nold\n{end}\nafter\n"
    content = page.part(RESULTS, "some.json")
    changed = with_part(text, page.part_name("cpu"), content)
    assert changed == f"before\n{start}\n{content}\n{end}\nafter\n"
    assert part_of(changed, page.part_name("cpu")) == content


def test_machines_without_avx512_have_a_part_of_their_own():
    """Part, figures and file are named for it: they replace nobody else's."""
    machine = {**RESULTS["machine"], "instruction_set": "avx2"}
    assert environment.place(RESULTS["machine"]) == "cpu"
    assert environment.place(machine) == "cpu avx2"
    assert environment.place({"platform": "gpu"}) == "gpu"
    assert environment.slug(machine) == "a-processor-2-cores-avx2"
    for kernels in ("baseline", None):
        other = {**RESULTS["machine"], "instruction_set": kernels}
        assert environment.place(other) == f"cpu {kernels}"
        with pytest.raises(SystemExit, match="has no part for this kind of machine"):
            page.write({**RESULTS, "machine": other}, "some.json")
    shown = page.part({**RESULTS, "machine": machine}, "some.json")
    assert "(images/speed-avx2.png)" in shown
    assert "(images/speed.png)" in page.part(RESULTS, "some.json")


def test_the_processor_has_what_the_kernels_found():
    """The instruction sets that are told are those that our own library asks for."""
    found = environment.processor()
    assert set(found) == {"name", "family", "model", "instructions"}
    assert found["name"]
    assert all(found[name] is None or int(found[name]) >= 0 for name in ("family", "model"))
    told = {"avx512": "avx512f", "avx2": "avx2"}.get(library().instruction_set or "")
    assert told is None or told in found["instructions"]


@pytest.mark.parametrize("place", ["cpu", "cpu avx2", "gpu"])
def test_the_page_is_what_its_results_say(place):
    """The committed page and the committed file of results can't differ."""
    shown = part_of(page.PAGE.read_text(encoding="utf-8"), page.part_name(place))
    if not shown.startswith("Made from "):
        assert shown == "Not measured yet."
        return
    source = shown.split("`")[1].rsplit("/", 1)[1]
    assert shown == page.part(page.load(page.RESULTS / source), source)
