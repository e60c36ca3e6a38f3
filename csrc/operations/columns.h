// The operations where a slice is spread over the rows of a matrix (length > 1): see operations.h.
#pragma once

#include "operations/operations.h"

namespace inox {

bool normalize_columns(const Kernels& kernels, const Normalization& call, ThreadPool* pool);
bool cotangent_columns(const Kernels& kernels, const Normalization& call, ThreadPool* pool);
bool reduce_columns(const Kernels& kernels, const Reduction& call, ThreadPool* pool);

}  // namespace inox
