"""The kernels of a residual added and the sum normalized, in every combination of types."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from tests import oracle
from tests.kernels.test_lowering import needs_kernels

pytestmark = needs_kernels
FUNCTIONS = {"layer": functional.add_layer_norm, "rms": functional.add_rms_norm}
# dtype of x, dtype of the residual
TYPES = [
    (jnp.float32, jnp.float32),
    (jnp.bfloat16, jnp.bfloat16),
    (jnp.float16, jnp.float16),
    (jnp.bfloat16, jnp.float32),
    (jnp.float64, jnp.float64),
]
# Short, odd, several blocks of rows, and rows that are longer than what is added at a time.
SHAPES = [(3, 5), (37, 96), (9, 257), (2, 3, 768), (2, 40000)]


def drawn(rng, shape, types, gated, centred):
    """Arrays with a residual whose mean is large against its spread, where that is subtracted."""
    x, residual = types
    arrays = {
        "x": rng.normal(size=shape).astype(x),
        "residual": (rng.normal(size=shape) + (30 if centred else 0.5)).astype(residual),
        "scale": rng.uniform(0.5, 1.5, shape[-1]).astype(np.float32),
    }
    if centred:
        arrays["bias"] = rng.normal(size=shape[-1]).astype(np.float32)
    if gated:
        arrays["gate"] = rng.uniform(0.5, 1.5, (shape[0], *(1,) * (len(shape) - 2), shape[-1]))
        arrays["gate"] = arrays["gate"].astype(np.float32)
    return arrays


def within(found, exact, floor, ulps):
    """Within so many units in the last place of the larger of a number and a floor."""
    found = np.asarray(found)
    wide = found.astype(np.float64)
    unit = float(jnp.finfo(found.dtype).eps)
    error = np.abs(wide - exact) / (unit * np.maximum(np.abs(exact), floor))
    assert error.max() < ulps, error.max()


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("types", TYPES, ids=lambda types: "-".join(t.__name__ for t in types))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_and_gradients_are_exact(name, types, gated, rng):
    """y and r, and the gradients, against float64; both are rounded once."""
    wide = types[0] == jnp.float64
    with jax.enable_x64(wide):
        for shape in SHAPES:
            arrays = drawn(rng, shape, types, gated, name == "layer")

            @jax.jit
            def run(arrays, dy, dr):
                def call(arrays):
                    return FUNCTIONS[name](**arrays, epsilon=0.125, implementation="cpu")

                results, pullback = jax.vjp(call, arrays)
                return results, pullback((dy, dr))[0]

            dy, dr = (rng.normal(size=shape).astype(dtype) for dtype in types)
            (y, r), gradients = run(arrays, dy, dr)
            norm = oracle.Normalization(oracle.slices(shape, -1), centred=name == "layer")
            exact = oracle.ResidualSum(norm)
            given = oracle.as_float64(arrays) | {"epsilon": np.float64(0.125)}
            results = exact.evaluate(given)
            assert (y.dtype, r.dtype) == types
            # Half a unit is that of a number just above a power of two; in float64 the exact sum,
            # too, is rounded.
            within(r, results["r"], 1.0, 2.5 if wide else 1)
            # The sum itself is rounded, of float32 and float64 to units that are 32 times as large.
            within(y, results["y"], 1.0, 100 if wide else 24 if types[0] == jnp.float32 else 0.9)
            expected = exact.pullback(given, oracle.as_float64({"y": dy, "r": dr}))
            for key in arrays:
                of_sum = key in ("x", "residual")
                floor = 1.0 if of_sum else np.abs(expected[key]).max()
                narrow = of_sum and gradients[key].dtype.itemsize == 2
                assert gradients[key].dtype == arrays[key].dtype
                within(gradients[key], expected[key], floor, 0.9 if narrow else 60)


@pytest.mark.parametrize("types", TYPES[:4], ids=lambda types: "-".join(t.__name__ for t in types))
def test_a_rounded_sum_is_what_is_normalized_where_it_is_asked_for(types, rng):
    """y is the norm of r as it was stored; without the option it is that of the sum before."""
    arrays = drawn(rng, (37, 96), types, False, False)
    for rounded in (False, True):
        y, r = functional.add_rms_norm(**arrays, normalize_rounded=rounded)
        total = arrays["residual"].astype(np.float64) + arrays["x"].astype(np.float64)
        source = np.asarray(r).astype(np.float64) if rounded else total
        root = np.sqrt((source**2).mean(-1, keepdims=True) + 1e-6)
        exact = source / root * arrays["scale"]
        within(y, exact, 1.0, 3 if types[0] == jnp.float32 else 0.9)


def test_one_call_each_way_and_nothing_beside_it(rng):
    """The compiled gradient is two custom calls; in float32 the sum alone is kept for it."""
    arrays = drawn(rng, (64, 96), TYPES[0], False, True)

    def both(arrays, dy, dr):
        def call(arrays):
            return functional.add_layer_norm(**arrays)

        results, pullback = jax.vjp(call, arrays)
        return results, pullback((dy, dr))

    compiled = jax.jit(both).lower(arrays, arrays["x"], arrays["x"]).compile().as_text()
    assert compiled.count("custom-call(") == 2
    assert "inox_add_normalize" in compiled
    assert "inox_add_cotangent" in compiled


@pytest.mark.parametrize("types", TYPES, ids=lambda types: "-".join(t.__name__ for t in types))
@pytest.mark.parametrize("rounded", [False, True])
def test_a_gate_and_its_gradient_are_in_the_same_two_calls(rounded, types, rng):
    """A gate a sample, in both passes; its gradients, of every type, are those of the formulas."""
    with jax.enable_x64(types[0] == jnp.float64):
        arrays = drawn(rng, (3, 16, 96), types, True, True)
        dy, dr = (rng.normal(size=(3, 16, 96)).astype(dtype) for dtype in types)

        def both(arrays, implementation):
            def call(arrays):
                return functional.add_layer_norm(
                    **arrays, normalize_rounded=rounded, implementation=implementation
                )

            results, pullback = jax.vjp(call, arrays)
            return results, pullback((dy, dr))[0]

        program = jax.jit(both, static_argnums=1).lower(arrays, "cpu")
        assert program.as_text().count("custom_call @inox_add_") == 2
        _, found = program.compile()(arrays)
        _, expected = jax.jit(both, static_argnums=1)(arrays, "xla")
        for name, array in found.items():
            wide = np.asarray(expected[name]).astype(np.float64)
            within(array, wide, np.abs(wide).max(), 1.1 if array.dtype.itemsize == 2 else 64)


@pytest.mark.parametrize("types", TYPES[:2], ids=lambda types: "-".join(t.__name__ for t in types))
@pytest.mark.parametrize("rounded", [False, True])
def test_whichever_operands_are_differentiated(rounded, types, rng):
    """Each subset of them has the gradients that it has among all."""
    arrays = drawn(rng, (3, 16, 96), types, True, False)

    cotangents = tuple(rng.normal(size=(3, 16, 96)).astype(dtype) for dtype in types)

    @jax.jit
    def gradients(some, rest):
        def call(some):
            return functional.add_rms_norm(**some, **rest, normalize_rounded=rounded)

        return jax.vjp(call, some)[1](cotangents)[0]

    expected = gradients(arrays, {})
    names = list(arrays)
    for wanted in range(1, 2 ** len(names) - 1):
        some = {name: arrays[name] for i, name in enumerate(names) if wanted >> i & 1}
        rest = {name: arrays[name] for name in names if name not in some}
        for name, array in gradients(some, rest).items():
            wide = np.asarray(expected[name]).astype(np.float64)
            ulps = 1.1 if array.dtype.itemsize == 2 else 64
            within(array, wide, np.abs(wide).max(), ulps)


def test_a_gate_that_all_rows_share_keeps_the_bits_of_a_row_in_any_batch(rng):
    """In a batch of 3 rows as in one of 16: the same kernel."""
    arrays = drawn(rng, (16, 96), TYPES[1], False, False)
    arrays["gate"] = rng.uniform(0.5, 1.5, 96).astype(np.float32)
    dy, dr = (rng.normal(size=(16, 96)).astype(jnp.bfloat16) for _ in range(2))

    @jax.jit
    def both(x, residual, dy, dr):
        def call(x, residual):
            parameters = {name: arrays[name] for name in ("gate", "scale")}
            return functional.add_rms_norm(x, residual, **parameters)

        results, pullback = jax.vjp(call, x, residual)
        return *results, *pullback((dy, dr))

    operands = arrays["x"], arrays["residual"], dy, dr
    whole = both(*operands)
    part = both(*(array[5:8] for array in operands))
    for of_whole, of_part in zip(whole, part, strict=True):
        np.testing.assert_array_equal(np.asarray(of_whole)[5:8], np.asarray(of_part))


def test_a_sample_with_a_gate_has_the_bits_that_it_has_alone(rng):
    """However few rows share a gate: a sample by itself goes the way that it goes among others."""
    arrays = drawn(rng, (6, 3, 96), TYPES[1], True, True)
    dy, dr = (rng.normal(size=(6, 3, 96)).astype(jnp.bfloat16) for _ in range(2))
    shared = {name: arrays[name] for name in ("scale", "bias")}

    @jax.jit
    def both(x, residual, gate, dy, dr):
        def call(x, residual, gate):
            return functional.add_layer_norm(x, residual, gate=gate, **shared)

        results, pullback = jax.vjp(call, x, residual, gate)
        return *results, *pullback((dy, dr))

    operands = arrays["x"], arrays["residual"], arrays["gate"], dy, dr
    whole = both(*operands)
    for i in range(6):
        for of_whole, alone in zip(whole, both(*(a[i : i + 1] for a in operands)), strict=True):
            np.testing.assert_array_equal(np.asarray(of_whole)[i : i + 1], np.asarray(alone))


def test_a_gate_for_every_row_is_left_to_the_formulas(rng):
    """Its gradient would be an array as large as x in float32, only to be summed again."""
    arrays = drawn(rng, (3, 16, 96), TYPES[0], False, True)
    arrays["gate"] = rng.uniform(size=(3, 16, 1)).astype(np.float32)

    def loss(arrays):
        return sum(map(jnp.sum, functional.add_layer_norm(**arrays)))

    program = jax.jit(jax.grad(loss)).lower(arrays)
    assert program.as_text().count("custom_call @inox_add_cotangent") == 0
    assert program.compile()(arrays)["gate"].shape == (3, 16, 1)


@pytest.mark.parametrize("types", TYPES[:4], ids=lambda types: "-".join(t.__name__ for t in types))
def test_what_is_kept_for_the_backward_pass(types, rng):
    """The sum alone where it is what is normalized, as in float32; else x and the residual."""
    arrays = drawn(rng, (8, 96), types, False, True)
    for rounded in (False, True):

        def call(arrays, rounded=rounded):
            return functional.add_layer_norm(**arrays, normalize_rounded=rounded)

        _, pullback = jax.vjp(jax.jit(call), arrays)
        large = [leaf for leaf in jax.tree.leaves(pullback) if leaf.shape == (8, 96)]
        alone = rounded or types[1] == jnp.float32
        assert sorted(str(leaf.dtype) for leaf in large) == sorted(
            str(jnp.dtype(t)) for t in (types[1:] if alone else types)
        )


@pytest.mark.parametrize(
    "types", TYPES[1:4:2], ids=lambda types: "-".join(t.__name__ for t in types)
)
def test_vmap_over_some_operands_alone_keeps_the_bits(types, rng):
    """Whatever is mapped and what is not, results and gradients are those of each by itself."""
    arrays = drawn(rng, (1, 8, 96), types, True, True)
    several = {name: np.stack([array, array[::-1], 2 * array]) for name, array in arrays.items()}
    dy, dr = (rng.normal(size=(1, 8, 96)).astype(dtype) for dtype in types)

    def both(arrays):
        results, pullback = jax.vjp(lambda a: functional.add_layer_norm(**a), arrays)
        return *results, *pullback((dy, dr))[0].values()

    alone, pairs = [(name,) for name in arrays], [("x", "scale"), ("x", "residual"), ("x", "gate")]
    for mapped in (*alone, *pairs):
        given = {name: several[name] if name in mapped else arrays[name] for name in arrays}
        axes = {name: 0 if name in mapped else None for name in arrays}
        program = jax.jit(jax.vmap(both, (axes,))).lower(given)
        assert program.as_text().count("custom_call @inox_add_") == 2, mapped
        single = jax.jit(both)
        for i, results in enumerate(zip(*map(np.asarray, program.compile()(given)), strict=True)):
            one = {name: given[name][i] if name in mapped else given[name] for name in given}
            for found, expected in zip(results, single(one), strict=True):
                np.testing.assert_array_equal(found, np.asarray(expected), err_msg=f"{mapped}")
