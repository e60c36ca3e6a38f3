"""The results as tables: titles, and rows of text, for the terminal and for the page alike."""

from typing import Any, NamedTuple

from .bars import bars
from .cells import DASH, KINDS, PASS_NAMES, TIMES, from_record
from .contestants import LABELS
from .framework_tables import told as framework_tables
from .networks import NETWORKS
from .timing import Spread, ratio, spread

Results = dict[str, Any]


class Table(NamedTuple):
    """A title, a line of explanation, headings and rows."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def number(value: float) -> str:
    """Three digits, without an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def with_spread(found: Spread) -> str:
    """The median, and the quartiles in brackets."""
    return f"{number(found.median)} ({number(found.low)}{DASH}{number(found.high)})"


def label(results: Results, name: str) -> str:
    """The name of a contestant, with the version of the one that has our name."""
    version = results["versions"].get("reference")
    if name == "reference" and version:
        return f"inox {version}"
    base, _, rest = name.partition(", ")
    return LABELS[base] + (f", {rest}" if rest else "")


def _names(records: list[dict[str, Any]], key: str = "seconds") -> list[str]:
    """All contestants of some records, in the order in which they first appear."""
    return list(dict.fromkeys(name for record in records for name in record[key]))


def _timed(
    results: Results,
    title: str,
    note: str,
    records: list[dict[str, Any]],
    titles: list[str],
    first: str,
    base: str,
    key: str = "seconds",
    unit: float = 1e3,
) -> Table:
    """Medians of the base, and ratios to it of everybody else."""
    names = [name for name in _names(records, key) if name != base]
    units = {1e3: "ms", 1e6: "µs"}[unit]
    head = [first, f"{label(results, base)}, {units}", *(label(results, n) for n in names)]
    rows = []
    for text, record in zip(titles, records, strict=True):
        seconds = record[key]
        cells = [with_spread(spread(unit * value for value in seconds[base]))]
        for name in names:
            if name in seconds:
                cells.append(with_spread(ratio(seconds[name], seconds[base])))
            else:
                cells.append("wrong" if name in record.get("wrong", ()) else DASH)
        rows.append([text, *cells])
    return Table(title, note, head, rows)


def bar_table(results: Results) -> Table:
    """Each demand, the figure and whether it is met."""
    rows = []
    for bar in bars(results):
        limit = f"{'≥' if bar.at_least else '≤'} {bar.limit:g} {bar.unit}" if bar.limit else ""
        found = (
            "not measured"
            if bar.measured is None
            else f"{bar.measured:.{3 if bar.measured < 10 else 1}f} {bar.unit}"
        )
        met = {True: "yes", False: "no", None: ""}[bar.met]
        rows.append([bar.text, limit, found, met])
    return Table("The bar", "", ["", "bar", "measured", "met"], rows)


def cell_title(record: dict[str, Any]) -> str:
    """Norm, shape and dtype of a record."""
    cell = from_record(record["cell"])
    return f"{cell.title} {cell.dtype}"


def grid_tables(results: Results) -> list[Table]:
    """A table for each pass, with and without scale and bias."""
    found = []
    for section, suffix in (("grid", ""), ("plain", ", without scale and bias")):
        for which in ("both", "forward"):
            records = [r for r in results["sections"].get(section, []) if r["pass"] == which]
            if records:
                title = PASS_NAMES[which].capitalize() + suffix
                note = "Times the floor, whose milliseconds stand in the first column."
                titles = [cell_title(r) for r in records]
                found.append(_timed(results, title, note, records, titles, "", "floor"))
    return found


def residual_table(results: Results) -> list[Table]:
    """A residual and its norm, where it was measured."""
    records = results["sections"].get("residual")
    if not records:
        return []
    note = (
        "The sum and its norm in one pass, in the first column; times that, the sum and then the "
        "norm of whom the column names. Of the rounded sum: in one pass, too, with "
        "`normalize_rounded=True`, in half types."
    )
    titles = [f"{cell_title(r)}, {PASS_NAMES[r['pass']]}" for r in records]
    return [_timed(results, "A residual and its norm", note, records, titles, "", "one_pass")]


def beside_formulas(results: Results) -> list[Table]:
    """What is measured beside the bare formulas alone: functions of weights, and streams."""
    found = []
    for section, title in (("weights", "Normalized weights"), ("streams", "Streams")):
        if records := results["sections"].get(section):
            note = "Float32; times the bare formula, which has no bounds of its error."
            titles = [
                f"{r['what']}, {TIMES.join(map(str, r['shape']))}, {PASS_NAMES[r['pass']]}"
                for r in records
            ]
            found.append(_timed(results, title, note, records, titles, "", "textbook", unit=1e6))
    return found


