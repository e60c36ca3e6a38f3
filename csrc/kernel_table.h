// What the translation units compiled for one instruction set export: functions over plain memory,
// a table of them for each element type. They use no threads and allocate nothing.
//
// `x`, `dy` and `y` are arrays of the element type, `scale` and `bias` of its accumulator type
// (elements.h); null pointers stand for what is absent or not wanted.
#pragma once

#include <cstdint>

#include "elements.h"

namespace inox {

// Rows of `groups` slices, each of `channels` contiguous elements normalized by itself. Row r
// begins at x + r * groups * channels; parameters have groups * channels elements.
struct Rows {
  const void* x;
  const void* dy;  // for the cotangent
  const void* scale;
  const void* bias;
  void* y;  // or dx
  int64_t groups;
  int64_t channels;
  double epsilon;
  bool centred;
  bool past_cache;  // y is stored past the caches; each row of it is then aligned to 64 bytes
  const void* dr = nullptr;  // added to dx before that is rounded, in its type; null for nothing
};

// Slices of `channels` contiguous elements and the results of each: statistics, or sums of t
// (its type told by `wide`: that of x, or the accumulator's) and of t * ((x - mean) - mean_low).
struct Slices {
  const void* x;
  const void* t;
  bool wide;
  int64_t channels;
  void* mean;
  void* mean_low;
  void* first;   // the variance, or the sum of t
  void* second;  // the sum of products
};

// Part of a matrix, reduced or mapped by column: `rows` rows of `width` contiguous elements,
// `stride` elements apart. The other pointers are to one number a column.
struct Columns {
  const void* x;
  const void* t;  // dy, or the t of sums
  bool wide;      // t is of the accumulator type
  void* y;
  int64_t rows;
  int64_t width;
  int64_t stride;
  const double* shift;
};

// Sums over the rows of a matrix, a number a column; d = x - shift. They are added to.
struct ColumnSums {
  double* d;
  double* dd;
  double* t;
  double* td;
};

// The coefficients of a map by column: y = factor * d + offset, with + t_factor * t for dx. They
// are those of slices of `count` elements.
struct ColumnMap {
  const double* factor;
  const double* offset;
  const double* t_factor;
  int64_t count;
};

// `count` contiguous numbers, of consecutive rows of `width`, added to a residual. This and its sum
// r are of the element type, or of the accumulator's (`wide`).
struct Addition {
  int64_t count, width;
  bool wide;
  bool past_cache;  // results are stored past the caches; they are aligned to 64 bytes
};

// A shift is too far from the mean where delta^2 is above this share of Q / n (row_sums.h).
inline constexpr double kFarFromMean = 0.985;

struct ElementKernels {
  // Normalizes the rows from `begin` to `end`.
  void (*normalize_rows)(const Rows&, int64_t begin, int64_t end);
  // The gradients: dx, where y is given, and sums that are added to dscale and dbias.
  void (*cotangent_rows)(const Rows&, int64_t begin, int64_t end, double* dscale, double* dbias);
  void (*slice_moments)(const Slices&, int64_t begin, int64_t end);
  void (*slice_products)(const Slices&, int64_t begin, int64_t end);
  // Sums of d and d * d, of t and t * d, or all four.
  void (*column_moments)(const Columns&, const ColumnSums&);
  void (*column_products)(const Columns&, const ColumnSums&);
  void (*column_moments_and_products)(const Columns&, const ColumnSums&);
  void (*column_normalize)(const Columns&, const ColumnMap&);
  void (*column_cotangent)(const Columns&, const ColumnMap&);
  // `count` numbers of the element type, `stride` apart, as float64.
  void (*widen)(const void* from, int64_t count, int64_t stride, double* to);
  // sum = residual + gate x in the accumulator type, with a gate for each place in a row, or none;
  // r is the sum rounded, where it is given.
  void (*add_residual)(const Addition&, const void* x, const void* residual, const void* gate,
                       void* sum, void* r);
  // What reaches x and the gate: of the gradient dt of the sum, in the accumulator type, dresidual
  // is dt, dx is gate dt, both rounded, and dt x of all rows is added to dgate. What is null is not
  // wanted.
  void (*gate_cotangent)(const Addition&, const void* dt, const void* x, const void* gate,
                         void* dresidual, void* dx, double* dgate);
  // `count` numbers between the element type and the accumulator's.
  void (*to_accumulators)(const void* from, int64_t count, void* to);
  void (*from_accumulators)(const void* from, int64_t count, bool past_cache, void* to);
  // Rows of sums in the accumulator type: y and dy are of the element type, and so are dx and dr,
  // or of the accumulator's (`wide`). Each returns false, with nothing done, where widened rows are
  // the way to it.
  bool (*normalize_sums)(const Rows&, int64_t begin, int64_t end);
  bool (*cotangent_sums)(const Rows&, bool wide, int64_t begin, int64_t end, double* dscale,
                         double* dbias);
};

struct Kernels {
  const char* instruction_set;
  const ElementKernels* elements[kElements];

  const ElementKernels& operator[](Element element) const { return *elements[int(element)]; }
};

}  // namespace inox
