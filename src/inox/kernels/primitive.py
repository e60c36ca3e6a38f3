"""The JAX primitive that carries a record of each operation, in two variants.

What every operation needs, said once: batching, differentiation and transposition of the linear
ones, types of the results, and lowering.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .backends import BACKENDS
from .explicit_sharding import align_shardings
from .jax_internals import Primitive, ad, batching, mlir, register_float_checks, require_devices
from .lowering import lowering, splittable
from .mapped_axes import align_varying_axes
from .operation import Operation

Array = jax.Array


def apply(
    operation: Operation, static: Mapping[str, Any], **operands: Array | None
) -> tuple[Array, ...]:
    """Applies an operation; operands that are None are left out."""
    given = {name: operands[name] for name in operation.operands if operands.get(name) is not None}
    arrays = align_varying_axes(align_shardings(tuple(given.values())))
    primitive = splittable_operation_p if splittable(operation, static) else operation_p
    settings = tuple(sorted(static.items()))
    return tuple(primitive.bind(*arrays, operation=operation, names=tuple(given), static=settings))


# ---- types of the results


@functools.lru_cache(maxsize=4096)
def _result_types(avals: tuple[Any, ...], operation: Operation, names: Any, static: Any) -> Any:
    if operation.results is not None:
        known = operation.results(dict(zip(names, avals, strict=True)), **dict(static))
        if known is not None:
            return known
    return tuple(jax.make_jaxpr(operation.run(names, dict(static)))(*avals).out_avals)


def _abstract_evaluation(*avals: Any, operation: Operation, names: Any, static: Any) -> Any:
    """Shapes, dtypes, shardings and varying axes."""
    register_float_checks(operation_p, splittable_operation_p)
    return _result_types(avals, operation, names, static)


# ---- batching


def _batch(arrays: Any, dimensions: Any, *, operation: Operation, names: Any, static: Any) -> Any:
    """Batch dimensions go in front; an operand without one gets a dimension of size 1."""
    (size,) = {
        array.shape[dimension]
        for array, dimension in zip(arrays, dimensions, strict=True)
        if dimension is not None
    }
    arrays = [
        jnp.expand_dims(array, 0) if dimension is None else jnp.moveaxis(array, dimension, 0)
        for array, dimension in zip(arrays, dimensions, strict=True)
    ]
    results = apply(operation, dict(static), **dict(zip(names, arrays, strict=True)))
    # A result that depends on no batched operand keeps size 1 there.
    return (
        [result if result.shape[0] == size else jnp.squeeze(result, 0) for result in results],
        [0 if result.shape[0] == size else None for result in results],
    )


# ---- differentiation of the linear operations


def _jvp(primals: Any, tangents: Any, *, operation: Operation, names: Any, static: Any) -> Any:
    if operation.transpose is None:
        raise NotImplementedError(f"operation '{operation.name}' is differentiated by its caller")
    settings = dict(static)
    operands = dict(zip(names, primals, strict=True))
    nonzero = {
        name: tangent
        for name, tangent in zip(names, tangents, strict=True)
        if type(tangent) is not ad.Zero
    }
    results = apply(operation, settings, **operands)
    parts: list[tuple[Any, ...]] = []
    fixed = {name: operands[name] for name in names if name not in operation.linear}
    along = {name: nonzero.pop(name) for name in operation.linear if name in nonzero}
    if along:
        parts.append(apply(operation, settings, **along, **fixed))
    if nonzero:
        rest = {name: operands[name] for name in names if name not in nonzero}

        def of_nonlinear(values: dict[str, Any]) -> tuple[Any, ...]:
            return tuple(operation.reference(**values, **rest, **settings))

        point = {name: operands[name] for name in nonzero}
        parts.append(jax.jvp(of_nonlinear, (point,), (nonzero,))[1])
    if not parts:
        return results, [ad.Zero(jax.typeof(result).to_tangent_aval()) for result in results]
    return results, [functools.reduce(jnp.add, terms) for terms in zip(*parts, strict=True)]


def fit(x: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Sums (or repeats) over the dimensions in which `x` and `shape` differ, and casts."""
    extra = tuple(
        index
        for index, (have, want) in enumerate(zip(x.shape, shape, strict=True))
        if want == 1 != have
    )
    x = jnp.sum(x, extra, keepdims=True) if extra else x
    return jnp.broadcast_to(x, shape).astype(dtype)


def _transpose(cotangents: Any, *arrays: Any, operation: Operation, names: Any, static: Any) -> Any:
    if all(type(cotangent) is ad.Zero for cotangent in cotangents):
        return [None] * len(arrays)
    assert operation.transpose is not None
    wanted = {
        name: array.aval
        for name, array in zip(names, arrays, strict=True)
        if ad.is_undefined_primal(array)
    }
    fixed = {
        name: array
        for name, array in zip(names, arrays, strict=True)
        if name not in operation.linear
    }
    given = tuple(None if type(c) is ad.Zero else c for c in cotangents)
    results = operation.transpose(given, wanted, **fixed, **dict(static))
    return [
        fit(results[name], wanted[name].shape, wanted[name].dtype) if name in wanted else None
        for name in names
    ]


# ---- the primitive


def _primitive(name: str) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = True
    compiled = jax.jit(primitive.bind, static_argnames=("operation", "names", "static"))

    @primitive.def_impl
    def _evaluate(*arrays: Array, **parameters: Any) -> Any:
        """Outside of any transformation: compiled once for its shapes and settings.

        As JAX's own primitives, also where `jax.disable_jit` is on.
        """
        with jax.disable_jit(False):
            return compiled(*arrays, **parameters)

    primitive.def_abstract_eval(_abstract_evaluation)
    batching.primitive_batchers[primitive] = _batch
    ad.primitive_jvps[primitive] = _jvp
    ad.primitive_transposes[primitive] = _transpose
    mlir.register_lowering(primitive, lowering(None))
    for platform, backend in BACKENDS.items():
        mlir.register_lowering(primitive, lowering(backend), platform=platform)
    return primitive


operation_p = _primitive("inox_operation")
# For operations that may be carried out on parts. Those have to know the devices when they are
# lowered, which JAX refuses for an abstract mesh: so it is a primitive of its own.
splittable_operation_p = _primitive("inox_splittable_operation")
require_devices(splittable_operation_p)
