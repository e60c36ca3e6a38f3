"""A program whose sums are added up as accelerators add: in lanes and trees, not one by one.

XLA's compiler for CPU adds few numbers one after the other, where those for GPU and TPU have a lane
for each of some hundred partial sums. What a program meant for them loses is measured with sums in
lanes, so that the figure isn't that of the CPU's own order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from inox.kernels.jax_internals import bind_again


def with_tree_sums(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays with every sum over axes in its program added up in lanes."""

    def run(*arguments: Any) -> Any:
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        leaves = jax.tree.leaves(arguments)
        results = _evaluate(program.jaxpr, program.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return run


def _evaluate(program: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values = dict(zip(program.constvars, constants, strict=True))
    values.update(zip(program.invars, arguments, strict=True))
    for equation in program.eqns:
        operands = [a.val if hasattr(a, "val") else values[a] for a in equation.invars]
        values.update(zip(equation.outvars, _results(equation, operands), strict=True))
    return [a.val if hasattr(a, "val") else values[a] for a in program.outvars]


def _results(equation: Any, operands: list[Any]) -> Sequence[Any]:
    name, parameters = equation.primitive.name, equation.params
    if name == "reduce_sum" and jnp.issubdtype(operands[0].dtype, jnp.floating):
        return [_in_lanes(operands[0], parameters["axes"])]
    if name == "reduce":  # several sums at once
        terms = operands[: len(operands) // 2]
        return [_in_lanes(term, parameters["dimensions"]) for term in terms]
    if name in ("pjit", "jit"):
        inner = parameters["jaxpr"]
        return _evaluate(inner.jaxpr, inner.consts, operands)
    if name == "cond":
        branches = [_branch(closed) for closed in parameters["branches"]]
        return lax.switch(operands[0], branches, *operands[1:])
    if name == "while":
        return _repeated(parameters, operands)
    return bind_again(equation, operands, parameters)


def _repeated(parameters: Any, operands: list[Any]) -> Any:
    of_condition, of_body = parameters["cond_nconsts"], parameters["body_nconsts"]
    first, second, state = (
        operands[:of_condition],
        operands[of_condition : of_condition + of_body],
        operands[of_condition + of_body :],
    )
    condition, body = _branch(parameters["cond_jaxpr"]), _branch(parameters["body_jaxpr"])
    return lax.while_loop(lambda s: condition(*first, *s)[0], lambda s: body(*second, *s), state)


def _branch(closed: Any) -> Callable[..., Any]:
    return lambda *operands: _evaluate(closed.jaxpr, closed.consts, operands)


# How many terms are added one after the other, as those of a lane are.
LANE = 4


def _in_lanes(x: Any, axes: Sequence[int]) -> Any:
    rest = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    x = jnp.moveaxis(x, axes, range(len(axes))).reshape(-1, *rest)
    while x.shape[0] > 1:
        missing = -x.shape[0] % LANE
        x = jnp.concatenate([x, jnp.zeros((missing, *rest), x.dtype)])
        # Apart from the next round, or all of them become one sum.
        x = lax.optimization_barrier(jnp.sum(x.reshape(-1, LANE, *rest), 1))
    return x[0]
