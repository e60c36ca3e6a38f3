"""A pass that reaches nothing, and what is no pass at all: errors that say so, before or after."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import nn
from inox.calibration import accumulate, commit, drift, recalibrate
from inox.nn import BatchNorm, Module, export_state, freeze
from inox.nn.normalization.pooled_moments import pooling_key
from tests.calibration.networks import (
    apply,
    assert_exact_moments,
    make_network,
    message_has,
    rows,
    same_bits,
)

CHANNELS = 3


class Counted(list):
    """Batches that count how many of them were used."""

    used = 0

    def __iter__(self):
        for batch in super().__iter__():
            self.used += 1
            yield batch


def batches():
    return Counted([rows(0, 4), rows(1, 4), rows(2, 4)])


def in_evaluation(model, state, x):
    """Sets the mode of the model that it is given."""
    nn.train(model, False)
    return model(x, state)[1]


def old_state(model, state, x):
    """Forgets the state that the call returned."""
    model(x, state)
    return state


def copied_state(model, state, x):
    """Forgets it too, and hands back a copy."""
    model(x, state)
    return jax.tree.map(lambda leaf: leaf + 0, state)


def masked(model, state, x):
    """Everything is masked out in the first layer."""
    y, state = model.before(x @ model.weights[0](), state, where=np.zeros((4, 1), bool))
    return model.after(y @ model.weights[1](), state, where=np.zeros((4, 1), bool))[1]


@pytest.mark.parametrize("run", [recalibrate, drift])
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("call", [in_evaluation, old_state, copied_state, masked])
def test_a_pass_that_reaches_no_layer(run, sequential, call):
    """Each layer is named, and the first batch is enough to tell where no entry was touched."""
    model, state = make_network()
    if sequential and call is not in_evaluation:
        call = jax.jit(call)
    found = batches()
    with pytest.raises(ValueError, match="apply never reached") as error:
        run(call, model, state, found, progress=False, sequential=sequential)
    message_has(error, ".before.stats", ".after.stats", "evaluation mode", "freeze")
    if call in (in_evaluation, old_state):
        assert found.used <= 1


class Heads(Module):
    """A body and two heads, of which `apply` may call one."""

    def __init__(self):
        self.body, self.first, self.second = (BatchNorm(CHANNELS) for _ in "123")


def one_head(model, state, x):
    """The second head isn't called."""
    y, state = model.body(x, state)
    return model.first(y, state)[1]


def some_heads(model, state, batch):
    """Which head is called depends on the batch."""
    y, state = model.body(batch["x"], state)
    head = model.first if "first" in batch else model.second
    return head(y, state)[1]


@pytest.mark.parametrize("sequential", [False, True])
def test_a_layer_that_is_not_reached_is_named_or_frozen(sequential):
    """One layer without a call is an error that names it alone; frozen, it keeps its statistics.

    In drift, which moves nothing, the layer just has no row.
    """
    model, state = export_state(Heads())
    options = {"progress": False, "sequential": sequential}
    before = jax.tree.map(np.array, state)
    with pytest.raises(ValueError, match=r"never reached the batch norms \.second\.stats:"):
        recalibrate(one_head, model, state, batches(), **options)
    same_bits(state, jax.tree.map(jnp.asarray, before))
    shown = [row.layer for row in drift(one_head, model, state, batches(), **options).rows]
    assert shown == [".body", ".first"]
    model.second = freeze(model.second)
    new = recalibrate(one_head, model, state, batches(), **options)
    same_bits(new[model.second.stats], state[model.second.stats])
    assert_exact_moments(*new[model.body.stats], np.concatenate(batches()))


