"""What the site says is so: its example runs, its picture is of the layers as they are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.documentation import run_as_a_program

DOCS = Path(__file__).parents[1] / "docs"


def test_the_first_page_runs(tmp_path):
    """Its network is built and trained a step."""
    run_as_a_program(DOCS / "index.md", tmp_path)


def test_every_page_is_reached():
    """From the first page's lists; a page that is on none is built and found by nobody."""
    listed = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert pages - {"index"} == pages & set(listed)


def test_cells_of_the_picture():
    """Each layer pools over the elements that the page on choosing a norm says."""
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("drawing", DOCS / "draw_pooled_cells.py")
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    sample, place, channel = drawing.ELEMENT
    group = slice(channel - 1, channel + 1)  # the last of three groups of two channels
    of_layers = {
        "BatchNorm": np.s_[:, :, channel],
        "LayerNorm, RMSNorm": np.s_[sample, place, :],
        "LayerNorm(axis=(-2, -1))": np.s_[sample, :, :],
        "InstanceNorm": np.s_[sample, :, channel],
        "GroupNorm(3)": np.s_[sample, place, group],
        "GroupNorm(3, axis=(-2, -1))": np.s_[sample, :, group],
    }
    assert set(of_layers) == set(drawing.LAYERS)
    for name, elements in of_layers.items():
        expected = np.zeros((drawing.SAMPLES, drawing.SPACE, drawing.CHANNELS), bool)
        expected[elements] = True
        np.testing.assert_array_equal(drawing.pooled(drawing.LAYERS[name]), expected, err_msg=name)
