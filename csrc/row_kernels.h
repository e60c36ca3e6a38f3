// Normalization of slices that are contiguous in memory, and its gradients.
//
// With the sums of row_sums.h, r = (var + epsilon)^(-1/2) and d = x - K,
//
//     xhat = d r - delta r,  y = xhat scale + bias,
//
// and for the gradients, with u = dy scale and <.> the mean over a slice,
//
//     dx = r (u - <u> - xhat <xhat u>) = u r + (xhat b + c),  b = -r <xhat u>,  c = -r <u>,
//     dscale = sum dy xhat,  dbias = sum dy.
//
// No cube of r is formed, which could leave the range of numbers. Without centring (RMS norm)
// K = delta = <u> = 0. A slice is read twice, the second time from cache; statistics are never
// stored, so nothing but x is kept between the forward and the backward pass.
//
// Statistics are float64. Half types are else computed in float32 (V = Singles), where the second
// pass takes for K the mean rounded to the half type, or to 2^-13 standard deviations if that is
// coarser, and for delta what the rounding left: d is exact then, and |delta| at most the standard
// deviation, as no element is nearer to the mean.
// Slices whose numbers float32 can't hold are computed in float64 (V = Doubles).
#pragma once

#include "kernels.h"
#include "parameter_sums.h"
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

// Numbers of each slice of a block that its elements are mapped with.
template <class V>
struct BlockMap {
  Scalar<V> shift[kBlock], rstd[kBlock], offset[kBlock];  // xhat = (x - shift) rstd + offset
  Scalar<V> b[kBlock], c[kBlock];
};

template <class T, class V>
INOX_INLINE BlockMap<V> block_map(const BlockSums& sums, const Statistics& of) {
  BlockMap<V> map;
  Doubles shift = load(sums.shift), delta = of.delta;
  if constexpr (std::is_same_v<V, Singles>) {
    const Doubles near = rounded<V, T>(shift + delta), zero = {};
    // A sum with a number 2^11 times the standard deviation leaves no bit below its 2^-13. The mean
    // of equal numbers is left alone, so that they give 0.
    const Doubles large = to_doubles(to_floats(of.denominator * of.rstd * broadcast(0x1p11)));
    const Doubles coarse = to_doubles(to_floats(near + large)) - large;
    const Doubles magnitude = near < zero ? -near : near;
    const Doubles mean = (magnitude < large * broadcast(0.5)) & (delta != zero) ? coarse : near;
    delta += shift - mean;
    shift = mean;
  }
  store(map.shift, shift);
  store(map.rstd, of.rstd);
  store(map.offset, -(delta * of.rstd));
  return map;
}

template <class T, class V, bool centred, bool shared, int R, int fixed>
INOX_INLINE void normalize_block(const Rows& rows, const Place& at);

// Rarely called, and never worth a place in the caches.
template <class T, bool centred, bool shared, int R>
__attribute__((noinline, cold)) void normalize_block_in_doubles(const Rows& rows,
                                                                const Place& at) {
  normalize_block<T, Doubles, centred, shared, R, 0>(rows, at);
}

template <class T, class V, bool centred, bool shared, int R, int fixed>
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
  const BlockSums sums = sum_block<V, R, strip, centred, false, true>(in, reciprocal_count);
  const Statistics of = statistics(sums.d, sums.dd, reciprocal_count, rows.epsilon);
  if constexpr (std::is_same_v<V, Singles>) {
    if (__builtin_expect(!in_range<false>(sums, of, R), 0)) {
      return normalize_block_in_doubles<T, centred, shared, R>(rows, at);
    }
  }
  const BlockMap<V> block = block_map<T, V>(sums, of);
  const V one = broadcast<V>(1);
  for (int s = 0; s < R; s += strip) {
    auto map = [&](int64_t i, auto... count) __attribute__((always_inline)) {
      V factor = one, addend = {};
#pragma GCC unroll 8
      for (int r = s; r < s + strip; ++r) {
        if (shared ? r == s : true) {
          const int64_t p = shared ? i : r * channels + i;
          if (scale) factor = load<V>(scale + p, count...);
          if (bias) addend = load<V>(bias + p, count...);
        }
        const T* from = x + r * at.stride + i;
        if constexpr (shared && R == kBlock) {
          prefetch_next<R>(from, i, at.stride);
          if (i % int64_t(64 / sizeof(T)) == 0) __builtin_prefetch(y + (r + R) * at.stride + i, 1, 2);
        }
        V v = load<V>(from, count...);
        const V rstd = broadcast<V>(block.rstd[r]);
        v = centred ? fused(v - broadcast<V>(block.shift[r]), rstd, broadcast<V>(block.offset[r]))
                    : v * rstd;
        store(y + r * at.stride + i, fused(v, factor, addend), count...);
      }
    };
    int64_t i = 0;
    for (; i + kLanesOf<V> <= channels; i += kLanesOf<V>) map(i);
    if (i < channels) map(i, channels - i);
  }
}

template <class T, class V, bool centred, bool wants_parameters, bool shared, int R, int fixed>
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale,
                                 double* dbias);

