"""The README's Python blocks run as one program; its figures and its pages are there."""

import ast
import re
from pathlib import Path

from tests.documentation import program_of, python_blocks, run_as_a_program

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LONGEST_EXAMPLE = 25


def imported_by(source: str) -> set[str]:
    """The libraries that a program imports, those that our adapters are for among them."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
            if node.module == "inox.interop":  # flax_nnx and flax_linen are for flax
                modules |= {alias.name.split("_")[0] for alias in node.names}
    return {module.split(".")[0] for module in modules}


def test_examples_are_short():
    """A network and its training in 25 lines, and no block is longer."""
    blocks = [text for _, text in python_blocks(README)]
    assert any("jax.grad" in text and "jax.jit" in text for text in blocks)
    assert max(len(text.splitlines()) for text in blocks) <= LONGEST_EXAMPLE


def test_blocks_run(tmp_path, peer):
    """All blocks run in one fresh process with JAX's own settings, and no warning.

    Each block may use what the ones before it defined, as a reader would expect. Lines are kept
    at their place, so that a traceback names the README's line.
    """
    for library in sorted(imported_by(program_of(README))):
        peer(library)
    run_as_a_program(README, tmp_path)


def test_figures_are_those_of_the_pages():
    """What the README says is measured stands in the page that the line links to."""
    table = README.read_text(encoding="utf-8").split("| where |")[1].split("\n\n")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert len(rows) >= 5
    for where, others, here, more in rows:
        page = re.findall(r"\((docs/[\w-]+\.md)", more)[0]
        known = re.findall(r"NaN|[\d.]+(?:e[-+]?\d+)?", (ROOT / page).read_text(encoding="utf-8"))
        for figure in re.findall(r"NaN|\b[\d.]+(?:e[-+]?\d+)?", others + here):
            assert figure in known, f"{where}: {figure} is not in {page}"


def test_links_lead_to_files():
    """Every page that the README links to is in the repository."""
    linked = set(re.findall(r"\]\(([\w./-]+\.md)", README.read_text(encoding="utf-8")))
    assert len(linked) > 20
    assert all((ROOT / path).is_file() for path in linked)
