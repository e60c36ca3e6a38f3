// One sample whose slices are spread over the rows of a matrix: its sums, statistics, and maps.
//
// The matrix has `length` rows of `groups` groups of `channels` columns, rows being `stride`
// elements apart; a slice is all rows of a group's columns. Sums are by column first, with one
// shift a group, then over a group's columns; from its statistics follow coefficients for each
// column, and elements are mapped by them in a second pass (column_kernels.h,
// column_maps.h, row_sums.h).
//
// Where rows are short and follow each other, several are taken as one wide row ("tiles"), so that
// vectors are full: three channels are summed as 24 columns. What is left is one incomplete row.
#pragma once

#include "operations/operations.h"
#include "operations/work_division.h"

namespace inox {

class ColumnSample {
 public:
  // `parts`: whether rows are divided into parts, which several threads may work on.
  ColumnSample(const Kernels& kernels, Element element, int64_t length, int64_t groups,
               int64_t channels, int64_t stride, bool parts);

  // How many numbers of scratch memory a sample needs.
  int64_t scratch_size() const { return groups_ + 4 * width_ + part_size() * parts_; }

  // The place of the sample, and memory to work in; statistics are yet to be found.
  void start(const void* x, const void* t, bool wide, double* scratch);

  // Shifts that the caller knows, a number a group.
  double* shifts() { return shift_; }
  void spread_shifts();
  // The sums that are asked for, into column(); with moments around a shift chosen here.
  void sum_moments(bool centred, bool products, ThreadPool* pool);
  void sum_products(ThreadPool* pool);

  enum Kind { kD, kDD, kT, kTD };
  // The sums of a column, and of the columns of a group.
  double* column(Kind kind) const { return sums_ + kind * width_; }
  double group(Kind kind, int64_t group) const;
  double count() const { return double(length_) * double(channels_); }

  // Coefficients of a column, to be set before mapping (kernel_table.h: ColumnMap).
  double* factor() { return map_; }
  double* offset() { return map_ + width_; }
  double* t_factor() { return map_ + 2 * width_; }
  void map(bool cotangent, void* y, ThreadPool* pool);

  int64_t groups() const { return groups_; }
  int64_t channels() const { return channels_; }

 private:
  template <class Body>
  void for_each_piece(int64_t part, const Body& body) const;
  void sum(bool moments, bool products, ThreadPool* pool);
  // The sums of a part, and where chains of additions are short, what they lose and a segment's.
  int64_t part_size() const { return (short_chains_ ? 12 : 4) * width_; }
  void spread(double* columns) const;

  const ElementKernels& kernels_;
  Element element_;
  bool short_chains_;  // in float64, where each bit counts
  int64_t length_, groups_, channels_, stride_;
  int64_t width_, tiles_ = 1;
  int64_t wide_rows_, rest_;  // rest: elements of the incomplete wide row
  int64_t parts_, part_rows_;
  const void* x_ = nullptr;
  const void* t_ = nullptr;
  bool wide_ = false;
  // A shift a group, and a shift, coefficients and, for each part, sums a column.
  double *shift_ = nullptr, *shifts_ = nullptr, *map_ = nullptr, *sums_ = nullptr;
};

}  // namespace inox
