// Rows are added, and normalized, a few at a time: the sum is read from cache, where it lies in the
// accumulator type, whatever the element type. So the kernels of rows in that type do all the rest,
// and what is read from memory is read once.
#include "operations/residual_rows.h"

#include <algorithm>

#include "operations/row_tasks.h"

namespace inox {
namespace {

// About this much of a sum is formed before it is normalized: it stays in the second cache together
// with what it is formed of, and a short row comes in blocks.
constexpr int64_t kChunkBytes = 64 << 10;
constexpr int64_t kRowsOfBlock = 8;

// Where a call stands: types, and the places of rows in its arrays.
class Chunks {
 public:
  Chunks(const Kernels& kernels, const ResidualNormalization& call)
      : call_(call),
        element_(call.norm.element),
        accumulator_(accumulator_of(element_)),
        row_(call.norm.shape.row()),
        of_elements(kernels[element_]),
        of_sums(kernels[accumulator_]) {
    const int64_t rows = std::max<int64_t>(1, kChunkBytes / (row_ * size_of(accumulator_)));
    rows_ = rows < kRowsOfBlock ? rows : rows / kRowsOfBlock * kRowsOfBlock;
  }

  // How many numbers of float64 hold a chunk.
  int64_t size() const { return divide_up(rows_ * row_ * size_of(accumulator_), 8); }
  bool is_narrow() const { return element_ != accumulator_; }

  const void* at(const void* array, int64_t row, bool wide = false) const {
    return advance(array, row * row_ * size_of(wide ? accumulator_ : element_));
  }
  void* at(void* array, int64_t row, bool wide = false) const {
    return advance(array, row * row_ * size_of(wide ? accumulator_ : element_));
  }
  bool may_pass(const void* to, bool wide = false) const {
    return !to || may_pass_cache(to, call_.norm.shape.count(), row_,
                                 size_of(wide ? accumulator_ : element_));
  }

  // Calls body(first row, number of rows, number of elements).
  template <class Body>
  void for_each(int64_t begin, int64_t end, const Body& body) const {
    for (; begin < end; begin += rows_) {
      const int64_t rows = std::min(rows_, end - begin);
      body(begin, rows, rows * row_);
    }
  }

  Rows rows(const void* x, const void* dy, const void* scale, const void* bias, void* y,
            bool past_cache) const {
    const Normalization& norm = call_.norm;
    return {x,
            dy,
            scale,
            bias,
            y,
            norm.shape.groups,
            norm.shape.channels,
            norm.epsilon,
            norm.centred,
            past_cache};
  }

  Addition addition(int64_t count, bool past_cache) const {
    return {count, row_, call_.wide, past_cache};
  }

 private:
  const ResidualNormalization& call_;
  Element element_, accumulator_;
  int64_t row_, rows_;

