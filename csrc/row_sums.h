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
#pragma once

#include "memory.h"

namespace inox::INOX_UNIT {

template <class T>
inline constexpr int64_t kSegment = (sizeof(T) == 8 ? 8 : 256) * kLanes;

// A block is as many slices as a vector has lanes. They are summed in strips that leave enough
// registers, and their statistics are computed a slice a lane.
inline constexpr int kBlock = kLanes;

// Sums of several slices; those not asked for stay 0.
template <int R>
struct Sums {
  Doubles d[R], dd[R], u[R], ud[R];
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

// Adds `terms` to `total`; `lost` takes what is rounded off, if `exact`.
template <bool exact, int R>
INOX_INLINE void add_segment(Doubles (&total)[R], Doubles (&lost)[R], const Doubles (&terms)[R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const Doubles sum = total[r] + terms[r];
    if constexpr (exact) {
      const Doubles part = sum - total[r];
      lost[r] += (total[r] - (sum - part)) + (terms[r] - part);
    }
    total[r] = sum;
  }
}

template <int R, bool centred, bool moments, bool products, bool shared, class T, class U, class W>
INOX_INLINE Sums<R> sum_rows(const Operands<T, U, W>& in, const double* shift) {
  constexpr bool exact = sizeof(T) == 8;
  Sums<R> total = {}, lost = {};
  Doubles k[R];
  const Doubles one = broadcast(1.0);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) k[r] = broadcast(shift[r]);
  for (int64_t begin = 0; begin < in.channels; begin += kSegment<T>) {
    const int64_t next = begin + kSegment<T>, end = next < in.channels ? next : in.channels;
    Sums<R> sums = {};
    auto add = [&](int64_t i, auto... count) __attribute__((always_inline)) {
      Doubles weight = one;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        Doubles d = load(in.x + r * in.stride + i, count...);
        if constexpr (centred) {
          d -= k[r];
          if constexpr (sizeof...(count) == 1) d = first_lanes(d, count...);
        }
        if constexpr (moments) {
          if constexpr (centred) sums.d[r] += d;
          sums.dd[r] = fused(d, d, sums.dd[r]);
        }
        if constexpr (products) {
          if (in.weight && (shared ? r == 0 : true)) {
            weight = load(in.weight + (shared ? 0 : r * in.weight_stride) + i, count...);
          }
          const Doubles u = load(in.t + r * in.stride + i, count...) * weight;
          if constexpr (centred) sums.u[r] += u;
          sums.ud[r] = fused(u, d, sums.ud[r]);
        }
      }
    };
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) add(i);
    if (i < end) add(i, end - i);
    add_segment<exact>(total.d, lost.d, sums.d);
    add_segment<exact>(total.dd, lost.dd, sums.dd);
    add_segment<exact>(total.u, lost.u, sums.u);
    add_segment<exact>(total.ud, lost.ud, sums.ud);
  }
  if constexpr (exact) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      total.d[r] += lost.d[r], total.dd[r] += lost.dd[r];
      total.u[r] += lost.u[r], total.ud[r] += lost.ud[r];
    }
  }
  return total;
}

// Of a block of slices, a slice a lane.
struct BlockSums {
  double shift[kBlock];
  Doubles d, dd, u, ud;
};

struct Statistics {
  Doubles delta;  // the mean minus the shift
  Doubles var;
  Doubles denominator;  // var + epsilon
  Doubles rstd;
};

INOX_INLINE Statistics statistics(Doubles d, Doubles dd, double reciprocal_count, double epsilon) {
  const Doubles n = broadcast(reciprocal_count), zero = {};
  Statistics s;
  s.delta = d * n;
  s.var = dd * n - s.delta * s.delta;
  s.var = s.var < zero ? zero : s.var;  // NaN stays
  s.denominator = s.var + broadcast(epsilon);
  // A slice of equal numbers, with epsilon 0: xhat and dx are 0, not NaN.
  s.rstd = s.denominator == zero ? zero : broadcast(1.0) / square_root(s.denominator);
  return s;
}

// Whether in any slice the shift is further from the mean than a variance in one pass bears.
INOX_INLINE bool any_far(Doubles d, Doubles dd, double reciprocal_count) {
  return any_greater(d * d * broadcast(reciprocal_count), broadcast(0.985) * dd);
}

template <int R, int strip, bool centred, bool moments, bool products, bool shared, class T, class U,
          class W>
INOX_INLINE void sum_strips(const Operands<T, U, W>& in, BlockSums& sums) {
  Doubles d[kBlock], dd[kBlock], u[kBlock], ud[kBlock];
  for (int r = R; r < kBlock; ++r) d[r] = dd[r] = u[r] = ud[r] = Doubles{};
  for (int s = 0; s < R; s += strip) {
    Operands<T, U, W> part = in;
    part.x += s * in.stride;
    if constexpr (products) part.t += s * in.stride;
    if (in.weight) part.weight += s * in.weight_stride;
    auto of = sum_rows<strip, centred, moments, products, shared>(part, sums.shift + s);
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

// The slices whose shift is far from the mean, once more around the mean.
template <int R, bool products, class T, class U, class W>
__attribute__((noinline)) void sum_around_the_mean(const Operands<T, U, W>& in, BlockSums& sums,
                                                   double reciprocal_count) {
  for (int r = 0; r < R; ++r) {
    const double d = sums.d[r], delta = d * reciprocal_count;
    if (!(d * delta > 0.985 * sums.dd[r])) continue;
    BlockSums one = {};
    one.shift[0] = sums.shift[r] + delta;
    Operands<T, U, W> row = in;
    row.x += r * in.stride;
    if constexpr (products) row.t += r * in.stride;
    if (in.weight) row.weight += r * in.weight_stride;
    sum_strips<1, 1, true, true, products, true>(row, one);
    sums.shift[r] = one.shift[0];
    sums.d[r] = one.d[0], sums.dd[r] = one.dd[0], sums.u[r] = one.u[0], sums.ud[r] = one.ud[0];
  }
}

// The sums of R slices, around shifts that are chosen here.
template <int R, int strip, bool centred, bool products, bool shared, class T, class U, class W>
INOX_INLINE BlockSums sum_block(const Operands<T, U, W>& in, double reciprocal_count) {
  constexpr bool twice = centred && sizeof(T) == 8;
  BlockSums sums = {};
  if constexpr (centred) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums.shift[r] = load_one(in.x + r * in.stride);
  }
  if constexpr (twice) {
    sum_strips<R, strip, true, true, false, true>(in, sums);
    store(sums.shift, load(sums.shift) + sums.d * broadcast(reciprocal_count));
  }
  sum_strips<R, strip, centred, true, products, shared>(in, sums);
  if constexpr (centred && !twice) {
    if (__builtin_expect(any_far(sums.d, sums.dd, reciprocal_count), 0)) {
      sum_around_the_mean<R, products>(in, sums, reciprocal_count);
    }
  }
  return sums;
}

}  // namespace inox::INOX_UNIT
