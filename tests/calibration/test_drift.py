"""`drift`: the formulas in NumPy, the table and the picture."""

import sys

import jax.numpy as jnp
import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from inox.calibration import drift, recalibrate
from inox.nn import BatchNorm, Statistics, export_state, freeze
from tests.calibration.networks import apply, make_network, moments64, rows

EPSILON = 0.1


def quietly(*arguments, **options):
    return drift(*arguments, progress=False, **options)


def divergence64(x, mean, var):
    """KL of two normal distributions, written as the textbook has it."""
    new_mean, new_var = moments64(x)
    p, q = new_var + EPSILON, var + EPSILON
    return np.log(np.sqrt(q) / np.sqrt(p)) + (p + (new_mean - mean) ** 2) / (2 * q) - 0.5


def test_numbers_are_those_of_the_formulas():
    """Z-score, log ratio and divergence of each channel against float64 NumPy."""
    layer, state = export_state({"norm": BatchNorm(3, EPSILON)})
    mean, var = np.array([0.0, 1.0, 5.0]), np.array([1.0, 4.0, 0.01])
    stats = Statistics(jnp.asarray(mean, jnp.float32), jnp.asarray(var, jnp.float32))
    state = {**state, layer["norm"].stats: stats}
    x = rows(0, 64)
    (row,) = quietly(
        lambda model, state, x: model["norm"](x, state)[1], layer, state, np.split(x, 4)
    ).rows
    new_mean, new_var = moments64(x)
    assert row.layer == "['norm']"
    np.testing.assert_array_equal(row.count, np.full(3, 64))
    np.testing.assert_allclose(
        row.mean_score, (new_mean - mean) / np.sqrt(var + EPSILON), rtol=1e-5
    )
    ratio = np.log((new_var + EPSILON) / (var + EPSILON))
    np.testing.assert_allclose(row.log_variance_ratio, ratio, rtol=1e-5)
    np.testing.assert_allclose(row.divergence, divergence64(x, mean, var), rtol=1e-5)


@pytest.mark.parametrize("sequential", [False, True])
def test_nothing_is_left_after_recalibration(sequential):
    """On the data that a state was recalibrated on, its drift is exactly 0."""
    model, state = make_network()
    batches = np.split(rows(0, 32), 4)
    before = quietly(apply, model, state, batches, sequential=sequential)
    assert all(row.divergence.max() > 0.1 for row in before.rows)
    state = recalibrate(apply, model, state, batches, progress=False, sequential=sequential)
    after = quietly(apply, model, state, batches, sequential=sequential)
    assert [row.layer for row in after.rows] == [".after", ".before"]
    for row in after.rows:
        for values in (row.mean_score, row.log_variance_ratio, row.divergence):
            np.testing.assert_array_equal(values, 0)


def test_frozen_layers_and_unseen_channels():
    """A frozen layer has no row; a channel that is masked out everywhere has drift 0."""
    model, state = make_network()
    model.before = freeze(model.before)
    assert [row.layer for row in quietly(apply, model, state, [rows(0, 8)]).rows] == [".after"]
    layer, state = export_state(BatchNorm(3))

    def masked(layer, state, x):
        return layer(x, state, where=jnp.array([[True, False, True]]))[1]

    (row,) = quietly(masked, layer, state, [rows(0, 8)]).rows
    assert row.divergence[1] == 0
    assert row.divergence[0] > 0


def test_the_table():
    """A line for each layer with the numbers that stand in the rows."""
    model, state = make_network()
    found = quietly(apply, model, state, [rows(0, 32)])
    lines = str(found).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines[1:]}) == 1, "the columns stand under their titles"
    for line, row in zip(lines[2:], found.rows, strict=True):
        words = line.split()
        assert words[:2] == [row.layer, str(len(row.mean_score))]
        assert float(words[2]) == pytest.approx(np.abs(row.mean_score).mean(), abs=1e-3)
        assert abs(float(words[3])) == pytest.approx(np.abs(row.mean_score).max(), abs=1e-3)
        assert float(words[7]) == pytest.approx(row.divergence.max(), abs=1e-3)
        assert int(words[8]) == np.argmax(row.divergence)


def test_the_picture(tmp_path, monkeypatch):
    """A PNG with dots in each of three panels; without matplotlib an error that tells the cure."""
    model, state = make_network()
    found = quietly(apply, model, state, [rows(0, 32)])
    found.plot(tmp_path / "drift.png")
    pixels = matplotlib.image.imread(tmp_path / "drift.png")
    assert pixels.shape[1] > 1000
    red, green, blue = (pixels[..., channel] for channel in range(3))
    dots = (blue > red + 0.3) & (blue > green)
    third = pixels.shape[1] // 3
    assert all(dots[:, panel * third : (panel + 1) * third].sum() > 20 for panel in range(3))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        found.plot(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_single_channel_stands_on_its_line(tmp_path, monkeypatch):
    """In every panel, at the name of its layer."""
    figures = []
    monkeypatch.setattr(
        matplotlib.figure.Figure, "savefig", lambda figure, path: figures.append(figure)
    )
    layer, state = export_state(BatchNorm(1))
    quietly(apply, layer, state, [rows(0, 8, 1)]).plot(tmp_path / "one.png")
    for panel in figures[0].axes:
        assert list(panel.lines[0].get_ydata()) == [0]


def test_pictures_of_nothing(tmp_path):
    """No batch norm that drifts, or statistics that are not finite: a picture all the same."""
    model, state = make_network()
    quietly(apply, freeze(model), state, [rows(0, 8)]).plot(tmp_path / "frozen.png")
    spoilt = quietly(apply, model, state, [rows(0, 8) * np.float32(np.nan)])
    spoilt.plot(tmp_path / "spoilt.png")
    assert all((tmp_path / f"{name}.png").exists() for name in ("frozen", "spoilt"))
