// Statistics of slices that are contiguous in memory, and sums against them.
//
// The mean is given as two numbers of the accumulator type: rounded, and what the rounding left.
// Here the divisions by the count are true ones: data whose moments are representable have exactly
// those.
#pragma once

#include "kernel_table.h"
#include "simd/row_sums.h"
#include "simd/short_slices.h"

namespace inox::INOX_UNIT {

template <class T, int R>
INOX_INLINE void slice_moments_block(const Slices& slices, int64_t at) {
  using A = Accumulator<T>;
  const double count = double(slices.channels);
  const Operands<T, T, A> in = {(const T*)slices.x + at * slices.channels,
                                nullptr,
                                nullptr,
                                slices.channels,
                                0,
                                slices.channels};
  const BlockSums sums = sum_block<Doubles, R, (R < 4 ? R : 4), true, false, true>(in, 1 / count);
  for (int r = 0; r < R; ++r) {
    const double delta = sums.d[r] / count, var = sums.dd[r] / count - delta * delta;
    const A mean = A(sums.shift[r] + delta);
    ((A*)slices.mean)[at + r] = mean;
    ((A*)slices.mean_low)[at + r] = A((sums.shift[r] - mean) + delta);
    ((A*)slices.first)[at + r] = A(var < 0 ? 0 : var);
  }
}

// Rounded as the accumulators of T are.
template <class T>
INOX_INLINE Doubles as_accumulator(Doubles v) {
  if constexpr (sizeof(T) == 8) return v;
  return to_doubles(to_floats(v));
}

template <class T, int C>
INOX_INLINE void short_slice_moments(const Slices& slices, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for_each_lanes(begin, end, [&](int64_t at, auto count) __attribute__((always_inline)) {
    Doubles x[C] = {}, shift;
    load_slices<C>((const T*)slices.x + at * C, count, x);
    const Statistics of = short_statistics<sizeof(T) == 8>(x, true, 0, shift);
    Doubles mean[] = {as_accumulator<T>(shift + of.delta)};
    Doubles mean_low[] = {(shift - mean[0]) + of.delta}, var[] = {of.var};
    store_slices<1>((A*)slices.mean + at, count, mean);
    store_slices<1>((A*)slices.mean_low + at, count, mean_low);
    store_slices<1>((A*)slices.first + at, count, var);
  });
}

template <class T>
void slice_moments(const Slices& slices, int64_t begin, int64_t end) {
  if (is_short(slices.channels)) {
    for_short_length(slices.channels, [&](auto length) {
      short_slice_moments<T, decltype(length)::value>(slices, begin, end);
    });
    return;
  }
  for (; begin + kBlock <= end; begin += kBlock) slice_moments_block<T, kBlock>(slices, begin);
  for (; begin < end; ++begin) slice_moments_block<T, 1>(slices, begin);
}

template <class T, class U, int R>
INOX_INLINE void slice_products_block(const Slices& slices, int64_t at) {
  using A = Accumulator<T>;
  const Operands<T, U, A> in = {(const T*)slices.x + at * slices.channels,
                                (const U*)slices.t + at * slices.channels,
                                nullptr,
                                slices.channels,
                                0,
                                slices.channels};
  BlockSums sums = BlockSums::zero();
  for (int r = 0; r < R; ++r) sums.shift[r] = ((const A*)slices.mean)[at + r];
  sum_strips<Doubles, R, (R < 4 ? R : 4), true, false, true, true>(in, sums);
  for (int r = 0; r < R; ++r) {
    const double mean_low = ((const A*)slices.mean_low)[at + r];
    ((A*)slices.first)[at + r] = A(sums.u[r]);
    ((A*)slices.second)[at + r] = A(sums.ud[r] - mean_low * sums.u[r]);
  }
}

template <class T, class U, int C>
INOX_INLINE void short_slice_products(const Slices& slices, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  for_each_lanes(begin, end, [&](int64_t at, auto count) __attribute__((always_inline)) {
    Doubles x[C] = {}, t[C] = {}, mean[1] = {}, mean_low[1] = {};
    load_slices<C>((const T*)slices.x + at * C, count, x);
    load_slices<C>((const U*)slices.t + at * C, count, t);
    load_slices<1>((const A*)slices.mean + at, count, mean);
    load_slices<1>((const A*)slices.mean_low + at, count, mean_low);
    Doubles sum[1] = {}, products[1] = {};
    for (int c = 0; c < C; ++c) {
      sum[0] += t[c];
      products[0] = fused(t[c], x[c] - mean[0], products[0]);
    }
    products[0] -= mean_low[0] * sum[0];
    store_slices<1>((A*)slices.first + at, count, sum);
    store_slices<1>((A*)slices.second + at, count, products);
  });
}

template <class T, class U>
void slice_products_as(const Slices& slices, int64_t begin, int64_t end) {
  if (is_short(slices.channels)) {
    for_short_length(slices.channels, [&](auto length) {
      short_slice_products<T, U, decltype(length)::value>(slices, begin, end);
    });
    return;
  }
  for (; begin + kBlock <= end; begin += kBlock) slice_products_block<T, U, kBlock>(slices, begin);
  for (; begin < end; ++begin) slice_products_block<T, U, 1>(slices, begin);
}

template <class T>
void slice_products(const Slices& slices, int64_t begin, int64_t end) {
  if (slices.wide) {
    slice_products_as<T, Accumulator<T>>(slices, begin, end);
  } else {
    slice_products_as<T, T>(slices, begin, end);
  }
}

}  // namespace inox::INOX_UNIT
