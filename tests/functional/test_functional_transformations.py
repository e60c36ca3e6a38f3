"""Every operation under `vmap`, `checkpoint`, `scan`, `eval_shape` and `export`."""

import functools
import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from tests.functional.closeness import assert_all_close, assert_close
from tests.functional.programs import check_gradients, quick_jit
from tests.functional.setting import Setting
from tests.registry import OPERATIONS, draw_mask

EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
BATCH = 3


class Stacked:
    """A `Setting` whose arrays and masks come in threes: the stack, and each of its members."""

    def __init__(self, operation):
        self.one = Setting(operation)
        self.members = []
        for seed in range(BATCH):
            arrays = operation.draw(self.one.layout, np.float32, seed=10 + seed)
            if "epsilon" in arrays:
                arrays["epsilon"] = np.float32(0.1 * (1 + seed))
            self.members.append(arrays | {"where": draw_mask(self.one.layout, seed=20 + seed)})
        self.fixed = self.members[0]
        self.stack = {
            name: np.stack([member[name] for member in self.members]) for name in self.fixed
        }

    def mixed(self, names, index):
        """Arrays of one member for `names`, and of the first one for the others."""
        return {n: self.members[index if n in names else 0][n] for n in self.fixed}

    def program(self, arrays):
        """Results, and gradients of their product with the cotangents, by name."""
        given = {name: array for name, array in arrays.items() if name != "where"}
        cotangents = {name: jnp.asarray(c) for name, c in self.one.cotangents.items()}

        def call(given):
            static = self.one.layout.static
            named = self.one.operation.call(given, arrays["where"], **static)
            return {name: named[name] for name in self.one.operation.results}

        values, pullback = jax.vjp(call, given)
        return {"values": values, "gradients": pullback(cotangents)[0]}


def assert_same(actual, expected, label):
    """A batched program does the same sums in another order: a few roundings of the terms.

    The terms of a gradient that is a sum, epsilon's above all, have the size of other gradients.
    """
    for kind, exact in expected.items():
        size = max(np.abs(value).max(initial=0.0) for value in exact.values())
        for name, value in exact.items():
            assert_close(
                actual[kind][name],
                np.asarray(value, np.float64),
                f"{label} {kind} {name}",
                size=np.asarray(size, np.float64),
            )


@EACH
def test_vmap_over_each_array_alone_and_all_together(operation):
    """Values and gradients equal a Python loop, over x, parameters, epsilon and mask."""
    stacked = Stacked(operation)
    names = list(stacked.fixed)
    choices = [(name,) for name in names] + [tuple(names), tuple(names[1:])]
    loop = quick_jit(stacked.program)

    @quick_jit
    def batched(stack, fixed):
        results = []
        for choice in choices:
            axes = {name: 0 if name in choice else None for name in names}
            arrays = {name: stack[name] if name in choice else fixed[name] for name in names}
            results.append(jax.vmap(stacked.program, in_axes=(axes,))(arrays))
        return results

    for choice, result in zip(choices, batched(stacked.stack, stacked.fixed), strict=True):
        members = [loop(stacked.mixed(choice, index)) for index in range(BATCH)]
        expected = jax.tree.map(lambda *values: np.stack(values), *members)
        assert_same(result, expected, f"vmap over {choice}:")


@EACH
def test_vmap_of_other_axes_and_nested(operation):
    """A batch axis at the end of every array, and two nested maps over different arrays."""
    stacked = Stacked(operation)
    loop = quick_jit(stacked.program)
    last = {name: np.moveaxis(array, 0, -1) for name, array in stacked.stack.items()}
    own = {name: None if name == "where" else 0 for name in stacked.fixed}
    masks = {name: 0 if name == "where" else None for name in stacked.fixed}

    @quick_jit
    def both(last, stack):
        nested = jax.vmap(jax.vmap(stacked.program, in_axes=(masks,)), in_axes=(own,))
        return jax.vmap(stacked.program, in_axes=-1, out_axes=-1)(last), nested(stack)

    of_last, nested = both(last, stacked.stack)
    members = [loop(member) for member in stacked.members]
    expected = jax.tree.map(lambda *values: np.stack(values, -1), *members)
    assert_same(of_last, expected, "last axis:")
    for i, j in itertools.product(range(BATCH), repeat=2):
        one = loop(stacked.members[i] | {"where": stacked.members[j]["where"]})
        actual = jax.tree.map(lambda value, i=i, j=j: value[i, j], nested)
        assert_same(actual, one, f"nested [{i}, {j}]")


def test_vmap_eager():
    """Without any jit; layer norm stands for all, as no code is for eager calls alone."""
    stacked = Stacked(OPERATIONS[0])
    actual = jax.vmap(stacked.program)(stacked.stack)
    members = [quick_jit(stacked.program)(member) for member in stacked.members]
    assert_same(actual, jax.tree.map(lambda *values: np.stack(values), *members), "eager:")


