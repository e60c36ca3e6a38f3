"""The README's Python blocks run, top to bottom, as one program."""

import ast
from pathlib import Path

from tests.documentation import program_of, python_blocks, run_as_a_program

README = Path(__file__).parents[1] / "README.md"
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
