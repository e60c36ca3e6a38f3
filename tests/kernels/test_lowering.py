"""Which implementation runs is chosen when a program is lowered, and can be read in its text."""

import functools
import itertools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inox import functional
from inox.kernels.cpu.library import library
from tests.kernels.kernel_cases import NORMS, VIEWS, arrays, both, kernels_in

needs_kernels = pytest.mark.skipif(
    not library().available, reason="the kernels are switched off, or not part of the installation"
)
EACH_NORM = pytest.mark.parametrize("name", NORMS)


def compiled_text(program, *operands):
    return jax.jit(program).lower(*operands).compile().as_text()


def test_kernels_are_there_where_they_must_be():
    """The wheel that is tested for release holds them; `.ci/run` says so by a variable."""
    if os.environ.get("INOX_REQUIRE_KERNELS") == "1":
        assert library().available, library().reason


@needs_kernels
@EACH_NORM
def test_forward_and_backward_run_on_kernels(name):
    """One kernel each way, and the backward pass recomputes what it needs."""
    found = kernels_in(compiled_text(both(NORMS[name]), *arrays()))
    expected = (
        {"inox_moments": 1, "inox_centred_sums": 1}
        if name == "batch"
        else {"inox_normalize": 1, "inox_normalize_cotangent": 1}
    )
    assert found == expected


@needs_kernels
@EACH_NORM
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nothing_is_copied_for_a_kernel(name, dtype):
    """The kernels read the arrays where they are: a copy costs as much as a forward pass."""
    given = [
        array.astype(dtype) if array.ndim > 1 else array for array in map(jnp.asarray, arrays())
    ]
    text = compiled_text(both(NORMS[name]), *given)
    assert kernels_in(text)
    assert not re.findall(r"= \S+ copy\(|copy_fusion", text)


@needs_kernels
@pytest.mark.parametrize("name", VIEWS)
def test_every_view_runs_on_kernels_and_agrees(name, rng):
    """The values and gradients of the formulas, by the other implementation."""
    x, dy = rng.standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
    results = []
    for implementation in ("cpu", "xla"):

        def program(x, dy, implementation=implementation):
            y, pull = jax.vjp(lambda x: VIEWS[name](x, implementation), x)
            return y, *pull(dy)

        text = compiled_text(program, x, dy)
        assert bool(kernels_in(text)) == (implementation == "cpu")
        results.append(jax.jit(program)(x, dy))
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-6)


@needs_kernels
@EACH_NORM
def test_batched_parameters_run_on_kernels(name):
    """`vmap` over x, scale and bias together: one call for all, equal to a loop to the bit."""
    stacked = [np.stack(pair) for pair in zip(arrays(seed=1), arrays(seed=2), strict=True)]
    program = jax.vmap(both(NORMS[name]))
    assert sum(kernels_in(compiled_text(program, *stacked)).values()) == 2
    together = jax.jit(program)(*stacked)
    for i in range(2):
        alone = jax.jit(both(NORMS[name]))(*(a[i] for a in stacked))
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[i], b)


@needs_kernels
@pytest.mark.parametrize("mapped", list(itertools.product((0, None), repeat=4))[:-1])
def test_every_choice_of_what_is_mapped(mapped):
    """`vmap` over any of x, dy, scale and bias: values and gradients are those of a loop."""
    operands = [
        np.stack(pair) if axis == 0 else pair[0]
        for axis, pair in zip(mapped, zip(arrays(8, 1), arrays(8, 2), strict=True), strict=True)
    ]
    program = jax.jit(both(NORMS["layer"]))
    together = jax.jit(jax.vmap(both(NORMS["layer"]), mapped))(*operands)
    for i in range(2):
        alone = program(*(a[i] if m == 0 else a for a, m in zip(operands, mapped, strict=True)))
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)


@needs_kernels
def test_per_example_gradients_are_one_call():
    """`vmap` of the gradient of a shared scale: no array of the size of x for each example."""
    x, _, scale, _ = arrays()

    def loss(scale, row):
        return jnp.sum(jnp.sin(functional.layer_norm(row, scale)))

    program = jax.vmap(jax.grad(loss), (None, 0))
    assert kernels_in(compiled_text(program, scale, x))["inox_normalize_cotangent"] == 1
    expected = np.stack([jax.jit(jax.grad(loss))(scale, row) for row in x])
    np.testing.assert_allclose(jax.jit(program)(scale, x), expected, rtol=1e-6, atol=1e-6)