template <class T, bool centred, bool wants_parameters, bool shared, int R>
__attribute__((noinline, cold)) void cotangent_block_in_doubles(const Rows& rows, const Place& at,
                                                                double* dscale, double* dbias) {
  cotangent_block<T, Doubles, centred, wants_parameters, shared, R, 0>(rows, at, dscale, dbias);
}

template <class T, class V, bool centred, bool wants_parameters, bool shared, int R, int fixed>
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale,
                                 double* dbias) {
  using A = Accumulator<T>;
  constexpr int most = kLanes == 8 ? 4 : 2, strip = R < most ? R : most;
  // Where sums for the parameters are converted, they are those of more rows.
  constexpr int map_strip = std::is_same_v<V, Singles> && shared ? R : strip;
  const int64_t channels = fixed ? fixed : rows.channels;
  const T* x = (const T*)rows.x + at.offset;
  const T* dy = (const T*)rows.dy + at.offset;
  T* dx = rows.y ? (T*)rows.y + at.offset : nullptr;
  const A* scale = rows.scale ? (const A*)rows.scale + at.parameter : nullptr;
  const double reciprocal_count = 1.0 / channels;
  const Operands<T, T, A> in = {x, dy, scale, at.stride, shared ? 0 : channels, channels};
  const BlockSums sums = sum_block<V, R, strip, centred, true, shared>(in, reciprocal_count);
  const Statistics of = statistics(sums.d, sums.dd, reciprocal_count, rows.epsilon);
  if constexpr (std::is_same_v<V, Singles>) {
    if (__builtin_expect(!in_range<true>(sums, of, R), 0)) {
      return cotangent_block_in_doubles<T, centred, wants_parameters, shared, R>(rows, at, dscale,
                                                                                 dbias);
    }
  }
  if constexpr (wants_parameters) dscale += at.parameter, dbias += at.parameter;
  BlockMap<V> block = block_map<T, V>(sums, of);
  double exact_rstd[kBlock];
  store(exact_rstd, of.rstd);
  const Doubles n = broadcast(reciprocal_count);
  store(block.b, -(of.rstd * (of.rstd * ((sums.ud - of.delta * sums.u) * n))));
  store(block.c, -(of.rstd * (sums.u * n)));
  const V one = broadcast<V>(1);
  for (int s = 0; s < R; s += map_strip) {
    auto map = [&](int64_t i, auto... count) __attribute__((always_inline)) {
      V factor = one;
      ParameterSums<V> sums_here;
#pragma GCC unroll 8
      for (int r = s; r < s + map_strip; ++r) {
        const int64_t p = shared ? i : r * channels + i;
        if (shared ? r == s : true) {
          if (scale) factor = load<V>(scale + p, count...);
          if constexpr (wants_parameters) {
            sums_here.begin(dscale + p, dbias + p, count...);
          }
        }
        if constexpr (shared && R == kBlock) {
          prefetch_next<R>(x + r * at.stride + i, i, at.stride);
          prefetch_next<R>(dy + r * at.stride + i, i, at.stride);
        }
        const V t = load<V>(dy + r * at.stride + i, count...);
        const V rstd = broadcast<V>(block.rstd[r]);
        V d = load<V>(x + r * at.stride + i, count...), offset = {};
        if constexpr (centred) {
          d -= broadcast<V>(block.shift[r]);
          offset = broadcast<V>(block.offset[r]);
        }
        const V xhat = fused(d, rstd, offset);
        if constexpr (wants_parameters) {
          sums_here.add(r, t, d, xhat, exact_rstd[r], offset);
          if (shared ? r == s + map_strip - 1 : true) {
            sums_here.end(dscale + p, dbias + p, count...);
          }
        }
        if (dx) {
          const V b = broadcast<V>(block.b[r]);
          const V v = centred ? fused(xhat, b, broadcast<V>(block.c[r])) : xhat * b;
          store(dx + r * at.stride + i, fused(t * factor, rstd, v), count...);
        }
      }
    };
    int64_t i = 0;
    for (; i + kLanesOf<V> <= channels; i += kLanesOf<V>) map(i);
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
  using V = Arithmetic<T>;
  for_each_block(
      rows, begin, end, sizeof(T),
      [&](Place at) { normalize_block<T, V, centred, true, kBlock, 0>(rows, at); },
      [&](Place at, auto fixed) {
        normalize_block<T, Doubles, centred, false, kBlock, decltype(fixed)::value>(rows, at);
      },
      [&](Place at) { normalize_block<T, V, centred, true, 1, 0>(rows, at); });
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
  using V = Arithmetic<T>;
  for_each_block(
      rows, begin, end, 2 * sizeof(T),
      [&](Place at) {
        cotangent_block<T, V, centred, wants_parameters, true, kBlock, 0>(rows, at, dscale, dbias);
      },
      [&](Place at, auto fixed) {
        constexpr int length = decltype(fixed)::value;
        cotangent_block<T, Doubles, centred, wants_parameters, false, kBlock, length>(rows, at,
                                                                                     dscale, dbias);
      },
      [&](Place at) {
        cotangent_block<T, V, centred, wants_parameters, true, 1, 0>(rows, at, dscale, dbias);
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
