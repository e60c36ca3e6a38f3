// The operations where a slice is contiguous in memory (length 1): see operations.h.
#pragma once

#include "operations/operations.h"

namespace inox {

bool normalize_rows(const Kernels& kernels, const Normalization& call, ThreadPool* pool);
bool cotangent_rows(const Kernels& kernels, const Normalization& call, ThreadPool* pool);
void reduce_slices(const Kernels& kernels, const Reduction& call, ThreadPool* pool);

}  // namespace inox
