// A residual added and the rows of the sum normalized, and the gradients.
#pragma once

#include "operations/operations.h"

namespace inox {

// Rows alone (a length of 1), and no mask. The residual, r, and what belongs to r are of the
// element type, or of the accumulator's (`wide`).
struct ResidualNormalization {
  // Forward: y. Backward: dy, dscale, dbias. Not x, nor y as dx.
  Normalization norm;
  bool wide;
  bool of_rounded;  // r is normalized, and not the sum before its rounding
  const void* x;
  const void* residual;
  Parameter gate;
  void* r;
  // Backward: the sum as it was normalized, of r's type; null where it is formed of x, the residual
  // and the gate. x is there for the gradient of the gate as well.
  const void* total;
  const void* dr;  // null where nothing reaches r
  // Null where not wanted. Without a gate dx is dresidual where r is of the element type, and then
  // not given by itself.
  void* dresidual;
  void* dx;
  void* dgate;
};

// Each returns false where memory ran out; results are then undefined.
bool add_normalize(const Kernels& kernels, const ResidualNormalization& call, ThreadPool* pool);
bool add_cotangent(const Kernels& kernels, const ResidualNormalization& call, ThreadPool* pool);

}  // namespace inox
