"""Programs written out in JAX's own primitives, for what reads them: exporters, curvature, costs.

An operation is one equation of a program, whatever it is made of. Expanded, its reference stands
in its place. That is done to a program as it is at last, derivatives taken: the operations' own
rules have had their say, so nothing of what they save in memory or accuracy is lost before.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .backends import BACKENDS
from .jax_internals import bind_again
from .kernel import Backend
from .lowering import program_of
from .primitive import operation_p, splittable_operation_p

ARRAYS = (jax.Array, np.ndarray, np.generic)
OURS = (operation_p, splittable_operation_p)
# Their programs are part of the one around them; of a derivative rule nothing is asked any more.
INLINED = {
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "jit",
    "pjit",
    "remat2",
}


def expand(function: Callable[..., Any], *, platform: str | None = None) -> Callable[..., Any]:
    """Writes a function out in JAX's own primitives.

    Args:
        function: A function of arrays that calls norms of this package, alone or in a network. To
            have its derivative written out, give the derivative: `expand(jax.grad(loss))`. What
            is no array among its arguments (an axis, a number) is handed on as it is.
        platform: `"cuda"`, `"rocm"`, `"tpu"` or `"cpu"` for the operations in the form that XLA's
            compiler for that platform is given, where there is one; None for the plain formulas.
            The result runs on every platform.

    Returns:
        A function with the same results up to rounding, in whose program (`jax.make_jaxpr`) no
        operation of this package is left, but for what stands inside a `jax.shard_map`.
        Derivatives are to be taken before: those of what it returns are JAX's own, of the
        formulas, and for `"cuda"` and `"rocm"`, where it may hold a loop, in forward mode alone.

    Raises:
        ValueError: If `platform` is not one of these.

    Example:
        >>> import jax.numpy as jnp
        >>> from inox.functional import layer_norm
        >>> program = jax.make_jaxpr(expand(layer_norm))(jnp.ones((2, 3)))
        >>> "inox" in str(program)
        False
    """
    if platform is not None and platform not in BACKENDS:
        raise ValueError(
            f"platform must be None or one of {', '.join(map(repr, BACKENDS))}; found "
            f"{platform!r}. None gives the plain formulas."
        )
    backend = None if platform is None else BACKENDS[platform]

    @functools.wraps(function)
    def expanded(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = jax.tree.flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, ARRAYS)]
        arrays = [leaves[i] for i in places]

        def of_arrays(*arrays: Any) -> Any:
            given = leaves.copy()
            for i, array in zip(places, arrays, strict=True):
                given[i] = array
            args, kwargs = jax.tree.unflatten(treedef, given)
            return function(*args, **kwargs)

        program, shapes = jax.make_jaxpr(of_arrays, return_shape=True)(*arrays)
        results = _evaluate(program.jaxpr, program.consts, arrays, backend)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return expanded


def _evaluate(
    program: Any, constants: Sequence[Any], arguments: Sequence[Any], backend: Backend | None
) -> list[Any]:
    """Carries a program out, equation by equation, with programs for operations."""
    values: dict[Any, Any] = dict(zip(program.constvars, constants, strict=True))
    values.update(zip(program.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in program.eqns:
        results = _results(equation, [read(atom) for atom in equation.invars], backend)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.outvars]


def _results(equation: Any, operands: list[Any], backend: Backend | None) -> Sequence[Any]:
    primitive, parameters = equation.primitive, equation.params
    if primitive in OURS:
        operation, names = parameters["operation"], parameters["names"]
        static = dict(parameters["static"])
        run = program_of(backend, operation, names, static, list(map(jax.typeof, operands)))
        program = jax.make_jaxpr(run)(*operands)
        return _evaluate(program.jaxpr, program.consts, operands, backend)
    inner = [value for value in parameters.values() if _is_program(value)]
    if primitive.name in INLINED and len(inner) == 1:
        closed = inner[0] if hasattr(inner[0], "consts") else None
        program, constants = (inner[0], ()) if closed is None else (closed.jaxpr, closed.consts)
        return _evaluate(program, constants, operands, backend)
    if primitive.name != "shard_map":  # a part of a mesh, which is known inside of it alone
        parameters = {name: _rewritten(value, backend) for name, value in parameters.items()}
    return bind_again(equation, operands, parameters)


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _rewritten(value: Any, backend: Backend | None) -> Any:
    """A parameter of an equation (a branch, the body of a loop) with its programs expanded."""
    if type(value) is tuple and any(map(_is_program, value)):
        return tuple(_rewritten(one, backend) for one in value)
    return _expanded(value, backend) if hasattr(value, "jaxpr") else value


def _expanded(program: Any, backend: Backend | None) -> Any:
    def run(*arguments: Any) -> list[Any]:
        return _evaluate(program.jaxpr, program.consts, arguments, backend)

    return jax.make_jaxpr(run)(*program.in_avals)