 public:
  const ElementKernels& of_elements;
  const ElementKernels& of_sums;
};

ThreadPool* unless_small(ThreadPool* pool, const Normalization& norm) {
  return norm.shape.count() * size_of(norm.element) < kInlineBytes ? nullptr : pool;
}

}  // namespace

bool add_normalize(const Kernels& kernels, const ResidualNormalization& call, ThreadPool* pool) {
  const Normalization& norm = call.norm;
  const Chunks chunks(kernels, call);
  const bool of_rounded = call.of_rounded && chunks.is_narrow() && !call.wide;
  const bool r_past_cache = !of_rounded && chunks.may_pass(call.r, call.wide);
  const bool y_past_cache =
      chunks.may_pass(norm.y) && norm.shape.channels * size_of(norm.element) % kLine == 0;
  const int64_t row_bytes = 4 * norm.shape.row() * size_of(norm.element);
  return for_each_part_of_rows(
      norm, unless_small(pool, norm), row_bytes, chunks.size(),
      [&](int64_t o, int64_t begin, int64_t end, double*, double*, double* sum) {
    const void* gate = of_outer(norm, call.gate, o);
    const void* scale = of_outer(norm, norm.scale, o);
    const void* bias = of_outer(norm, norm.bias, o);
    chunks.for_each(begin, end, [&](int64_t row, int64_t rows, int64_t count) {
      void* r = chunks.at(call.r, row, call.wide);
      chunks.of_elements.add_residual(chunks.addition(count, r_past_cache), chunks.at(call.x, row),
                                      chunks.at(call.residual, row, call.wide), gate, sum, r);
      void* y = chunks.at(norm.y, row);
      if (of_rounded) {  // to the bits of a norm of r
        chunks.of_elements.normalize_rows(chunks.rows(r, nullptr, scale, bias, y, y_past_cache), 0,
                                          rows);
        return;
      }
      const bool narrow = chunks.is_narrow();
      if (narrow && chunks.of_elements.normalize_sums(
                        chunks.rows(sum, nullptr, scale, bias, y, y_past_cache), 0, rows)) {
        return;
      }
      // In place where y is to be rounded: each number is read before it is written.
      chunks.of_sums.normalize_rows(
          chunks.rows(sum, nullptr, scale, bias, narrow ? sum : y, !narrow && y_past_cache), 0,
          rows);
      if (narrow) chunks.of_elements.from_accumulators(sum, count, y_past_cache, y);
    });
  });
}

bool add_cotangent(const Kernels& kernels, const ResidualNormalization& call, ThreadPool* pool) {
  const Normalization& norm = call.norm;
  const Chunks chunks(kernels, call);
  const bool past_cache = !chunks.is_narrow() && call.dresidual &&
                          may_pass_cache(call.dresidual, norm.shape.count(), norm.shape.channels,
                                         size_of(norm.element));
  const int64_t row_bytes = 4 * norm.shape.row() * size_of(norm.element);
  const bool is_sum = call.total && (call.wide || !chunks.is_narrow());
  return for_each_part_of_rows(
      norm, unless_small(pool, norm), row_bytes, 2 * chunks.size(),
      [&](int64_t o, int64_t begin, int64_t end, double* dscale, double* dbias, double* buffer) {
    const void* scale = of_outer(norm, norm.scale, o);
    double* own = buffer + chunks.size();
    chunks.for_each(begin, end, [&](int64_t row, int64_t rows, int64_t count) {
      const void* sum = is_sum ? chunks.at(call.total, row, call.wide) : own;
      if (!call.total) {
        chunks.of_elements.add_residual(chunks.addition(count, false), chunks.at(call.x, row),
                                        chunks.at(call.residual, row, call.wide), nullptr, own,
                                        nullptr);
      } else if (!is_sum) {
        chunks.of_elements.to_accumulators(chunks.at(call.total, row), count, own);
      }
      const void* dy = chunks.at(norm.dy, row);
      const void* dr = chunks.at(call.dr, row, call.wide);
      void* dresidual = chunks.at(call.dresidual, row, call.wide);
      void* dx = chunks.at(call.dx, row);
      Rows of = chunks.rows(sum, dy, scale, nullptr, dresidual ? dresidual : buffer, past_cache);
      of.dr = dr;
      if (!chunks.is_narrow()) {
        chunks.of_sums.cotangent_rows(of, 0, rows, dscale, dbias);
        return;
      }
      if (chunks.of_elements.cotangent_sums(of, call.wide, 0, rows, dscale, dbias)) {
        if (dx) chunks.of_elements.from_accumulators(of.y, count, false, dx);
        return;
      }
      // In place of a dy that was widened: each number is read before it is written.
      chunks.of_elements.to_accumulators(dy, count, buffer);
      chunks.of_sums.cotangent_rows(chunks.rows(sum, buffer, scale, nullptr, buffer, false), 0,
                                    rows, dscale, dbias);
      chunks.of_elements.add_cotangents(chunks.addition(count, false), buffer, dr, dresidual, dx);
    });
  });
}

}  // namespace inox
