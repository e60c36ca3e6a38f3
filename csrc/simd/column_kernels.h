// Sums over the rows of a matrix by column.
//
// With a shift K for each column and d = x - K, the sums are those of row_sums.h (d, d^2, t, t d),
// kept in memory, a number a column; rows are taken eight at a time, so that the sums are loaded
// and stored once for eight elements. A column's sums depend on its own elements alone.
#pragma once

#include "kernel_table.h"
#include "simd/load_store.h"

namespace inox::INOX_UNIT {

// Rows from this length on are read further ahead than the processor does by itself: the next eight
// rows are eight streams to it, of which each is new.
inline constexpr int64_t kLongRowBytes = 256;

// Asks for the cache lines of the elements R rows further on.
template <bool products, int R, class T, class U>
INOX_INLINE void prefetch_rows(const T* x, const U* t, int64_t stride, int64_t column) {
  if (column % int64_t(64 / sizeof(T)) == 0) __builtin_prefetch(x + R * stride);
  if constexpr (products) {
    if (column % int64_t(64 / sizeof(U)) == 0) __builtin_prefetch(t + R * stride);
  }
}

template <bool moments, bool products, bool ahead, int R, class T, class U>
INOX_INLINE void add_rows(const T* x, const U* t, int64_t stride, int64_t width,
                          const double* shift, const ColumnSums& sums) {
  for_each_vector(width, [&](int64_t i, auto... count) __attribute__((always_inline)) {
    const Doubles k = load(shift + i, count...);
    // Two sums of half the rows: each is a chain of additions that wait for each other.
    Doubles sd[2] = {}, sdd[2] = {}, st[2] = {}, std[2] = {};
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if constexpr (ahead) {
        prefetch_rows<products, R>(x + r * stride + i, products ? t + r * stride + i : t, stride,
                                   i);
      }
      const Doubles d = load(x + r * stride + i, count...) - k;
      if constexpr (moments) {
        sd[r % 2] += d;
        sdd[r % 2] = fused(d, d, sdd[r % 2]);
      }
      if constexpr (products) {
        const Doubles u = load(t + r * stride + i, count...);
        st[r % 2] += u;
        std[r % 2] = fused(u, d, std[r % 2]);
      }
    }
    auto add = [&](double* to, const Doubles(&of)[2]) __attribute__((always_inline)) {
      store(to + i, load(to + i, count...) + (of[0] + of[1]), count...);
    };
    if constexpr (moments) add(sums.d, sd), add(sums.dd, sdd);
    if constexpr (products) add(sums.t, st), add(sums.td, std);
  });
}

template <bool moments, bool products, class T, class U>
INOX_INLINE void sum_columns(const Columns& in, const ColumnSums& sums) {
  const T* x = (const T*)in.x;
  const U* t = (const U*)in.t;
  int64_t row = 0;
  const bool ahead = in.stride * int64_t(sizeof(T)) >= kLongRowBytes;
  for (; row + 8 <= in.rows; row += 8, x += 8 * in.stride) {
    if (ahead && row + 16 <= in.rows) {
      add_rows<moments, products, true, 8>(x, t, in.stride, in.width, in.shift, sums);
    } else {
      add_rows<moments, products, false, 8>(x, t, in.stride, in.width, in.shift, sums);
    }
    if constexpr (products) t += 8 * in.stride;
  }
  for (; row < in.rows; ++row, x += in.stride) {
    add_rows<moments, products, false, 1>(x, t, in.stride, in.width, in.shift, sums);
    if constexpr (products) t += in.stride;
  }
}

template <class T>
void column_moments(const Columns& in, const ColumnSums& sums) {
  sum_columns<true, false, T, T>(in, sums);
}

template <class T>
void column_products(const Columns& in, const ColumnSums& sums) {
  if (in.wide) {
    sum_columns<false, true, T, Accumulator<T>>(in, sums);
  } else {
    sum_columns<false, true, T, T>(in, sums);
  }
}

template <class T>
void column_moments_and_products(const Columns& in, const ColumnSums& sums) {
  sum_columns<true, true, T, T>(in, sums);
}

// `count` numbers, `stride` apart, as float64.
template <class T>
void widen_numbers(const void* from, int64_t count, int64_t stride, double* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = load_one((const T*)from + i * stride);
}

}  // namespace inox::INOX_UNIT
