"""`expand`: programs in JAX's own primitives, with the same values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from inox import functional
from inox.functional import expand
from tests.functional.closeness import assert_all_close
from tests.functional.programs import check_gradients
from tests.functional.setting import Setting
from tests.registry import OPERATIONS

X = jnp.arange(24.0).reshape(4, 6) ** 2


def primitives(program) -> set[str]:
    """The names of all primitives of a program, and of the programs in it."""
    found = set()
    for equation in program.eqns:
        found.add(equation.primitive.name)
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                found |= primitives(getattr(value, "jaxpr", value))
    return found


def is_standard(function, *arguments) -> bool:
    return not any("inox" in name for name in primitives(jax.make_jaxpr(function)(*arguments)))


@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_values_and_gradients_are_those_of_the_oracle(operation, masked):
    """Every operation of the registry and its pullback, with nothing of ours in the program."""
    setting = Setting(operation, masked)

    def program(arrays, cotangents):
        values, pullback = jax.vjp(setting.call, arrays)
        return values, pullback(cotangents)[0]

    expanded = expand(program)
    assert not is_standard(program, setting.arrays, setting.cotangents)
    assert is_standard(expanded, setting.arrays, setting.cotangents)
    values, gradients = jax.jit(expanded)(setting.arrays, setting.cotangents)
    assert_all_close(values, setting.exact)
    check_gradients(setting.reference, gradients, setting.arrays, setting.cotangents, setting.where)


def looped(x):
    return lax.scan(lambda x, _: (functional.layer_norm(x + 1), x.sum()), x, None, length=3)


def branching(x):
    return lax.cond(x.sum() > 0, functional.rms_norm, lambda x: functional.group_norm(x, 2), x)


def repeated(x):
    return lax.while_loop(
        lambda carry: carry[0] < 3,
        lambda carry: (carry[0] + 1, functional.layer_norm(carry[1])),
        (0, x),
    )


def checkpointed(x):
    return jax.grad(lambda x: (jax.checkpoint(functional.layer_norm)(x) ** 3).sum())(x)


def compiled(x):
    return jax.jit(lambda x: {"y": functional.batch_norm(x)[0]})(x)


@pytest.mark.parametrize("function", [looped, branching, repeated, checkpointed, compiled])
def test_loops_branches_and_compiled_functions(function):
    """What stands inside of them is written out, too; results keep their structure."""
    expanded = expand(function)
    assert is_standard(expanded, X)
    expected, found = function(X), expanded(X)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_settings_are_handed_on():
    """An axis, an implementation and a number are no arrays: they are settings in the program."""
    settings = {"axis": 0, "implementation": "xla", "epsilon": 0.5}
    expanded = expand(functional.layer_norm)(X, **settings)
    np.testing.assert_allclose(expanded, functional.layer_norm(X, **settings), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["gpu", "", "xla"])
def test_a_platform_that_is_not_known_is_refused(platform):
    """Before anything is computed, with the names that are."""
    with pytest.raises(ValueError, match=r"platform must be None or one of 'cpu', 'cuda'"):
        expand(functional.layer_norm, platform=platform)
