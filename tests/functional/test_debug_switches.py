"""`jax_debug_infs` and `jax_debug_nans` find nothing in finite data: no number of ours is one.

Under them JAX looks at what each operation gives, outside of `jit` one by one; so they tell
infinities and NaN that are made on the way, too, and end in no result.
"""

import jax
import numpy as np
import pytest

from tests.functional.setting import Setting
from tests.registry import OPERATIONS


@pytest.fixture(scope="module", autouse=True)
def switches():
    """Both switches on, for this file."""
    names = "jax_debug_infs", "jax_debug_nans"
    for name in names:
        jax.config.update(name, True)
    # What was compiled before, such as a constant, would not be looked at.
    jax.clear_caches()
    yield
    for name in names:
        jax.config.update(name, False)


def program(setting, implementation):
    """The results and the gradient of all operands."""
    chosen = {} if implementation is None else {"implementation": implementation}

    def loss(arrays):
        named = setting.operation.call(arrays, setting.where, **setting.layout.static, **chosen)
        results = {name: named[name] for name in setting.operation.results}
        return sum((results[name] * setting.cotangents[name]).sum() for name in results), results

    return jax.value_and_grad(loss, has_aux=True)


CASES = [
    (operation, implementation, masked)
    for operation in OPERATIONS
    for implementation in (None, "xla")
    for masked in (False, True)
    # What is merged are the moments of parts, which the test cuts out of the padding itself.
    if not (operation.name == "merge_moments" and (implementation or masked))
]


@pytest.mark.parametrize(("operation", "implementation", "masked"), CASES, ids=str)
def test_finite_data_raise_no_alarm(operation, implementation, masked):
    """Values and gradients, eager and compiled; what stands in masked padding is not looked at."""
    setting = Setting(operation, masked)
    function = program(setting, implementation)
    for run in (function, jax.jit(function)):
        (_, results), gradients = run(setting.arrays)
        for name, result in results.items():
            np.testing.assert_allclose(result, setting.exact[name], rtol=1e-4, atol=1e-5)
        assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))
