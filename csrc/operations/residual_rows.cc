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
      : of_elements(kernels[call.norm.element]),
        of_sums(kernels[accumulator_of(call.norm.element)]),
        call_(call),
        row_(call.norm.shape.row()) {
    const int64_t rows = std::max<int64_t>(1, kChunkBytes / (row_ * bytes(true)));
    rows_ = rows < kRowsOfBlock ? rows : rows / kRowsOfBlock * kRowsOfBlock;
  }

  // How many numbers of float64 hold a chunk.
  int64_t size() const { return divide_up(rows_ * row_ * bytes(true), 8); }
  bool is_narrow() const { return bytes(true) != bytes(false); }

  const void* at(const void* array, int64_t row, bool wide = false) const {
    return advance(array, row * row_ * bytes(wide));
  }
  void* at(void* array, int64_t row, bool wide = false) const {
    return advance(array, row * row_ * bytes(wide));
  }
  // Whether a result may be stored past the caches, in pieces of so many elements.
  bool may_pass(const void* to, int64_t piece, bool wide = false) const {
    return may_pass_cache(to, call_.norm.shape.count(), piece, bytes(wide));
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

  const ElementKernels& of_elements;
  const ElementKernels& of_sums;

 private:
  int64_t bytes(bool wide) const {
    const Element element = call_.norm.element;
    return size_of(wide ? accumulator_of(element) : element);
  }

  const ResidualNormalization& call_;
  int64_t row_, rows_;
};

}  // namespace

bool add_normalize(const Kernels& kernels, const ResidualNormalization& call, ThreadPool* pool) {
  const Normalization& norm = call.norm;
  const Chunks chunks(kernels, call);
  const bool of_rounded = call.of_rounded && chunks.is_narrow() && !call.wide;
  const bool r_past_cache = !of_rounded && chunks.may_pass(call.r, norm.shape.row(), call.wide);
  const bool y_past_cache = chunks.may_pass(norm.y, norm.shape.channels);
  const int64_t row_bytes = 4 * norm.shape.row() * size_of(norm.element);
  return for_each_part_of_rows(
      norm, {}, unless_small(pool, norm.shape.count() * size_of(norm.element)), row_bytes,
      chunks.size(), [&](int64_t o, int64_t begin, int64_t end, const PartSums&, double* sum) {
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
  const bool gated = call.gate.data, narrow = chunks.is_narrow();
  const bool past_cache =
      !gated && !narrow && call.dresidual && chunks.may_pass(call.dresidual, norm.shape.channels);
  const bool results_past_cache =
      gated && chunks.may_pass(call.dx, norm.shape.row()) &&
      (!narrow || chunks.may_pass(call.dresidual, norm.shape.row(), call.wide));
  const int64_t row_bytes = 4 * norm.shape.row() * size_of(norm.element);
  const bool is_sum = call.total && (call.wide || !narrow);
  // What dt is formed in: the type of r, but for a gate, by which it is multiplied unrounded.
  const bool wide = call.wide || gated;
  return for_each_part_of_rows(
      norm, {norm.dscale, norm.dbias, call.dgate},
      unless_small(pool, norm.shape.count() * size_of(norm.element)), row_bytes, 3 * chunks.size(),
      [&](int64_t o, int64_t begin, int64_t end, const PartSums& sums, double* buffer) {
    const void* scale = of_outer(norm, norm.scale, o);
    const void* gate = of_outer(norm, call.gate, o);
    double *own = buffer + chunks.size(), *widened = own + chunks.size();
    chunks.for_each(begin, end, [&](int64_t row, int64_t rows, int64_t count) {
      const ElementKernels& of_elements = chunks.of_elements;
      const void* sum = is_sum ? chunks.at(call.total, row, call.wide) : own;
      const void* x = chunks.at(call.x, row);
      if (!call.total) {
        of_elements.add_residual(chunks.addition(count, false), x,
                                 chunks.at(call.residual, row, call.wide), gate, own, nullptr);
      } else if (!is_sum) {
        of_elements.to_accumulators(chunks.at(call.total, row), count, own);
      }
      const void* dy = chunks.at(norm.dy, row);
      void* dresidual = chunks.at(call.dresidual, row, call.wide);
      void* dx = chunks.at(call.dx, row);
      // dt, where it isn't rounded at once: in place of dresidual, if that is of its type.
      void* dt = dresidual && (call.wide || !narrow) ? dresidual : buffer;
      Rows of =
          chunks.rows(sum, dy, scale, nullptr, wide || !dresidual ? dt : dresidual, past_cache);
      of.dr = chunks.at(call.dr, row, call.wide);
      auto widen_dr = [&] {
        if (!of.dr || call.wide) return;
        of_elements.to_accumulators(of.dr, count, widened);
        of.dr = widened;
      };
      if (!narrow) {
        chunks.of_sums.cotangent_rows(of, 0, rows, sums.scale, sums.bias);
      } else {
        if (wide) widen_dr();
        if (!of_elements.cotangent_sums(of, wide, 0, rows, sums.scale, sums.bias)) {
          // Widened, and rounded at the end, in place of dy: each number is read before it is
          // written.
          if (!wide) widen_dr();
          of_elements.to_accumulators(dy, count, buffer);
          of.dy = buffer;
          if (!wide) of.y = buffer;
          chunks.of_sums.cotangent_rows(of, 0, rows, sums.scale, sums.bias);
          if (!wide && dresidual) of_elements.from_accumulators(buffer, count, false, dresidual);
        }
      }
      if (gated) {
        of_elements.gate_cotangent(chunks.addition(count, results_past_cache), of.y, x, gate,
                                   of.y == dresidual ? nullptr : dresidual, dx, sums.gate);
      } else if (dx) {
        of_elements.from_accumulators(of.y, count, false, dx);
      }
    });
  });
}

}  // namespace inox