def test_layers_that_only_some_batches_reach():
    """A layer is reached if any batch reaches it."""
    model, state = export_state(Heads())
    data = [{"x": rows(0, 4), "first": np.ones(())}, {"x": rows(1, 4)}]
    new = recalibrate(some_heads, model, state, data, progress=False)
    assert_exact_moments(*new[model.body.stats], np.concatenate([part["x"] for part in data]))
    for layer in (model.first, model.second):
        np.testing.assert_allclose(new[layer.stats].mean, 0, atol=1e-5)
        assert np.abs(np.asarray(new[layer.stats].var) - 1).max() > 1e-6


def test_one_element_has_no_variance():
    """A channel of which all batches hold one element is an error that names it, not a variance 0.

    Two elements are enough, in one batch or in two.
    """
    layer, state = export_state(BatchNorm(2))

    def call(layer, state, batch):
        return layer(batch["x"], state, where=batch["where"])[1]

    masks = [np.array([[True, False], [True, True]]), np.zeros((2, 2), bool)]
    data = [{"x": rows(0, 2, 2), "where": where} for where in masks]
    with pytest.raises(ValueError, match="one element") as error:
        recalibrate(call, layer, state, data, progress=False)
    message_has(error, "'.stats'", "[1]", "batches", "more data")
    data.append({"x": rows(1, 2, 2), "where": masks[0]})
    mean, var = recalibrate(call, layer, state, data, progress=False)[layer.stats]
    np.testing.assert_allclose(mean[1], np.mean([rows(0, 2, 2)[1, 1], rows(1, 2, 2)[1, 1]]))
    np.testing.assert_allclose(var[1], np.var([rows(0, 2, 2)[1, 1], rows(1, 2, 2)[1, 1]]), 1e-6)


WRONG_BATCHES = [
    (None, TypeError, ["batches must be an iterable", "NoneType", "[batch]"]),
    (5, TypeError, ["batches must be an iterable", "int"]),
    (np.float32(5), TypeError, ["batches must be an iterable", "float32"]),
    (np.array(5.0), TypeError, ["batches must be an iterable", "ndarray"]),
    (jnp.array(5.0), TypeError, ["batches must be an iterable"]),
    ({"x": rows(0, 4)}, TypeError, ["batches must be an iterable", "dict", "[batch]"]),
    ("data.npz", TypeError, ["batches must be an iterable", "str", "[batch]"]),
    (["first", "second"], TypeError, ["batches must be PyTrees of arrays", "str"]),
    ([np.array(["a"])], TypeError, ["batches must be PyTrees of arrays", "ndarray"]),
    ([np.array([None])], TypeError, ["batches must be PyTrees of arrays", "ndarray"]),
    ([object()], TypeError, ["batches must be PyTrees of arrays", "object"]),
    ([np.full((4, 3), 2**40)], ValueError, ["1099511627776", "int64", "int32", "float32"]),
    ([{"x": -(2**40)}], ValueError, ["-1099511627776", "int32"]),
    ([np.full((4, 3), 2**32, np.uint64)], ValueError, ["4294967296", "uint64", "uint32"]),
]


@pytest.mark.parametrize("run", [recalibrate, drift])
def test_what_is_no_data(run):
    """Batches that are none: an error that names them, what was found and what to write."""
    layer, state = export_state(BatchNorm(CHANNELS))
    for wrong, kind, words in WRONG_BATCHES:
        for sequential in (False, True):
            with pytest.raises(kind) as error:
                run(apply, layer, state, wrong, progress=False, sequential=sequential)
            message_has(error, "batches", *words)


def test_data_of_any_kind():
    """Legitimate: integers that fit, numbers, bools, None, random keys, rows of an array."""
    layer, state = export_state(BatchNorm(CHANNELS))

    def call(layer, state, batch):
        return layer(batch["x"], state)[1]

    x = np.arange(12).reshape(4, 3)
    for dtype in (np.int64, np.uint8, np.float64, np.int32):
        batch = {"x": x.astype(dtype), "key": jax.random.key(0), "rate": 0.5, "number": 2**31 - 1}
        batch |= {"on": True, "none": None, "scalar": np.int64(3), "empty": np.zeros(0, np.int64)}
        new = recalibrate(call, layer, state, [batch], progress=False)
        assert_exact_moments(*new[layer.stats], x)
    new = recalibrate(apply, layer, state, rows(0, 8).reshape(2, 4, 3), progress=False)
    assert_exact_moments(*new[layer.stats], rows(0, 8))


