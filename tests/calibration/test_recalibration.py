"""`recalibrate`: the exact statistics of a data set, in constant memory, and nothing half-done."""

import gc
import importlib
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm

from inox.calibration import recalibrate
from inox.nn import BatchNorm, Module, export_state, freeze
from tests.calibration.networks import (
    apply,
    assert_exact_moments,
    make_network,
    message_has,
    moments64,
    rows,
    same_bits,
)

CHANNELS = 3


def quietly(*arguments, **options):
    return recalibrate(*arguments, progress=False, **options)


def sorted_batches():
    """Batches of a sorted data set: each is unlike the whole."""
    x = np.sort(rows(0, 64), axis=0)
    return np.split(x, 8)


def first_outputs(batches, network):
    """What the first linear map gives, in float64."""
    weight = np.asarray(network.weights[0].value, np.float64)
    return [np.asarray(x, np.float64) @ weight for x in batches]


def second_inputs(batches, network, statistics):
    """What the second batch norm is given, with these statistics in the first: a NumPy formula."""
    weight = np.asarray(network.weights[1].value, np.float64)
    outputs = []
    for x, (mean, var) in zip(first_outputs(batches, network), statistics, strict=True):
        outputs.append(np.maximum((x - mean) / np.sqrt(var + 1e-5), 0) @ weight)
    return np.concatenate(outputs)


def test_statistics_are_the_exact_ones_of_the_data():
    """Unequal batches at a mean of 1e4 deviations: within the bounds, whatever the state before."""
    layer, state = export_state(BatchNorm(CHANNELS, momentum=0.9))
    state = layer(rows(1, 8), state)[1]
    x = rows(2, 300) + np.float32(2e4)
    sizes = [100, 150, 250, 299]
    new = quietly(apply, layer, state, np.split(x, sizes))
    assert_exact_moments(*new[layer.stats], x)
    # torch's update_bn would average the variances of the batches.
    average = np.mean([moments64(part)[1] for part in np.split(x, sizes)], axis=0)
    assert np.abs(average / moments64(x)[1] - 1).max() > 0.05


def test_a_generator_is_streamed():
    """Batches of a generator are used once and let go: at most three are alive at a time."""
    layer, state = export_state(BatchNorm(CHANNELS))
    alive, most = weakref.WeakValueDictionary(), []

    def stream():
        for seed in range(12):
            batch = rows(seed, 8)
            alive[seed] = batch
            most.append(len(alive))
            yield batch
            del batch
            gc.collect()

    new = quietly(apply, layer, state, stream())
    assert_exact_moments(*new[layer.stats], np.stack([rows(seed, 8) for seed in range(12)]))
    assert max(most) <= 3


def test_one_pass_normalizes_by_the_batches():
    """The second layer's statistics are those of inputs normalized batch by batch."""
    model, state = make_network()
    batches = sorted_batches()
    new = quietly(apply, model, state, iter(batches))
    alone = [moments64(x) for x in first_outputs(batches, model)]
    mean, var = moments64(np.concatenate(first_outputs(batches, model)))
    np.testing.assert_allclose(new[model.before.stats].mean, mean, rtol=1e-5)
    np.testing.assert_allclose(new[model.before.stats].var, var, rtol=1e-5)
    mean, var = moments64(second_inputs(batches, model, alone))
    np.testing.assert_allclose(new[model.after.stats].mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new[model.after.stats].var, var, rtol=1e-4)


def test_sequential_passes_give_the_statistics_of_evaluation():
    """Each layer's are those of what it is given in evaluation mode, in the order of the calls.

    The layers stand in the tree in the other order. On sorted data one pass is far off.
    """
    model, state = make_network()
    assert list(state) == [model.after.stats, model.before.stats]
    batches = sorted_batches()
    new = quietly(apply, model, state, batches, sequential=True)
    whole = moments64(np.concatenate(first_outputs(batches, model)))
    mean, var = moments64(second_inputs(batches, model, [whole] * len(batches)))
    np.testing.assert_allclose(new[model.after.stats].mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new[model.after.stats].var, var, rtol=1e-4)
    # So in evaluation mode the output over the data set is standard normal.
    model.train(False)
    y, _ = model(np.concatenate(batches), new)
    np.testing.assert_allclose(np.mean(y, 0), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(y, 0), 1, atol=1e-3)
    y, _ = model(np.concatenate(batches), quietly(apply, model, state, batches))
    assert np.abs(np.var(y, 0) - 1).max() > 0.2


def test_mode_frozen_layers_and_warmup():
    """The mode plays no part, frozen layers keep their statistics, the warmup's count grows."""
    model, state = make_network(warmup=True)
    model.train(False)
    model.before = freeze(model.before)
    new = quietly(apply, model, state, sorted_batches())
    same_bits(new[model.before.stats], state[model.before.stats])
    same_bits(new[model.before.batches], state[model.before.batches])
    np.testing.assert_array_equal(new[model.after.batches], np.full(2, 8))
    assert set(new) == set(state)
    assert not model.after.training, "the model handed in is as it was"
    fresh = {**state, model.after.batches: jnp.full(2, 100.0)}
    again = quietly(apply, model, fresh, sorted_batches())
    np.testing.assert_array_equal(again[model.after.batches], np.full(2, 100))


