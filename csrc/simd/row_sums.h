// Sums over slices that are contiguous in memory, and the statistics that follow from them.
//
// One pass over a slice of n elements gives, with a shift K and d = x - K,
//
//     A = sum d,  Q = sum d^2,  delta = A / n,  mean = K + delta,  var = Q / n - delta^2,
//
// and with weights u (the cotangent times the scale) U = sum u and sum u d = V, so that
// sum u (x - mean) = V - delta U. The shift is the first element: then d is exact or nearly so
// where the mean is large against the spread, and delta is a few standard deviations. What is
// lost by the subtraction is a factor of Q / (n var) = 1 + delta^2 / var, of 2^53; where the first
// element is an outlier (delta^2 > 0.985 Q / n, more than 8 standard deviations) the sums are
// formed again around the mean. For float64 input they always are: there every bit counts.
//
// Sums over more than a segment are added up in two levels: rounding errors grow with the length of
// a segment and the number of segments, not with their product. For float64 input segments are
// short, and what is rounded off when they are added is added up too (Knuth's two-sum).
//
// Half types are summed in float32 ("Singles") over 8 vectors, and in float64 from there on. Longer
// sums of float32 numbers don't only err more: squares of numbers with few bits leave remainders
// that are small more often than large (a square is 0, 1 or 4 modulo 8), so their sums are rounded
// down, by 10^-7 for 32 numbers of float16. Here the shift is the mean of the first vector, rounded
// to the half type: differences from it are exact, or nearly so.
#pragma once

#include "kernel_table.h"
#include "simd/load_store.h"
#include "simd/statistics.h"

namespace inox::INOX_UNIT {

// The numbers that elements of a type are computed in. Without fused multiplications, products that
// cancel against what is added to them would leave float32's range.
#if defined(__FMA__) || defined(__aarch64__)
template <class T>
using Arithmetic = std::conditional_t<sizeof(T) == 2, Singles, Doubles>;
#else
template <class T>
using Arithmetic = Doubles;
#endif

template <class T, class V>
inline constexpr int64_t kSegment =
    (sizeof(T) == 8 || std::is_same_v<V, Singles> ? 8 : 256) * kLanesOf<V>;

// How far the shift may be from the mean: delta^2 over Q / n. Of Singles the variance is then 0.8
// of Q / n at least, and the rounding errors of Q count little more in it.
template <class V>
inline constexpr double kFar = std::is_same_v<V, Singles> ? 0.2 : kFarFromMean;
// The same for sums without a shift: 1 / (1 + 2^-14), where the mean is 128 standard deviations.
inline constexpr double kFarFromZero = 1 - 0x1p-14;

// A block is as many slices as a vector of Doubles has lanes. They are summed in strips that leave
// enough registers, and their statistics are computed a slice a lane.
inline constexpr int kBlock = kLanes;

// Sums of several slices; those not asked for stay 0.
template <class V, int R>
struct Sums {
  V d[R], dd[R], u[R], ud[R];
};

// What is summed over, R slices at once. Weights are one and the same for all of them (`shared`),
// or `weight_stride` apart.
template <class T, class U, class W>
struct Operands {
  const T* x;
  const U* t;
  const W* weight;  // null for 1
  int64_t stride, weight_stride, channels;
};

// Adds `terms` to `sums`; `lost` takes what is rounded off, if `exact`.
template <bool exact, class V, int R>
INOX_INLINE void add_segment(Doubles (&sums)[R], Doubles (&lost)[R], const V (&terms)[R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const Doubles term = total(terms[r]), sum = sums[r] + term;
    if constexpr (exact) {
      const Doubles part = sum - sums[r];
      lost[r] += (sums[r] - (sum - part)) + (term - part);
    }
    sums[r] = sum;
  }
}

template <class V, int R, bool centred, bool moments, bool products, bool shared, bool shifted,
          class T, class U, class W>
INOX_INLINE Sums<Doubles, R> sum_rows(const Operands<T, U, W>& in, const double* shift) {
  constexpr bool exact = sizeof(T) == 8;
  Sums<Doubles, R> whole = {}, lost = {};
  V k[R];
  const V one = broadcast<V>(1);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) k[r] = broadcast<V>(shift[r]);
  for (int64_t begin = 0; begin < in.channels; begin += kSegment<T, V>) {
    const int64_t next = begin + kSegment<T, V>, end = next < in.channels ? next : in.channels;
    Sums<V, R> sums = {};
    auto add = [&](int64_t i, auto... count) __attribute__((always_inline)) {
      V weight = one;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        V d = load<V>(in.x + r * in.stride + i, count...);
        if constexpr (centred && shifted) {
          d -= k[r];
          if constexpr (sizeof...(count) == 1) d = first_lanes(d, count...);
        }
        if constexpr (moments) {
          if constexpr (centred) sums.d[r] += d;
          sums.dd[r] = fused(d, d, sums.dd[r]);
        }
        if constexpr (products) {
          if (in.weight && (shared ? r == 0 : true)) {
            weight = load<V>(in.weight + (shared ? 0 : r * in.weight_stride) + i, count...);
          }
          const V u = load<V>(in.t + r * in.stride + i, count...) * weight;
          if constexpr (centred) sums.u[r] += u;
          sums.ud[r] = fused(u, d, sums.ud[r]);
        }
      }
    };
    // For dscale the variance has to be more exact than sums of 8 float32 squares (see above).
    constexpr bool precise = std::is_same_v<V, Singles> && moments && products;
    [[maybe_unused]] auto add_squares = [&]() __attribute__((always_inline)) {
      if constexpr (precise) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          whole.dd[r] += to_doubles(lower_lanes(sums.dd[r])) + to_doubles(upper_lanes(sums.dd[r]));
          sums.dd[r] = V{};
        }
      }
    };
    int64_t i = begin;
    if constexpr (precise) {
      for (; i + 4 * kLanesOf<V> <= end; i += 4 * kLanesOf<V>) {
#pragma GCC unroll 4
        for (int step = 0; step < 4; ++step) add(i + step * kLanesOf<V>);
        add_squares();
      }
    }
    for (; i + kLanesOf<V> <= end; i += kLanesOf<V>) add(i);
    if (i < end) add(i, end - i);
    add_segment<exact>(whole.d, lost.d, sums.d);
    if constexpr (precise) {
      add_squares();
    } else {
      add_segment<exact>(whole.dd, lost.dd, sums.dd);
    }
    add_segment<exact>(whole.u, lost.u, sums.u);
    add_segment<exact>(whole.ud, lost.ud, sums.ud);
  }
  if constexpr (exact) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      whole.d[r] += lost.d[r], whole.dd[r] += lost.dd[r];
      whole.u[r] += lost.u[r], whole.ud[r] += lost.ud[r];
    }
  }
  return whole;
}

