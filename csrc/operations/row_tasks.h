// How rows become tasks: parts of consecutive rows, which have sums of their own where they add up
// gradients of parameters.
#pragma once

#include <atomic>
#include <cstring>

#include "operations/arrays.h"
#include "operations/operations.h"
#include "operations/parameter_gradients.h"
#include "operations/scratch.h"
#include "operations/work_division.h"

namespace inox {

// A part of rows this short spends more on its sums for the parameters than on the rows.
inline constexpr int64_t kLeastRows = 64;
inline constexpr int64_t kMostParts = 64;

// A result of this size is stored past the caches: with what it is computed from it is more than
// they hold, so whoever reads it next finds little of it there, and a line that is stored need not
// be read first, which is a third of the traffic of a forward pass.
inline constexpr int64_t kPastCacheBytes = 16 << 20;
inline constexpr int64_t kLine = 64;

// Whether so many elements, in pieces of `piece`, may be stored past the caches at an address.
inline bool may_pass_cache(const void* to, int64_t count, int64_t piece, int64_t element_bytes) {
  return count * element_bytes >= kPastCacheBytes && piece * element_bytes % kLine == 0 &&
         reinterpret_cast<uintptr_t>(to) % kLine == 0;
}

// A parameter's numbers for an outer index.
inline const void* of_outer(const Normalization& call, const Parameter& parameter, int64_t outer) {
  const int64_t bytes = size_of(accumulator_of(call.element)) * call.shape.row();
  return parameter.for_each_outer ? advance(parameter.data, outer * bytes) : parameter.data;
}

// The sums of a part, a number for each place in a row. Scale and bias have theirs where one of the
// gradients is wanted, else both are null.
struct PartSums {
  double* scale;
  double* bias;
  double* gate;
};

// Calls body(outer index, first row, end, sums, buffer) for parts of rows, which read `row_bytes`
// of each, and adds up the sums of the parts in their order. The sums begin as 0; the buffer, of
// that many numbers, is the task's own. Returns false where memory ran out.
template <class Body>
bool for_each_part_of_rows(const Normalization& call, const ParameterGradients& gradients,
                           ThreadPool* pool, int64_t row_bytes, int64_t buffer, const Body& body) {
  const Shape& shape = call.shape;
  const int64_t size = shape.row(), all = gradients.count() * size;
  const bool parameters = all != 0;
  const Parts parts(shape.outer, shape.inner, row_bytes, parameters ? kLeastRows : 1,
                    parameters ? kMostParts : shape.inner);
  const bool partial = parameters && parts.per_outer > 1;
  double* sums = partial ? call_scratch().reserve(all * parts.count()) : nullptr;
  if (partial && !sums) return false;
  const int64_t own_size = parameters && !partial ? all : 0;
  std::atomic<bool> failed{false};
  for_each_task(pool, parts.tasks(), [&](int64_t task) {
    double* memory = own_size + buffer ? task_scratch().reserve(own_size + buffer) : nullptr;
    if (own_size + buffer && !memory) {
      failed = true;
      return;
    }
    parts.for_each_of(task, [&](int64_t part, int64_t o, int64_t begin, int64_t end) {
      double* of_part = partial ? sums + all * part : parameters ? memory : nullptr;
      if (parameters) std::memset(of_part, 0, all * sizeof(double));
      PartSums part_sums = {};
      if (gradients.scale || gradients.bias) {
        part_sums.scale = of_part, part_sums.bias = of_part + size;
      }
      if (gradients.gate) part_sums.gate = of_part + 2 * size;
      body(o, o * shape.inner + begin, o * shape.inner + end, part_sums,
           buffer ? memory + own_size : nullptr);
      if (own_size == 0) return;
      for (int64_t i = 0; i < gradients.count(); ++i) {
        round_to(call.element, of_part + i * size, size, gradients[i], o * size);
      }
    });
  });
  if (partial) add_parts(call.element, shape, gradients, parts.per_outer, sums, pool);
  return !failed;
}

}  // namespace inox
