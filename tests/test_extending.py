"""What the page on extending the package shows works, and what it names is there."""

import re
import sys
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inox.functional
from inox.functional import arguments, means, scalar_arguments
from inox.kernels.arithmetic import accumulator
from tests.documentation import python_blocks
from tests.kernels.tpu_kernels import lowered_by

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
BLOCKS = [text for _, text in python_blocks(PAGE)]
# The files that the page has its reader write.
WRITTEN = ("filter_response.py", "plain/__init__.py", "plain/calls.py", "plain/backend.py")


def block(*words: str) -> str:
    """The one block with these words."""
    (found,) = (text for text in BLOCKS if all(word in text for word in words))
    return found


@pytest.fixture
def written(monkeypatch):
    """Writes a block as a module of the package, for the length of a test."""

    def write(name: str, text: str) -> ModuleType:
        spec = spec_from_loader(name, None)
        assert spec is not None
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, name, "exec"), module.__dict__)
        return module

    return write


def test_files_are_there():
    """Every path that the page names is in the repository, but for those that it adds."""
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", text))
    assert len(named) > 20
    missing = {path for path in named if not (ROOT / path).exists()}
    assert all(path.endswith(WRITTEN) for path in missing), missing


def test_lists_are_where_the_page_says():
    """The tables of tests that a layer is entered in have the names that the page gives."""
    rows = re.findall(
        r"^\| `(tests/[\w/]+\.py)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.M
    )
    assert len(rows) == 4
    for path, told in rows:
        source = (ROOT / path).read_text(encoding="utf-8")
        for name in re.findall(r"`([A-Z_]{4,}|with_implementation)`", told):
            assert re.search(rf"^(?:def )?{name}\b", source, re.M), f"{name} is not in {path}"


def test_the_layer_is_the_formula(written, rng):
    """Function and layer of the page: x over the root of its mean square, scaled and shifted."""
    function = block("def filter_response_norm(")
    written("inox.functional.filter_response", function)
    layer = written("inox.nn.normalization.filter_response", block("class FilterResponseNorm("))
    x = rng.standard_normal((2, 5, 4, 3)).astype(np.float32)
    scale, bias = rng.standard_normal((2, 3)).astype(np.float32)
    y = layer.FilterResponseNorm(scale=scale, bias=bias)(x)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt((wide**2).mean((1, 2), keepdims=True) + 1e-6) * scale + bias
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)


def test_the_new_formula_is_what_it_says(rng):
    """By the mean absolute deviation, with a mask; equal numbers with epsilon 0 give 0."""
    names = vars(arguments) | vars(means) | vars(scalar_arguments)
    names |= {"jax": jax, "jnp": jnp, "accumulator": accumulator}
    exec(block("jnp.abs(deviation)"), names)
    x = rng.standard_normal((3, 7)).astype(np.float32)
    x[0] = 3
    where = np.arange(7) < 5
    given = jnp.where(where, x, jnp.nan)

    def y(x):
        return names["_normalized"]((-1,), x, 0.0, None, None, jnp.asarray(where)[None])

    deviation = x[1:, :5].astype(np.float64)
    deviation -= deviation.mean(-1, keepdims=True)
    exact = deviation / abs(deviation).mean(-1, keepdims=True)
    found, pull = jax.vjp(y, given)
    np.testing.assert_allclose(found[1:, :5], exact, rtol=1e-5, atol=1e-6)
    assert not found[0].any()
    assert not found[:, 5:].any()
    (gradient,) = pull(jnp.asarray(x))
    assert jnp.isfinite(gradient).all()
    assert not gradient[0].any()


def test_the_backend_is_taken(written, rng):
    """Its kernel gives the rows of layer norm; with a mask it has none, and the formulas run."""
    written("inox.kernels.plain.calls", block("def _normalize(", "return run"))
    backend = written("inox.kernels.plain.backend", block('Backend("plain"')).BACKEND
    asked = []
    kernel = backend.kernels()["normalize"]

    def noted(operands, **static):
        asked.append(kernel(operands, **static))
        return asked[-1]

    x = rng.standard_normal((6, 8)).astype(np.float32)
    where = jnp.arange(6)[:, None] < 4
    exact = x - x.mean(-1, keepdims=True, dtype=np.float64)
    exact = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-5)
    with lowered_by(backend._replace(kernels=lambda: {"normalize": noted})):
        y = inox.functional.layer_norm(x)
        masked = inox.functional.layer_norm(x, where=where)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(masked[:4], exact[:4], rtol=1e-5, atol=1e-6)
    assert [run is not None for run in asked] == [True, False]