// Of a block of slices, a slice a lane.
struct BlockSums {
  double shift[kBlock];
  Doubles d, dd, u, ud;

  // Not by an initializer: GCC fills so many bytes with a string instruction, which takes as long
  // to start as a block of short groups has time.
  INOX_MEMBER static BlockSums zero() {
    BlockSums sums;
    store(sums.shift, Doubles{});
    sums.d = sums.dd = sums.u = sums.ud = Doubles{};
    return sums;
  }
};

// Whether in any slice the shift is further from the mean than a variance in one pass bears.
template <class V>
INOX_INLINE bool any_far(Doubles d, Doubles dd, double reciprocal_count) {
  return any_greater(d * d * broadcast(reciprocal_count), broadcast(kFar<V>) * dd);
}

// Whether in any slice, summed without a shift, the mean is too far from 0 for that.
INOX_INLINE bool any_far_from_zero(const BlockSums& sums, double reciprocal_count) {
  return any_greater(sums.d * sums.d * broadcast(reciprocal_count),
                     broadcast(kFarFromZero) * sums.dd);
}

template <class V, int R, int strip, bool centred, bool moments, bool products, bool shared,
          bool shifted = true, class T, class U, class W>
INOX_INLINE void sum_strips(const Operands<T, U, W>& in, BlockSums& sums) {
  Doubles d[kBlock], dd[kBlock], u[kBlock], ud[kBlock];
  for (int r = R; r < kBlock; ++r) d[r] = dd[r] = u[r] = ud[r] = Doubles{};
  for (int s = 0; s < R; s += strip) {
    Operands<T, U, W> part = in;
    part.x += s * in.stride;
    if constexpr (products) part.t += s * in.stride;
    if (in.weight) part.weight += s * in.weight_stride;
    auto of = sum_rows<V, strip, centred, moments, products, shared, shifted>(part, sums.shift + s);
#pragma GCC unroll 8
    for (int r = 0; r < strip; ++r) {
      d[s + r] = of.d[r], dd[s + r] = of.dd[r], u[s + r] = of.u[r], ud[s + r] = of.ud[r];
    }
  }
  if constexpr (moments && centred) sums.d = fold(d);
  if constexpr (moments) sums.dd = fold(dd);
  if constexpr (products && centred) sums.u = fold(u);
  if constexpr (products) sums.ud = fold(ud);
}

