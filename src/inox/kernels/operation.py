"""One JAX primitive that carries a record of each operation.

The operands of every operation have the same rank; a dimension has full size or size 1, as in
broadcasting, and axes are counted from the end (negative). So a batch dimension is a new
dimension in front: no operation needs a batching rule of its own, and none needs to know how
many times it was batched.

An operation is either

- nonlinear: derivatives are attached from outside with `jax.custom_jvp`, in terms of linear
  operations, or
- linear in some of its operands, the others held fixed. A linear operand that is left out stands
  for zero, which is how work is skipped where a tangent is zero. The record brings the transpose;
  the derivative in the other operands is that of the reference.

The reference is the meaning: abstract evaluation traces it, and every platform without a kernel
lowers it (:mod:`.lowering`).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .cpu.calls import Kernel
from .cpu.library import library
from .jax_internals import Primitive, ad, align_varying_axes, batching, require_devices
from .lowering import register_lowerings

Array = jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Operation:
    """The record of an operation.

    Args:
        name: The name, for people and for backends.
        operands: The names of the operands, linear ones first; any may be left out of a call
            unless the reference needs it.
        reference: `(**operands, **static) -> tuple of arrays`, written with `jax.numpy`.
        linear: The names of the operands in which the operation is linear.
        platforms: Other ways to compute the same on a platform, by its name; same signature as the
            reference.
        kernel: `(operands by name, **static) -> cpu.calls.Kernel`, from shapes and dtypes to the
            CPU kernel, or None where there is none for them.
        transpose: `(cotangents, wanted, **other operands, **static) -> dict`; `cotangents` holds
            an array or None (zero) for each result, `wanted` maps the name of each linear operand
            that takes a cotangent to its shape and dtype.
    """

    name: str
    operands: tuple[str, ...]
    reference: Callable[..., tuple[Array, ...]]
    linear: tuple[str, ...] = ()
    transpose: Callable[..., Mapping[str, Array]] | None = None
    platforms: Mapping[str, Callable[..., tuple[Array, ...]]] = dataclasses.field(
        default_factory=dict[str, Callable[..., tuple[Array, ...]]]
    )
    kernel: Callable[..., Kernel | None] | None = None

    def __call__(self, static: Mapping[str, Any], **operands: Array | None) -> tuple[Array, ...]:
        """Applies the operation; operands that are None are left out."""
        names = tuple(name for name in self.operands if operands.get(name) is not None)
        arrays = align_varying_axes(tuple(operands[name] for name in names))
        settings = tuple(sorted(static.items()))
        primitive = kernel_p if self.may_use_kernels(static) else operation_p
        return tuple(primitive.bind(*arrays, operation=self, names=names, static=settings))

    def may_use_kernels(self, static: Mapping[str, Any]) -> bool:
        """Whether a call with these settings has a kernel on CPU, for some shapes and dtypes."""
        wanted = self.kernel is not None and static.get("implementation") != "xla"
        return wanted and library().available

    def run(
        self,
        names: tuple[str, ...],
        static: tuple[tuple[str, Any], ...],
        platform: str | None = None,
    ) -> Callable[..., tuple[Array, ...]]:
        """The reference, or what a platform has instead, as a function of positional arrays."""
        function = self.reference
        if platform is not None:
            function = self.platforms.get(platform, function)

        def positional(*arrays: Array) -> tuple[Array, ...]:
            return tuple(function(**dict(zip(names, arrays, strict=True)), **dict(static)))

        return positional


@functools.lru_cache(maxsize=4096)
def _result_types(
    avals: tuple[Any, ...], operation: Operation, names: tuple[str, ...], static: Any
) -> tuple[Any, ...]:
    return tuple(jax.make_jaxpr(operation.run(names, static))(*avals).out_avals)


def _abstract_evaluation(
    *avals: Any, operation: Operation, names: tuple[str, ...], static: Any
) -> tuple[Any, ...]:
    """Shapes, dtypes, shardings and varying axes: all from tracing the reference."""
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
    results = operation(dict(static), **dict(zip(names, arrays, strict=True)))
    # A result that depends on no batched operand keeps size 1 there.
    return (
        [result if result.shape[0] == size else jnp.squeeze(result, 0) for result in results],
        [0 if result.shape[0] == size else None for result in results],
    )


# ---- differentiation of the linear operations


def _jvp(primals: Any, tangents: Any, *, operation: Operation, names: Any, static: Any) -> Any:
    if operation.transpose is None:
        raise NotImplementedError(f"operation '{operation.name}' is differentiated by its caller")
    operands = dict(zip(names, primals, strict=True))
    moving = {
        name: tangent
        for name, tangent in zip(names, tangents, strict=True)
        if type(tangent) is not ad.Zero
    }
    results = operation(dict(static), **operands)
    parts: list[tuple[Any, ...]] = []
    fixed = {name: operands[name] for name in names if name not in operation.linear}
    along = {name: moving.pop(name) for name in operation.linear if name in moving}
    if along:
        parts.append(operation(dict(static), **along, **fixed))
    if moving:
        rest = {name: operands[name] for name in names if name not in moving}

        def of_moving(values: dict[str, Any]) -> tuple[Any, ...]:
            return tuple(operation.reference(**values, **rest, **dict(static)))

        point = {name: operands[name] for name in moving}
        parts.append(jax.jvp(of_moving, (point,), (moving,))[1])
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
    register_lowerings(primitive)
    return primitive


operation_p = _primitive("inox_operation")
# For operations that may turn out to be kernels. Those have to know the devices when they are
# lowered, which JAX refuses for an abstract mesh: so it is a primitive of its own.
kernel_p = _primitive("inox_kernel_operation")
require_devices(kernel_p)
