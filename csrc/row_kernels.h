// Normalization of slices that are contiguous in memory, and its gradients.
//
// With the sums of row_sums.h, r = (var + epsilon)^(-1/2) and d = x - K,
//
//     y = (d r - delta r) scale + bias,
//
// and for the gradients, with u = dy scale, <.> the mean over a slice and h = x - mean,
//
//     dx = r (u - <u> - h <h u> / (var + epsilon)) = (dy r) scale + d b + c,
//     b = -r <h u> / (var + epsilon),  c = -r <u> - delta b,
//     dscale = sum (dy r) h,  dbias = sum dy.
//
// No cube of r is formed, which could leave the range of numbers. Without centring (RMS norm)
// K = delta = <u> = 0. A slice is read twice, the second time from cache; statistics are never
// stored, so nothing but x is kept between the forward and the backward pass.
#pragma once

#include "kernels.h"
#include "row_sums.h"

namespace inox::INOX_UNIT {

// Where R slices of one type are: their elements, and their parameters. Those are one and the same
// for all R slices (`shared`), or follow each other as the slices do.
struct Place {
  int64_t offset, stride;
  int64_t parameter;
};

// Short slices of these lengths have code of their own (`fixed`), without loops.
inline constexpr int kShort = 8, kLessShort = 16;

// Asks for an element R slices further on, which the next block begins by reading: into the second
// cache, as the first one holds this block. Memory would else be idle in a block's second pass.
template <int R, class T>
INOX_INLINE void prefetch_next(const T* element, int64_t i, int64_t stride) {
  if (i % int64_t(64 / sizeof(T)) == 0) __builtin_prefetch(element + R * stride, 0, 2);
}

template <class T, bool centred, bool shared, int R, int fixed = 0>
INOX_INLINE void normalize_block(const Rows& rows, const Place& at) {
  using A = Accumulator<T>;
  constexpr int strip = R < 4 ? R : 4;
  const int64_t channels = fixed ? fixed : rows.channels;
  const T* x = (const T*)rows.x + at.offset;
  T* y = (T*)rows.y + at.offset;
  const A* scale = rows.scale ? (const A*)rows.scale + at.parameter : nullptr;
  const A* bias = rows.bias ? (const A*)rows.bias + at.parameter : nullptr;
  const double reciprocal_count = 1.0 / channels;
  const Operands<T, T, A> in = {x, nullptr, nullptr, at.stride, 0, channels};
  const BlockSums sums = sum_block<R, strip, centred, false, true>(in, reciprocal_count);
  const Statistics of = statistics(sums.d, sums.dd, reciprocal_count, rows.epsilon);
  const Doubles one = broadcast(1.0);
  double rstd[kBlock], offset[kBlock];
  store(rstd, of.rstd);
  store(offset, -(of.delta * of.rstd));
  for (int s = 0; s < R; s += strip) {
    auto map = [&](int64_t i, auto... count) __attribute__((always_inline)) {
      Doubles factor = one, addend = {};
#pragma GCC unroll 8
      for (int r = s; r < s + strip; ++r) {
        if (shared ? r == s : true) {
          const int64_t p = shared ? i : r * channels + i;
          if (scale) factor = load(scale + p, count...);
          if (bias) addend = load(bias + p, count...);
        }
        const T* from = x + r * at.stride + i;
        if constexpr (shared && R == kBlock) prefetch_next<R>(from, i, at.stride);
        Doubles v = load(from, count...);
        const Doubles factor_of_row = broadcast(rstd[r]);
        v = centred ? fused(v - broadcast(sums.shift[r]), factor_of_row, broadcast(offset[r]))
                    : v * factor_of_row;
        store(y + r * at.stride + i, fused(v, factor, addend), count...);
      }
    };
    int64_t i = 0;
    for (; i + kLanes <= channels; i += kLanes) map(i);
    if (i < channels) map(i, channels - i);
  }
}

// How the gradients of a block of slices follow from their sums.
struct Coefficients {
  double rstd[kBlock], delta[kBlock], b[kBlock], c[kBlock];
};

INOX_INLINE Coefficients coefficients(const BlockSums& sums, double reciprocal_count,
                                      double epsilon) {
  const Statistics of = statistics(sums.d, sums.dd, reciprocal_count, epsilon);
  const Doubles n = broadcast(reciprocal_count), zero = {};
  const Doubles along = (sums.ud - of.delta * sums.u) * n / of.denominator;
  const Doubles b = of.denominator == zero ? zero : -(of.rstd * along);
  Coefficients result;
  store(result.rstd, of.rstd);
  store(result.delta, of.delta);
  store(result.b, b);
  store(result.c, -(of.rstd * (sums.u * n)) - of.delta * b);
  return result;
}

template <class T, bool centred, bool wants_parameters, bool shared, int R, int fixed = 0>
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale,
                                 double* dbias) {
  using A = Accumulator<T>;
  constexpr int strip = R < (kLanes == 8 ? 4 : 2) ? R : (kLanes == 8 ? 4 : 2);
  const int64_t channels = fixed ? fixed : rows.channels;
  const T* x = (const T*)rows.x + at.offset;
  const T* dy = (const T*)rows.dy + at.offset;
  T* dx = rows.y ? (T*)rows.y + at.offset : nullptr;
  const A* scale = rows.scale ? (const A*)rows.scale + at.parameter : nullptr;
  if constexpr (wants_parameters) dscale += at.parameter, dbias += at.parameter;
  const double reciprocal_count = 1.0 / channels;
  const Operands<T, T, A> in = {x, dy, scale, at.stride, shared ? 0 : channels, channels};
  const BlockSums sums = sum_block<R, strip, centred, true, shared>(in, reciprocal_count);
  const Doubles one = broadcast(1.0);
  const Coefficients of = coefficients(sums, reciprocal_count, rows.epsilon);
  for (int s = 0; s < R; s += strip) {
    auto map = [&](int64_t i, auto... count) __attribute__((always_inline)) {
      Doubles factor = one, dscales = {}, dbiases = {};
#pragma GCC unroll 8
      for (int r = s; r < s + strip; ++r) {
        const int64_t p = shared ? i : r * channels + i;
        if (shared ? r == s : true) {
          if (scale) factor = load(scale + p, count...);
          if constexpr (wants_parameters) {
            dscales = load(dscale + p, count...);
            dbiases = load(dbias + p, count...);
          }
        }
        if constexpr (shared && R == kBlock) {
          prefetch_next<R>(x + r * at.stride + i, i, at.stride);
          prefetch_next<R>(dy + r * at.stride + i, i, at.stride);
        }
        const Doubles t = load(dy + r * at.stride + i, count...);
        const Doubles tr = t * broadcast(of.rstd[r]);
        Doubles d = load(x + r * at.stride + i, count...);
        if constexpr (centred) d -= broadcast(sums.shift[r]);
        if constexpr (wants_parameters) {
          dscales = fused(tr, centred ? d - broadcast(of.delta[r]) : d, dscales);
          dbiases += t;
          if (shared ? r == s + strip - 1 : true) {
            store(dscale + p, dscales, count...);
            store(dbias + p, dbiases, count...);
          }
        }
        if (dx) {
          const Doubles b = broadcast(of.b[r]);
          Doubles v = centred ? fused(d, b, broadcast(of.c[r])) : d * b;
          store(dx + r * at.stride + i, fused(tr, factor, v), count...);
        }
      }
    };
    int64_t i = 0;
    for (; i + kLanes <= channels; i += kLanes) map(i);
    if (i < channels) map(i, channels - i);
  }
}

