// Float64 sums, rounded to arrays of the accumulator type.
#pragma once

#include "operations/operations.h"
#include "operations/work_division.h"

namespace inox {

inline Element accumulator_of(Element element) {
  return element == Element::kFloat64 ? Element::kFloat64 : Element::kFloat32;
}

inline const void* advance(const void* pointer, int64_t bytes) {
  return pointer ? static_cast<const char*>(pointer) + bytes : nullptr;
}

inline void* advance(void* pointer, int64_t bytes) {
  return pointer ? static_cast<char*>(pointer) + bytes : nullptr;
}

// Writes `count` sums to out[at...], an array of the element's accumulator type, if there is one.
inline void round_to(Element element, const double* sums, int64_t count, void* out, int64_t at) {
  if (!out) return;
  if (element == Element::kFloat64) {
    for (int64_t i = 0; i < count; ++i) static_cast<double*>(out)[at + i] = sums[i];
  } else {
    for (int64_t i = 0; i < count; ++i) static_cast<float*>(out)[at + i] = float(sums[i]);
  }
}

// The gradients of the parameters from the sums of parts, which lie at
// sums[outer][part][scale, bias][groups * channels]: added in the order of the parts.
inline void fold_parts(const Normalization& call, int64_t parts, double* sums, ThreadPool* pool) {
  constexpr int64_t kBlock = 1024;
  const int64_t size = call.shape.row(), blocks = divide_up(2 * size, kBlock);
  for_each_task(parts * size > 32 << 10 ? pool : nullptr, call.shape.outer * blocks,
                [&](int64_t task) {
    const int64_t outer = task / blocks, begin = task % blocks * kBlock;
    const int64_t end = std::min(2 * size, begin + kBlock);
    double* total = sums + outer * parts * 2 * size;
    for (int64_t part = 1; part < parts; ++part) {
      const double* of_part = total + part * 2 * size;
      for (int64_t i = begin; i < end; ++i) total[i] += of_part[i];
    }
    const int64_t middle = std::min(std::max(begin, size), end);
    round_to(call.element, total + begin, middle - begin, call.dscale, outer * size + begin);
    round_to(call.element, total + middle, end - middle, call.dbias, outer * size + middle - size);
  });
}

}  // namespace inox
