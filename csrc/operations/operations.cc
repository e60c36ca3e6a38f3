// Chooses between rows and columns, and runs small calls on the caller's thread.
#include "operations/operations.h"

#include "operations/columns.h"
#include "operations/rows.h"
#include "operations/work_division.h"

namespace inox {
namespace {

// Over one group there is no order among the elements of a sample: all are rows of one column,
// which is divided over threads where a single slice would not be.
Shape as_column(Shape shape) {
  if (shape.groups == 1 && shape.length * shape.channels >= (16 << 10)) {
    shape.length *= shape.channels;
    shape.channels = 1;
  }
  return shape;
}

bool reduce(const Kernels& kernels, Reduction call, ThreadPool* pool) {
  call.shape = as_column(call.shape);
  pool = unless_small(pool, call.shape.count() * size_of(call.element));
  if (call.shape.length > 1) return reduce_columns(kernels, call, pool);
  reduce_slices(kernels, call, pool);
  return true;
}

}  // namespace

bool normalize(const Kernels& kernels, const Normalization& call, ThreadPool* pool) {
  pool = unless_small(pool, call.shape.count() * size_of(call.element));
  return call.shape.length > 1 ? normalize_columns(kernels, call, pool)
                               : normalize_rows(kernels, call, pool);
}

bool normalize_cotangent(const Kernels& kernels, const Normalization& call, ThreadPool* pool) {
  pool = unless_small(pool, call.shape.count() * size_of(call.element));
  return call.shape.length > 1 ? cotangent_columns(kernels, call, pool)
                               : cotangent_rows(kernels, call, pool);
}

bool moments(const Kernels& kernels, const Reduction& call, ThreadPool* pool) {
  return reduce(kernels, call, pool);
}

bool centred_sums(const Kernels& kernels, const Reduction& call, ThreadPool* pool) {
  return reduce(kernels, call, pool);
}

}  // namespace inox
