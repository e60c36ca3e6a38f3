// One random call of the operations with a residual, and what they are held to.
#pragma once

#include <string>

#include "operations/thread_pool.h"
#include "tests/guarded.h"

namespace inox {
struct Kernels;
}

namespace inox::test {

// Adds and normalizes, and computes the gradients, of at most `budget` elements: to the results of
// the operations without a residual on the sum, which are tested by themselves. Returns what is
// wrong, or nothing, and the bytes of the results in `results`.
std::string run_residual(const Kernels& kernels, uint64_t seed, int64_t budget, ThreadPool* pool,
                         std::string& results);

}  // namespace inox::test