@EACH
def test_per_example_gradients(operation):
    """`vmap` of a gradient in the parameters over examples equals one gradient an example."""
    stacked = Stacked(operation)
    parameters = {n: a for n, a in stacked.fixed.items() if n not in ("x", "where")}
    if not parameters:
        parameters = {"x": stacked.fixed["x"]}

    def gradient(parameters, x):
        def loss(parameters):
            return (stacked.one.loss({"x": x} | parameters) + 1) ** 2

        return jax.grad(loss)(parameters)

    actual = quick_jit(jax.vmap(gradient, in_axes=(None, 0)))(parameters, stacked.stack["x"])
    single = quick_jit(gradient)
    for index in range(BATCH):
        expected = single(parameters, stacked.stack["x"][index])
        for name, value in expected.items():
            # The factor 2 (loss + 1) carries the rounding errors of the whole sum of the loss.
            assert_close(actual[name][index], np.asarray(value, np.float64), name, 256)


@EACH
def test_checkpoint(operation):
    """Rematerialized gradients, with nothing saved, are the oracle's too."""
    setting = Setting(operation)
    loss = jax.checkpoint(setting.loss, policy=jax.checkpoint_policies.nothing_saveable)
    gradients = quick_jit(jax.grad(loss))(setting.arrays)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents)


@EACH
def test_scan_over_a_stack_of_parameters(operation):
    """Three applications in a `lax.scan`, with gradients, equal three written one after another."""
    stacked = Stacked(operation)
    setting, layout = stacked.one, stacked.one.layout
    parameters = {n: a for n, a in stacked.stack.items() if n != "where"}
    parameters["shift"] = (
        np.random.default_rng(9).normal(size=parameters.pop("x").shape).astype(np.float32)
    )

    def step(x, layer):
        # Moments have another shape than x: their sum moves x, so that each step needs the last.
        shift = layer["shift"]
        rest = {name: value for name, value in layer.items() if name != "shift"}
        results = setting.call(rest | {"x": x})
        total = sum(results[name].sum() for name in results if name != "y")
        return results.get("y", x) + shift + 0.01 * total, results

    def scanned(x, parameters):
        x, results = jax.lax.scan(step, x, parameters)
        return (x * x).sum(), results

    def unrolled(x, parameters):
        results = []
        for index in range(BATCH):
            x, result = step(x, {name: value[index] for name, value in parameters.items()})
            results.append(result)
        return (x * x).sum(), jax.tree.map(lambda *values: jnp.stack(values), *results)

    x = setting.arrays["x"]
    assert x.shape == layout.shape

    @quick_jit
    def both(x, parameters):
        return [
            jax.value_and_grad(form, argnums=(0, 1), has_aux=True)(x, parameters)
            for form in (scanned, unrolled)
        ]

    ((value, results), gradients), ((value_1, results_1), gradients_1) = both(x, parameters)
    np.testing.assert_allclose(value, value_1, rtol=1e-5)
    for actual, expected in ((results, results_1), (gradients[1], gradients_1[1])):
        assert_all_close(
            actual, {n: np.asarray(v, np.float64) for n, v in expected.items()}, factor=512
        )
    assert_close(gradients[0], np.asarray(gradients_1[0], np.float64), factor=512)


def test_eval_shape_agrees_with_the_values():
    """Shapes and dtypes known without computing, for every layout, dtype and mask."""
    for operation in OPERATIONS:
        for layout in operation.layouts:
            for dtype in (jnp.bfloat16, np.float16):
                arrays = operation.draw(layout, dtype, parameter_dtype=np.float32)
                call = functools.partial(operation.call, **layout.static)
                shapes = jax.eval_shape(call, arrays, draw_mask(layout))
                exact = operation.reference(layout).evaluate(
                    {name: array.astype(np.float64) for name, array in arrays.items()}
                )
                for name in operation.results:
                    assert shapes[name].shape == exact[name].shape
                    expected = dtype if name in ("y", "r") else np.float32
                    assert shapes[name].dtype == expected, (operation.name, name)


@EACH
def test_export_for_three_platforms(operation):
    """One trace lowers for CPU, CUDA and TPU, and what was exported computes the same values."""
    setting = Setting(operation)
    program = jax.jit(jax.value_and_grad(setting.loss))
    exported = jax.export.export(program, platforms=["cpu", "cuda", "tpu"])(setting.arrays)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    _, gradients = exported.call(setting.arrays)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents)


def test_a_second_call_does_not_trace_again():
    """New values of the same shapes, epsilon among them, use the compiled program."""
    for operation in OPERATIONS:
        traces = []
        layout = operation.layouts[0]

        @quick_jit
        def program(arrays, operation=operation, layout=layout, traces=traces):
            traces.append(operation.name)
            return operation.call(arrays, None, **layout.static)

        for seed in (0, 1):
            program(operation.draw(layout, np.float32, seed=seed))
        assert len(traces) == 1
