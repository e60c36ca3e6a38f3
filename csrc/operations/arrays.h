// Arrays of an element type that is known at run time: places in them, and sums written to them.
#pragma once

#include <cstdint>

#include "elements.h"

namespace inox {

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

}  // namespace inox