// Shifts as they are subtracted: of Singles rounded to the type of the elements.
template <class V, class T>
INOX_INLINE Doubles rounded(Doubles shift) {
  if constexpr (std::is_same_v<V, Doubles>) return shift;
  return widen<Doubles>((const T*)nullptr, narrow((T*)nullptr, shift));
}

template <class V, int R, class T, class U, class W>
INOX_INLINE void choose_shifts(const Operands<T, U, W>& in, BlockSums& sums) {
  if constexpr (std::is_same_v<V, Doubles>) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums.shift[r] = load_one(in.x + r * in.stride);
  } else {
    Doubles first[kBlock] = {};
    const bool whole = in.channels >= kLanesOf<V>;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T* x = in.x + r * in.stride;
      first[r] = total(whole ? load<V>(x) : load<V>(x, in.channels));
    }
    const double count = whole ? kLanesOf<V> : in.channels;
    store(sums.shift, rounded<V, T>(fold(first) * broadcast(1 / count)));
  }
}

// The slices whose shift is far from the mean, once more around the mean.
template <class V, int R, bool products, class T, class U, class W>
__attribute__((noinline)) void sum_around_the_mean(const Operands<T, U, W>& in, BlockSums& sums,
                                                   double reciprocal_count) {
  for (int r = 0; r < R; ++r) {
    const double d = sums.d[r], delta = d * reciprocal_count;
    if (!(d * delta > kFar<V> * sums.dd[r])) continue;
    BlockSums one = BlockSums::zero();
    one.shift[0] = rounded<V, T>(broadcast(sums.shift[r] + delta))[0];
    Operands<T, U, W> row = in;
    row.x += r * in.stride;
    if constexpr (products) row.t += r * in.stride;
    if (in.weight) row.weight += r * in.weight_stride;
    sum_strips<V, 1, 1, true, true, products, true>(row, one);
    sums.shift[r] = one.shift[0];
    sums.d[r] = one.d[0], sums.dd[r] = one.dd[0], sums.u[r] = one.u[0], sums.ud[r] = one.ud[0];
  }
}

// The sums of R slices, around shifts that are chosen here.
template <class V, int R, int strip, bool centred, bool products, bool shared, bool plain = false,
          class T, class U, class W>
INOX_INLINE BlockSums sum_block(const Operands<T, U, W>& in, double reciprocal_count) {
  constexpr bool twice = centred && sizeof(T) == 8;
  BlockSums sums = BlockSums::zero();
  if constexpr (plain) {
    sum_strips<V, R, strip, centred, true, products, shared, false>(in, sums);
    return sums;
  }
  if constexpr (centred) choose_shifts<V, R>(in, sums);
  if constexpr (twice) {
    sum_strips<V, R, strip, true, true, false, true>(in, sums);
    store(sums.shift, load(sums.shift) + sums.d * broadcast(reciprocal_count));
  }
  sum_strips<V, R, strip, centred, true, products, shared>(in, sums);
  if constexpr (centred && !twice) {
    if (__builtin_expect(any_far<V>(sums.d, sums.dd, reciprocal_count), 0)) {
      sum_around_the_mean<V, R, products>(in, sums, reciprocal_count);
    }
  }
  return sums;
}

// Whether R slices can be computed in float32: whether no intermediate number overflows, or is
// rounded to a denormal one where that matters.
//
// With the denominator D = var + epsilon and D, 1 / D <= 2^60, |d| <= sqrt(2 n D) and d^2 are in
// range. A product u d below it errs by 2^-150, and dx / (r rms(u)) by 2^-150 sqrt(n / D) / rms(u)
// for it. From |U| >= 2^-60 or |V| >= 2^-60 follows a lower bound of sqrt(D) rms(u), which makes
// this 2^-60 n^1.5 at most. Sums that are small because their terms cancel, or are all 0, are taken
// for sums of small terms: those slices are computed in float64, which takes longer but is right.
template <bool products>
INOX_INLINE bool in_range(const BlockSums& sums, const Statistics& of, int64_t slices) {
  constexpr double kMost = 0x1p60, kLeast = 0x1p-60;
  for (int64_t r = 0; r < slices; ++r) {
    if (!(of.denominator[r] <= kMost && of.denominator[r] >= kLeast)) return false;
    if constexpr (products) {
      const double u = __builtin_fabs(sums.u[r]), ud = __builtin_fabs(sums.ud[r]);
      if (!(u <= kMost && ud <= kMost && (u >= kLeast || ud >= kLeast))) return false;
    }
  }
  return true;
}

}  // namespace inox::INOX_UNIT