// Walks over rows in blocks: of the same group in consecutive rows, whose parameters are shared,
// or, where groups are short, of consecutive groups of a row, which are contiguous in memory.
// Blocks of long rows would not stay in cache between the two passes; those go one by one.
template <class Block, class Short, class Single>
INOX_INLINE void for_each_block(const Rows& rows, int64_t begin, int64_t end, int64_t bytes,
                                Block block, Short consecutive, Single single) {
  const int64_t groups = rows.groups, channels = rows.channels, size = groups * channels;
  if (groups >= kBlock && channels < 8 * kLanes) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t g = 0;
      for (; g + kBlock <= groups; g += kBlock) {
        const Place at = {row * size + g * channels, channels, g * channels};
        if (channels == kShort) {
          consecutive(at, std::integral_constant<int, kShort>());
        } else if (channels == kLessShort) {
          consecutive(at, std::integral_constant<int, kLessShort>());
        } else {
          consecutive(at, std::integral_constant<int, 0>());
        }
      }
      for (; g < groups; ++g) single({row * size + g * channels, channels, g * channels});
    }
    return;
  }
  int64_t row = begin;
  if (kBlock * channels * bytes <= (384 << 10)) {
    for (; row + kBlock <= end; row += kBlock) {
      for (int64_t g = 0; g < groups; ++g) {
        block(Place{row * size + g * channels, size, g * channels});
      }
    }
  }
  for (; row < end; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      single(Place{row * size + g * channels, size, g * channels});
    }
  }
}

template <class T, bool centred>
void normalize_rows_as(const Rows& rows, int64_t begin, int64_t end) {
  for_each_block(
      rows, begin, end, sizeof(T),
      [&](Place at) { normalize_block<T, centred, true, kBlock>(rows, at); },
      [&](Place at, auto fixed) {
        normalize_block<T, centred, false, kBlock, decltype(fixed)::value>(rows, at);
      },
      [&](Place at) { normalize_block<T, centred, true, 1>(rows, at); });
}

template <class T>
void normalize_rows(const Rows& rows, int64_t begin, int64_t end) {
  if (rows.centred) {
    normalize_rows_as<T, true>(rows, begin, end);
  } else {
    normalize_rows_as<T, false>(rows, begin, end);
  }
}

template <class T, bool centred, bool wants_parameters>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  for_each_block(
      rows, begin, end, 2 * sizeof(T),
      [&](Place at) {
        cotangent_block<T, centred, wants_parameters, true, kBlock>(rows, at, dscale, dbias);
      },
      [&](Place at, auto fixed) {
        constexpr int length = decltype(fixed)::value;
        cotangent_block<T, centred, wants_parameters, false, kBlock, length>(rows, at, dscale,
                                                                            dbias);
      },
      [&](Place at) {
        cotangent_block<T, centred, wants_parameters, true, 1>(rows, at, dscale, dbias);
      });
}

template <class T, bool centred>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  if (dscale) {
    cotangent_rows_as<T, centred, true>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<T, centred, false>(rows, begin, end, nullptr, nullptr);
  }
}

template <class T>
void cotangent_rows(const Rows& rows, int64_t begin, int64_t end, double* dscale, double* dbias) {
  if (rows.centred) {
    cotangent_rows_as<T, true>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<T, false>(rows, begin, end, dscale, dbias);
  }
}

}  // namespace inox::INOX_UNIT
