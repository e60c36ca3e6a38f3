#include "operations/column_sample.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "operations/arrays.h"

namespace inox {
namespace {

constexpr int64_t kLeastRows = 64;
constexpr int64_t kMostParts = 64;
// A segment of rows is summed at once where chains of additions are to be short.
constexpr int64_t kSegmentRows = 64;

// Adds `terms` to `sums`, and what is rounded off to `lost` (Knuth's two-sum).
void add_exactly(const double* terms, int64_t count, double* sums, double* lost) {
  for (int64_t i = 0; i < count; ++i) {
    const double sum = sums[i] + terms[i], part = sum - sums[i];
    lost[i] += (sums[i] - (sum - part)) + (terms[i] - part);
    sums[i] = sum;
  }
}

// Adds up `count` arrays of `size` numbers, `stride` apart, into the first one: in pairs, whose
// sums are added in pairs again, so that rounding errors grow with the logarithm of the count.
void add_in_pairs(double* arrays, int64_t count, int64_t stride, int64_t size) {
  for (int64_t step = 1; step < count; step *= 2) {
    for (int64_t i = 0; i + step < count; i += 2 * step) {
      double *to = arrays + i * stride, *from = to + step * stride;
      for (int64_t k = 0; k < size; ++k) to[k] += from[k];
    }
  }
}

double sum_in_pairs(const double* numbers, int64_t count) {
  if (count > 8) {
    const int64_t half = count / 2;
    return sum_in_pairs(numbers, half) + sum_in_pairs(numbers + half, count - half);
  }
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += numbers[i];
  return total;
}

}  // namespace

ColumnSample::ColumnSample(const Kernels& kernels, Element element, int64_t length, int64_t groups,
                           int64_t channels, int64_t stride, bool parts)
    : kernels_(kernels[element]),
      element_(element),
      short_chains_(element == Element::kFloat64),
      length_(length),
      groups_(groups),
      channels_(channels),
      stride_(stride),
      width_(groups * channels),
      wide_rows_(length),
      rest_(0),
      parts_(1),
      part_rows_(length) {
  // Rows of 64 columns on are worth a vector loop of their own, but for a remainder that shows
  // below 256. Eight is the number of lanes of the widest vectors.
  if (stride == width_ && width_ < 256 && (width_ < 64 || width_ % 8 != 0)) {
    const int64_t whole = 8 / std::gcd(width_, int64_t(8));
    tiles_ = std::min(length, whole * std::max<int64_t>(1, divide_up(64, whole * width_)));
  }
  rest_ = length % tiles_ * width_;
  wide_rows_ = length / tiles_;
  width_ *= tiles_;
  stride_ *= tiles_;
  // Rows are divided into parts for several threads. Each has sums of its own: 64 rows keep them
  // few.
  part_rows_ = wide_rows_;
  if (parts) {
    const int64_t even = divide_up(wide_rows_, kMostParts);
    const int64_t rows = kTaskBytes / (width_ * size_of(element));
    part_rows_ = divide_up(std::max({kLeastRows, rows, even}), 8) * 8;
  }
  part_rows_ = std::max<int64_t>(1, std::min(part_rows_, wide_rows_));
  parts_ = std::max<int64_t>(1, divide_up(wide_rows_, part_rows_));
}

void ColumnSample::start(const void* x, const void* t, bool wide, double* scratch) {
  x_ = x;
  t_ = t;
  wide_ = wide;
  shift_ = scratch;
  shifts_ = shift_ + groups_;
  map_ = shifts_ + width_;
  sums_ = map_ + 3 * width_;
}

// Calls body(rows, width, offset in elements) for the whole rows of a part and, in the last one,
// for the incomplete row.
template <class Body>
void ColumnSample::for_each_piece(int64_t part, const Body& body) const {
  const int64_t begin = part * part_rows_, end = std::min(wide_rows_, begin + part_rows_);
  if (end > begin) body(end - begin, width_, begin * stride_);
  if (part == parts_ - 1 && rest_ > 0) body(1, rest_, wide_rows_ * stride_);
}

// Repeats the first tile of an array of columns.
void ColumnSample::spread(double* columns) const {
  const int64_t size = width_ / tiles_;
  for (int64_t tile = 1; tile < tiles_; ++tile) {
    std::memcpy(columns + tile * size, columns, size * sizeof(double));
  }
}

void ColumnSample::spread_shifts() {
  for (int64_t g = 0; g < groups_; ++g) {
    for (int64_t c = 0; c < channels_; ++c) shifts_[g * channels_ + c] = shift_[g];
  }
  spread(shifts_);
}

void ColumnSample::sum(bool moments, bool products, ThreadPool* pool) {
  auto* kernel = !products ? kernels_.column_moments
                 : moments ? kernels_.column_moments_and_products
                           : kernels_.column_products;
  const int64_t bytes = size_of(element_),
                t_bytes = wide_ ? size_of(accumulator_of(element_)) : bytes;
  for_each_task(pool, parts_, [&](int64_t part) {
    double *of_part = sums_ + part * part_size(), *lost = of_part + 4 * width_;
    std::memset(of_part, 0, part_size() * sizeof(double));
    double* of = short_chains_ ? lost + 4 * width_ : of_part;
    auto add = [&](int64_t rows, int64_t width, int64_t at) {
      const Columns columns = {advance(x_, at * bytes),
                               advance(t_, at * t_bytes),
                               wide_,
                               nullptr,
                               rows,
                               width,
                               stride_,
                               shifts_};
      kernel(columns, {of, of + width_, of + 2 * width_, of + 3 * width_});
    };
    for_each_piece(part, [&](int64_t rows, int64_t width, int64_t at) {
      if (!short_chains_) {
        add(rows, width, at);
        return;
      }
      for (int64_t row = 0; row < rows; row += kSegmentRows) {
        std::memset(of, 0, 4 * width_ * sizeof(double));
        add(std::min(kSegmentRows, rows - row), width, at + row * stride_);
        add_exactly(of, 4 * width_, of_part, lost);
      }
    });
    if (short_chains_) {
      for (int64_t i = 0; i < 4 * width_; ++i) {
        if (std::isfinite(lost[i])) of_part[i] += lost[i];  // of an infinite sum nothing is lost
      }
    }
  });
  add_in_pairs(sums_, parts_, part_size(), 4 * width_);
  for (int kind = 0; kind < 4; ++kind) {
    add_in_pairs(sums_ + kind * width_, tiles_, width_ / tiles_, width_ / tiles_);
  }
}

double ColumnSample::group(Kind kind, int64_t group) const {
  return sum_in_pairs(column(kind) + group * channels_, channels_);
}

void ColumnSample::sum_moments(bool centred, bool products, ThreadPool* pool) {
  if (!centred) {
    std::memset(shift_, 0, groups_ * sizeof(double));
    spread_shifts();
    sum(true, products, pool);
    return;
  }
  kernels_.widen(x_, groups_, channels_, shift_);
  spread_shifts();
  sum(true, products, pool);
  // Around the mean once more, in the groups whose first element is far from it (row_sums.h); the
  // others keep their shift, and with it every bit.
  bool again = false;
  for (int64_t g = 0; g < groups_; ++g) {
    const double d = group(kD, g), delta = d / count();
    if (element_ == Element::kFloat64 || d * delta > kFarFromMean * group(kDD, g)) {
      shift_[g] += delta;
      again = true;
    }
  }
  if (!again) return;
  spread_shifts();
  sum(true, products, pool);
}

void ColumnSample::sum_products(ThreadPool* pool) {
  spread_shifts();
  sum(false, true, pool);
}

void ColumnSample::map(bool cotangent, void* y, ThreadPool* pool) {
  auto* kernel = cotangent ? kernels_.column_cotangent : kernels_.column_normalize;
  for (double* columns : {factor(), offset(), t_factor()}) spread(columns);
  const int64_t bytes = size_of(element_);
  // Backwards: what was read last is still in the cache.
  for_each_task(pool, parts_, [&](int64_t task) {
    for_each_piece(parts_ - 1 - task, [&](int64_t rows, int64_t width, int64_t at) {
      const Columns columns = {advance(x_, at * bytes),
                               advance(t_, at * bytes),
                               false,
                               advance(y, at * bytes),
                               rows,
                               width,
                               stride_,
                               shifts_};
      kernel(columns, {factor(), offset(), t_factor(), length_ * channels_});
    });
  });
}

}  // namespace inox