@needs_kernels
@EACH_NORM
def test_reverse_mode_under_transformations_stays_on_kernels(name):
    """`scan`, `checkpoint` and `cond` around a norm keep its kernels, and its gradient."""
    x, dy, scale, bias = arrays()

    def loss(x, around):
        return jnp.vdot(around(lambda x: NORMS[name](x, scale, bias, None))(x), dy)

    def scanned(f):
        return lambda x: jax.lax.scan(lambda carry, _: (f(carry), None), x, length=1)[0]

    def chosen(f):
        return lambda x: jax.lax.cond(x[0, 0] > -1e9, f, lambda x: x, x)

    backward = "inox_centred_sums" if name == "batch" else "inox_normalize_cotangent"
    expected = jax.jit(jax.grad(lambda x: loss(x, lambda f: f)))(x)
    for around in (scanned, jax.checkpoint, chosen):
        program = jax.grad(functools.partial(loss, around=around))
        assert kernels_in(compiled_text(program, x))[backward] >= 1
        np.testing.assert_allclose(jax.jit(program)(x), expected, rtol=1e-6, atol=1e-6)


@needs_kernels
@EACH_NORM
def test_an_export_for_three_platforms_holds_the_kernel_for_cpu_alone(name):
    """From a machine without the other two; what is exported runs here."""
    x, _, scale, bias = arrays()
    program = jax.jit(lambda x: NORMS[name](x, scale, bias, None))
    kernel = "inox_moments" if name == "batch" else "inox_normalize"
    exported = jax.export.export(program, platforms=("cpu", "cuda", "tpu"))(x)
    assert exported.mlir_module().count(f"{kernel}.v2") == 1
    np.testing.assert_array_equal(exported.call(x), program(x))
    elsewhere = jax.export.export(program, platforms=("cuda", "tpu"))(x)
    assert f"{kernel}.v2" not in elsewhere.mlir_module()


@needs_kernels
def test_forcing_kernels_on_another_platform_is_an_error():
    program = jax.jit(lambda x: functional.layer_norm(x, implementation="cpu"))
    with pytest.raises(ValueError, match=r"implementation='cpu'.*cuda.*implementation=None"):
        jax.export.export(program, platforms=("cuda",))(arrays()[0])


@EACH_NORM
def test_forcing_the_formulas_leaves_the_kernels_out(name):
    assert not kernels_in(compiled_text(both(NORMS[name], "xla"), *arrays()))


CALLED_WITHOUT_A_NORM = """
import jax, jax.numpy as jnp, numpy as np
import inox

shapes = [jax.ShapeDtypeStruct((1, 1), jnp.float32)] * 3
x = np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)
mean, mean_low, var = jax.ffi.ffi_call("inox_moments.v2", shapes)(
    x, shape=np.array([1, 1, 6, 1, 1])
)
assert (mean.item(), mean_low.item(), var.item()) == (2.5, 0.0, np.float32(35 / 12)), (mean, var)
"""


@needs_kernels
def test_importing_the_package_is_enough_to_run_an_exported_program():
    """A process that only runs what was exported builds no norm that would load the kernels."""
    subprocess.run([sys.executable, "-c", CALLED_WITHOUT_A_NORM], check=True)


SWITCHED_OFF = """
import warnings
warnings.simplefilter("error")
import jax, numpy as np
from inox import functional
from inox.kernels.cpu.library import library

assert not library().available and "INOX_KERNELS=off" in library().reason
x = np.arange(12, dtype=np.float32).reshape(3, 4)
print(repr(np.asarray(functional.layer_norm(x)).tolist()))
for call in (functional.layer_norm, functional.rms_norm, functional.standardize,
             lambda x, **k: functional.group_norm(x, 2, **k), functional.batch_norm,
             lambda x, **k: functional.moments(x, 0, **k)):
    try:
        call(x, implementation="cpu")
    except ValueError as error:
        assert all(word in str(error) for word in ("'cpu'", "INOX_KERNELS=off", "'xla'")), error
    else:
        raise AssertionError("no error")
"""


def test_switched_off_everything_works_and_forcing_is_an_error():
    """A process of its own: the library is loaded once. No warning, as it was asked for."""
    run = subprocess.run(
        [sys.executable, "-c", SWITCHED_OFF],
        env=os.environ | {"INOX_KERNELS": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    exact = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(eval(run.stdout), exact, rtol=1e-6)


def test_the_report_tells_the_state_of_the_kernels():
    """`python -m inox`: versions, kernels, instruction set, threads, and those for TPU."""
    run = subprocess.run([sys.executable, "-m", "inox"], capture_output=True, text=True, check=True)
    lines = dict(line.split(":", 1) for line in run.stdout.splitlines())
    assert list(lines) == ["inox", "jax", "jaxlib", "python", "kernels", "threads", "tpu"]
    assert lines["jax"].strip() == jax.__version__
    expected = library().instruction_set or "not used"
    assert expected in lines["kernels"]