@pytest.mark.parametrize("run", [recalibrate, drift])
def test_swapped_and_wrong_arguments(run):
    """Arguments of another kind, or in another order, are errors, before any batch is used."""
    model, state = make_network()
    data = batches()
    for arguments, kind, words in (
        ((model, apply, state), TypeError, ["apply", "Network", "function"]),
        ((None, model, state), TypeError, ["apply", "NoneType"]),
        ((apply, state, model), TypeError, ["state must be a state dictionary", "Network"]),
        ((apply, model, None), TypeError, ["state must be a state dictionary", "NoneType"]),
        ((apply, jnp.tanh, state), ValueError, ["model holds no batch norm", ".after.stats"]),
        ((apply, state, state), ValueError, ["model holds no batch norm", "dict"]),
    ):
        with pytest.raises(kind) as error:
            run(*arguments, data, progress=False)
        message_has(error, "recalibrate(apply, model, state, batches)", *words)
    for name in ("progress", "sequential"):
        for wrong in ("no", "yes", None, 1, 0.0):
            with pytest.raises(TypeError, match=f"{name} must be True or False"):
                run(apply, model, state, data, **{"progress": False, name: wrong})
    assert data.used == 0
    run(apply, model, state, data, progress=np.False_, sequential=np.False_)


def test_pools_of_another_model():
    """What was pooled for other layers, or by other arguments, is refused."""
    layers, state = export_state([BatchNorm(CHANNELS), BatchNorm(CHANNELS)])
    _, pooled = accumulate(layers, state)
    one, alone = export_state([BatchNorm(CHANNELS)])
    for arguments, words in (
        ((one, alone, pooled), ["[1].stats.pooled", "another model"]),
        ((layers, state, accumulate(one, alone)[1]), ["pooled lacks the moments", "[1].stats"]),
        ((freeze(layers), state, pooled), ["frozen", "[0].stats"]),
        ((layers, pooled, state), ["pooled lacks the moments"]),
    ):
        with pytest.raises(ValueError, match="pooled") as error:
            commit(*arguments)
        message_has(error, "accumulate" if "frozen" in words else "", *words)
    nn.train(one, False)
    other, elsewhere = export_state({"norm": BatchNorm(CHANNELS)})
    for wrong in (accumulate(other, elsewhere)[1], elsewhere):
        with pytest.raises(ValueError, match="pooled lacks") as error:
            commit(one, alone, wrong)
        message_has(error, "'[0].stats'", "commit(model, state, pooled)")
    with pytest.raises(ValueError, match="pooled lacks"):
        commit(one, accumulate(layers, state)[1], alone)
    with pytest.raises(TypeError, match="state must be a state dictionary"):
        accumulate(Module(), None)
    with pytest.raises(TypeError, match="pooled must be a state dictionary"):
        commit(one, alone, None)


def test_two_models_that_share_a_state():
    """Each commits what it pooled; the other's pool in the same state is none of its business."""
    first, state = export_state(BatchNorm(CHANNELS, momentum=0.0), prefix="first")
    second, other = export_state(BatchNorm(CHANNELS, momentum=0.0), prefix="second")
    state = state | other
    pooling, pooled = accumulate(first, state)
    along, pooled = accumulate(second, pooled)
    pooled = apply(along, apply(pooling, pooled, rows(0, 4)), rows(1, 4))
    after = commit(first, state, pooled)
    assert_exact_moments(*after[first.stats], rows(0, 4))
    same_bits(after[second.stats], state[second.stats])
    assert pooling_key(second.stats) in pooled
    assert_exact_moments(*commit(second, after, pooled)[second.stats], rows(1, 4))
