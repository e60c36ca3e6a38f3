// The operations on plain memory, for any kernels and any pool of threads.
//
// Arrays are dense and row-major. The shape of x is (outer, inner, length, groups, channels): mean
// and variance are over length and channels. An `outer` index has parameters and gradients of its
// own, `inner` shares them. `inner` is 1 in moments and sums.
//
// Results depend on the shape and the instruction set alone, bit for bit, never on the threads.
#pragma once

#include <cstdint>

#include "elements.h"
#include "kernel_table.h"
#include "operations/thread_pool.h"

namespace inox {

struct Shape {
  int64_t outer, inner, length, groups, channels;

  int64_t row() const { return groups * channels; }
  int64_t sample() const { return length * groups * channels; }
  int64_t count() const { return outer * inner * sample(); }
};

// An array of (outer, groups, channels) numbers, or of (groups, channels) for every outer index.
struct Parameter {
  const void* data = nullptr;  // null where there is none
  bool for_each_outer = false;
};

// What results are returned in: null where not wanted.
struct Normalization {
  Element element;
  Shape shape;
  bool centred;
  double epsilon;
  const void* x;
  const void* dy;  // cotangent only
  Parameter scale;
  Parameter bias;
  void* y;  // or dx
  void* dscale;
  void* dbias;
  // For each (outer, inner), whether it takes part; null where all do. y and dx of the others are
  // 0, whatever they hold, and the gradients leave them out.
  const uint8_t* where = nullptr;
};

// Moments: t is null, first is the variance. Sums: first is that of t, second that of products.
struct Reduction {
  Element element;
  Shape shape;
  bool wide;  // t is of the accumulator type
  const void* x;
  const void* t;
  void* mean;
  void* mean_low;
  void* first;
  void* second;
};

// Each returns false where memory ran out; results are then undefined.
bool normalize(const Kernels& kernels, const Normalization& call, ThreadPool* pool);
bool normalize_cotangent(const Kernels& kernels, const Normalization& call, ThreadPool* pool);
bool moments(const Kernels& kernels, const Reduction& call, ThreadPool* pool);
bool centred_sums(const Kernels& kernels, const Reduction& call, ThreadPool* pool);

}  // namespace inox
