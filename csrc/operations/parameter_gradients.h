// The gradients of the parameters, from the sums of the parts that the rows were divided into.
#pragma once

#include "operations/operations.h"

namespace inox {

// The sums lie at sums[outer][part][scale, bias][groups * channels]. They are added in the order of
// the parts, whoever formed them.
void add_parts(const Normalization& call, int64_t parts, double* sums, ThreadPool* pool);

}  // namespace inox