def other_tables(results: Results) -> list[Table]:
    """Everything beside the grid: what a call, a chain, a network and an import take, and more."""
    parts = results["sections"]
    found = []
    if records := parts.get("dispatch"):
        note = "Times `x + 1`, one compiled call with the arrays as arguments."
        titles = [cell_title(r) for r in records]
        found.append(_timed(results, "A small call", note, records, titles, "", "floor", unit=1e6))
    found += residual_table(results)
    found += beside_formulas(results)
    if records := parts.get("chains"):
        note = "Forward + backward; times the same chain without its norm."
        titles = [f"{r['chain']}, {cell_title(r)}" for r in records]
        found.append(_timed(results, "Chains", note, records, titles, "", "none"))
    if records := parts.get("networks"):
        titles = [NETWORKS[r["network"]].title for r in records]
        for key, clock in (("seconds", "wall time"), ("cpu_seconds", "time of all cores")):
            note = f"A training step, {clock}; times the same network without norm."
            title = f"Networks, {clock}"
            found.append(_timed(results, title, note, records, titles, "", "none", key))
    for title, note, records, titles, key in framework_tables(parts.get("frameworks", [])):
        found.append(_timed(results, title, note, records, titles, "", "theirs", key))
    for axis in ("rows", "columns"):
        records = [r for r in parts.get("growth", []) if r["axis"] == axis]
        if records:
            note = "Forward + backward; times the floor."
            titles = [TIMES.join(map(str, r["cell"]["shape"])) for r in records]
            title = f"Growth with {axis}, layer norm in float32"
            found.append(_timed(results, title, note, records, titles, "", "floor"))
    if records := parts.get("saved"):
        found.append(_saved_table(results, records))
    found += _outside_tables(results, parts.get("outside", []))
    if records := parts.get("import"):
        milliseconds = with_spread(spread(1e3 * value for value in records[0]["seconds"]))
        head = ["", "ms"]
        rows = [["`import inox` after `import jax`", milliseconds]]
        found.append(Table("Import", "", head, rows))
    if records := parts.get("bandwidth"):
        speeds = with_spread(
            spread(records[0]["bytes"] / 1e9 / s for s in records[0]["seconds"]["floor"])
        )
        rows = [["`x + 1` on 256 MiB in float32, read and written", speeds]]
        found.append(Table("Bandwidth", "", ["", "GB/s"], rows))
    return found


def _outside_tables(results: Results, records: list[dict[str, Any]]) -> list[Table]:
    """Trees, an eager call, tracing with lowering, and compiling."""
    found = []

    def add(rest: str, note: str, chosen: list[Any], titles: list[str], base: str, unit: float):
        if chosen:
            title = f"Outside of compiled code, {rest}"
            found.append(_timed(results, title, note, chosen, titles, "", base, unit=unit))

    trees = [record for record in records if "kind" in record and "equinox" in record["seconds"]]
    names = {
        "flatten": "`jax.tree.flatten`",
        "unflatten": "`jax.tree.unflatten`",
        "map": "`jax.tree.map(lambda leaf: leaf, model)`",
        "call": "`jax.jit(lambda model, x: x)(model, x)`",
    }
    note = (
        "Times Equinox's, in time of the thread; scale and bias in each layer, batch norms with "
        "their state. All leaves of Equinox's layer norms are arrays, so they go through plain "
        "`jax.jit` as ours do. Its batch norms hold a name and a flag as leaves: the compiled call "
        "gets their arrays alone (`eqx.partition(model, eqx.is_array)`), the other rows the whole."
    )
    titles = [f"{names[r['what']]}, {r['layers']} {KINDS[r['kind']]}s" for r in trees]
    add("trees", note, trees, titles, "equinox", 1e6)
    for what, rest, unit, told in (
        ("eager", "an eager call", 1e6, "With scale and bias, outside of `jax.jit`."),
        (
            "lower",
            "trace and lower",
            1e3,
            "`jax.jit(gradient).trace(...).lower()` of a chain, all caches emptied before; "
            "time of the thread.",
        ),
    ):
        chosen = [record for record in records if record["what"] == what]
        titles = [
            (f"gradient of {r['norms']} norms, " if "norms" in r else "") + cell_title(r)
            for r in chosen
        ]
        add(rest, told + _told_kernels(chosen), chosen, titles, "textbook", unit)
    if chosen := [record for record in records if record["what"] == "compile"]:
        found.append(_compile_table(results, chosen))
    return found


def _told_kernels(records: list[dict[str, Any]]) -> str:
    return f" The CPU kernels: {records[0]['kernels']}." if records else ""


def _compile_table(results: Results, records: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(n for r in records for n in (*r["seconds"], *r["over"])))

    def told(record: dict[str, Any], name: str) -> str:
        if name in record["over"]:
            return f"> {record['limit']}"
        return with_spread(spread(s)) if (s := record["seconds"].get(name)) else DASH

    rows = [
        [f"gradient of {r['norms']} norms, {cell_title(r)}", *(told(r, name) for name in names)]
        for r in records
    ]
    note = (
        "From the function to the compiled program, each in a process of its own that is ended at "
        "the limit; who reached it is not tried with more norms." + _told_kernels(records)
    )
    head = ["", *(f"{label(results, name)}, s" for name in names)]
    return Table("Outside of compiled code, time to compile", note, head, rows)


def _saved_table(results: Results, records: list[dict[str, Any]]) -> Table:
    names = _names(records, "bytes")
    rows = [
        [
            cell_title(record),
            f"{record['x'] / 2**20:g} MiB",
            *(
                f"{record['bytes'][name] / record['x']:.3g}" if name in record["bytes"] else DASH
                for name in names
            ),
        ]
        for record in records
    ]
    note = "In sizes of x; x itself and the parameters are counted where they are kept."
    head = ["", "x", *(label(results, name) for name in names)]
    return Table("Bytes kept for the backward pass", note, head, rows)


def all_tables(results: Results) -> list[Table]:
    """Everything, the bar first where this platform has one."""
    first = [bar_table(results)] if results["machine"]["platform"] == "cpu" else []
    return [*first, *grid_tables(results), *other_tables(results)]