def test_no_batch_is_lost_where_batches_can_be_gone_through_once():
    """A bar round a generator starts anew, though what it goes round doesn't.

    One batch norm takes one pass, of all batches; more of them are refused.
    """
    batches = sorted_batches()
    layer, state = export_state(BatchNorm(CHANNELS))
    bar = tqdm.tqdm((x for x in batches), disable=True)
    new = quietly(apply, layer, state, bar, sequential=True)
    assert_exact_moments(new[layer.stats].mean, new[layer.stats].var, np.concatenate(batches))
    model, state = make_network()
    bar = tqdm.tqdm((x for x in batches), disable=True)
    with pytest.raises(ValueError, match="sequential=True give a list"):
        quietly(apply, model, state, bar, sequential=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("sequential", [False, True])
def test_an_interruption_leaves_the_state_intact(error, sequential):
    """Stopped in the middle of a pass, nothing of model or state has changed, and it runs again."""
    model, state = make_network(warmup=True)
    model.train(False)
    before = jax.tree.map(np.array, state)
    structure = jax.tree.structure(model)

    class Interrupted:
        def __iter__(self):
            yield from sorted_batches()[:3]
            raise error("stop")

    with pytest.raises(error, match="stop"):
        quietly(apply, model, state, Interrupted(), sequential=sequential)
    same_bits(state, jax.tree.map(jnp.asarray, before))
    assert jax.tree.structure(model) == structure
    assert not model.before.training


def test_progress_is_shown_by_tqdm_where_it_is_installed(capsys, monkeypatch):
    """A bar counts the batches of each pass; without tqdm, and if not wanted, there is none.

    One of the caller's own goes round the batches.
    """
    tqdm = importlib.import_module("tqdm")
    model, state = make_network()
    batches = sorted_batches()[:2]
    shown = recalibrate(apply, model, state, batches)
    text = capsys.readouterr().err
    assert "recalibrating: 100%" in text
    assert "2/2" in text
    recalibrate(apply, model, state, batches, sequential=True)
    assert capsys.readouterr().err.count("2/2") == 2
    recalibrate(apply, model, state, iter(batches))
    assert "2batch" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    same_bits(recalibrate(apply, model, state, batches), shown)
    monkeypatch.undo()
    quietly(apply, model, state, batches)
    assert capsys.readouterr().err == ""
    same_bits(quietly(apply, model, state, tqdm.tqdm(batches, desc="mine")), shown)
    assert "mine: 100%" in capsys.readouterr().err


def test_models_of_any_kind():
    """Leaves that are no arrays, functions for example, may stand in the tree."""
    tree, state = export_state({"norm": BatchNorm(CHANNELS), "activation": jnp.tanh})

    def call(tree, state, batch):
        y, state = tree["norm"](batch["x"], state, where=batch["where"])
        tree["activation"](y)
        return state

    x = rows(0, 8)
    where = np.arange(8)[:, None] < 5
    new = quietly(call, tree, state, [{"x": x, "where": where}])
    assert_exact_moments(*new[tree["norm"].stats], x[:5])
    nothing, empty = export_state(Module(weight=jnp.ones(2)))
    assert quietly(apply, nothing, empty, []) == {}


def test_skip_nonfinite_keeps_the_old_statistics():
    """A bad sample is an error that names layer and channel, or leaves that channel alone."""
    x = rows(0, 8)
    x[3, 1] = np.nan
    layer, state = export_state(BatchNorm(CHANNELS))
    with pytest.raises(ValueError, match="infinite or NaN") as error:
        quietly(apply, layer, state, [x])
    message_has(error, "'.stats'", "[1]", "skip_nonfinite=True")
    layer, state = export_state(BatchNorm(CHANNELS, skip_nonfinite=True))
    new = quietly(apply, layer, state, [x])
    assert float(new[layer.stats].var[1]) == 1
    assert_exact_moments(new[layer.stats].mean[::2], new[layer.stats].var[::2], x[:, ::2])


def test_mistakes_are_told():
    """Each mistake has a message with the cure."""
    layer, state = export_state(BatchNorm(CHANNELS))
    x = [rows(0, 4)]
    with pytest.raises(ValueError, match="batches is empty"):
        quietly(apply, layer, state, iter(()))
    with pytest.raises(ValueError, match="batches is empty"):
        quietly(apply, layer, state, [], sequential=True)
    with pytest.raises(ValueError, match="sequential=True") as error:
        quietly(apply, layer, state, iter(x), sequential=True)
    message_has(error, "list_iterator", "a list")
    with pytest.raises(TypeError, match="apply must return the state") as error:
        quietly(lambda model, state, x: model(x, state), layer, state, x)
    message_has(error, "tuple", "[1]")
    with pytest.raises(ValueError, match="apply must return the whole state"):
        quietly(lambda model, state, x: {}, layer, state, x)
    with pytest.raises(ValueError, match="export_state"):
        quietly(apply, BatchNorm(CHANNELS), {}, x)
