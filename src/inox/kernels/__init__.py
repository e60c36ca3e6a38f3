"""Speed: how an operation on arrays is carried out.

An operation (:mod:`inox.kernels.operation`) is a record: a name, a reference written with
`jax.numpy`, and, where it is linear in some operands, its transpose. JAX primitives of one kind
carry every record, so that batching, differentiation, the split over devices and lowering are
written once. Nothing here knows about layers or formulas.
"""

from .backends import BACKENDS

# Found when the package is imported, for programs that were exported with kernels in them.
for _backend in BACKENDS.values():
    _backend.kernels()
