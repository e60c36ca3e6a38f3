"""What became slower between two files of results, on numbers made up for the purpose."""

import json

from benchmarks import history
from benchmarks.speed.cells import Cell

ROWS, FEW = (Cell("layer", shape, "float32").record() for shape in ((8, 64), (2, 64)))


def results(date, processor="a processor", **sections):
    """A file of results; sections by name, each with `(cell, seconds by name)`."""
    records = {
        name: [
            {"cell": cell, "pass": "forward", "seconds": {n: [s] * 3 for n, s in seconds.items()}}
            for cell, seconds in cells
        ]
        for name, cells in sections.items()
    }
    machine = {"platform": "cpu", "cores": 2, "processor": {"name": processor}}
    machine["instruction_set"] = "avx2"
    return {"date": date, "machine": machine, "sections": records}


def written(folder, *files):
    """The files in a folder, in the order of nothing."""
    for number, file in enumerate(files):
        (folder / f"{9 - number}.json").write_text(json.dumps(file), encoding="utf-8")
    return folder


def test_a_cell_that_became_slower_is_told(tmp_path, capsys):
    """By the ratio to the fastest other whom both files have, the one that grew over a tenth.

    From 0.5 to 0.6 of torch's time; the other cell went from 0.5 to 0.54 while all took thrice as
    long, and Haiku, twice as fast, is there the second time alone.
    """
    before = results(
        "2026-01-02",
        grid=[(ROWS, {"ours": 1, "flax": 4, "torch": 2}), (FEW, {"ours": 1, "torch": 2})],
        residual=[(ROWS, {"one_pass": 1, "ours": 3, "torch": 2})],
    )
    after = results(
        "2026-02-01",
        grid=[
            (ROWS, {"ours": 1.2, "flax": 4, "torch": 2}),
            (FEW, {"ours": 3.24, "torch": 6, "haiku": 3}),
        ],
        residual=[(ROWS, {"one_pass": 2, "ours": 3, "torch": 2})],
    )
    history.main([str(written(tmp_path, before, after))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "a processor, 2 cores (avx2)"
    assert [line.split(maxsplit=1)[0] for line in lines[4:6]] == ["grid,", "residual,"]
    assert lines[4].split()[-5:] == ["2026-01-02", "0.50", "2026-02-01", "0.60", "20%"]
    assert lines[5].split()[-5:] == ["2026-01-02", "0.50", "2026-02-01", "1.00", "100%"]
    assert lines[-1] == "2 of 3 cells."


def test_none_did(tmp_path, capsys):
    """Said with how many were compared; less than before is no news."""
    files = [
        results(date, grid=[(ROWS, {"ours": seconds, "torch": 2})])
        for date, seconds in (("2026-01-02", 2), ("2026-01-03", 1), ("2026-01-04", 1.05))
    ]
    history.main([str(written(tmp_path, *files))])
    assert capsys.readouterr().out.startswith("None of 2 cells takes over 10% more")


def test_other_machines_are_not_compared(tmp_path, capsys):
    """Another processor is another history; a part measured again has its own date and machine."""
    first = results("2026-01-02", grid=[(ROWS, {"ours": 1, "torch": 2})])
    other = results("2026-01-03", "another", grid=[(ROWS, {"ours": 2, "torch": 2})])
    folder = written(tmp_path, first, other)
    history.main([str(folder)])
    assert "nothing to compare" in capsys.readouterr().out
    other["updated"] = {"grid": {"date": "2026-01-04", "machine": first["machine"]}}
    history.main([str(written(folder, first, other))])
    line = capsys.readouterr().out.splitlines()[4]
    assert line.split()[-5:] == ["2026-01-02", "0.50", "2026-01-04", "1.00", "100%"]


def test_committed_results_have_a_name_for_each_cell():
    """No record takes another's place, and those without a shape are there, too."""
    known = set()
    for path in history.RESULTS.glob("*.json"):
        sections = history.load(path)["sections"]
        names = [
            history.cell_name(section, record)
            for section, records in sections.items()
            for record in records
            if isinstance(record.get("seconds"), dict)
        ]
        assert len(names) == len(set(names))
        known |= set(names)
    assert {name.split(",")[0] for name in known} >= {"grid", "networks", "frameworks", "outside"}


def test_machines_are_told_apart_by_model_and_kernels():
    """A file from before the kernels were noted is of the widest that its processor has."""
    processor = {"name": "a processor", "family": "25", "model": "17"}
    old = {"cores": 2, "processor": {**processor, "instructions": ["avx2", "avx512f"]}}
    assert history.machine_name(old) == history.machine_name({**old, "instruction_set": "avx512"})
    other = {**old, "processor": {**old["processor"], "model": "1"}}
    for machine in (other, {**old, "cores": 4}, {**old, "instruction_set": "avx2"}):
        assert history.machine_name(machine) != history.machine_name(old)
