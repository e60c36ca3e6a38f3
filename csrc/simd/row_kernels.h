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
// Statistics are float64. Half types are else computed in float32 (V = Singles), but for slices
// whose numbers float32 can't hold, and for long ones: |xhat| may be sqrt(n), and where xhat scale
// cancels against bias, or u r against xhat b, what is left errs by 4 sqrt(n) 2^-24 in units of
// |scale| or r rms(u). That is 0.007 units in the last place of float16 for 2048 elements, and of
// bfloat16 for 64 times as many. Short slices are computed in float64, too: a vector would hold one
// of them. What is chosen depends on the length of a slice alone, so that its bits do.
#pragma once

#include "simd/parameter_sums.h"
#include "simd/row_blocks.h"
#include "simd/short_rows.h"

namespace inox::INOX_UNIT {

template <class T, class V, bool centred, bool shared, int R, int fixed>
INOX_INLINE void normalize_block(const Rows& rows, const Place& at);

// A block of which float32 can't hold one slice: each by itself, so that none depends on others.
template <class T, bool centred, int R>
__attribute__((noinline, cold)) void normalize_apart(const Rows& rows, const Place& at) {
  for (int r = 0; r < R; ++r) {
    const Place one = {at.offset + r * at.stride, at.stride, at.parameter};
    normalize_block<T, std::conditional_t<R == 1, Doubles, Singles>, centred, true, 1, 0>(rows,
                                                                                          one);
  }
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
      return normalize_apart<T, centred, R>(rows, at);
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
          if (i % int64_t(64 / sizeof(T)) == 0)
            __builtin_prefetch(y + (r + R) * at.stride + i, 1, 2);
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
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale, double* dbias);

template <class T, bool centred, bool wants_parameters, int R>
__attribute__((noinline, cold)) void cotangent_apart(const Rows& rows, const Place& at,
                                                     double* dscale, double* dbias) {
  for (int r = 0; r < R; ++r) {
    const Place one = {at.offset + r * at.stride, at.stride, at.parameter};
    using V = std::conditional_t<R == 1, Doubles, Singles>;
    cotangent_block<T, V, centred, wants_parameters, true, 1, 0>(rows, one, dscale, dbias);
  }
}

template <class T, class V, bool centred, bool wants_parameters, bool shared, int R, int fixed>
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale, double* dbias) {
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
      return cotangent_apart<T, centred, wants_parameters, R>(rows, at, dscale, dbias);
    }
  }
  if constexpr (wants_parameters) dscale += at.parameter, dbias += at.parameter;
  BlockMap<V> block = block_map<T, V>(sums, of);
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
          sums_here.add(t, d, xhat, block.exact_rstd[r], centred ? block.exact_offset[r] : 0);
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

template <class T>
INOX_INLINE bool are_in_singles(const Rows& rows) {
  constexpr int64_t longest = std::is_same_v<T, Float16> ? 2048 : 2048 * 64;
  return rows.channels >= kLongGroup && rows.channels <= longest;
}

template <class T, class V, bool centred>
void normalize_rows_as(const Rows& rows, int64_t begin, int64_t end) {
  const bool blocks = kBlock * rows.channels * int64_t(sizeof(T)) <= kMostBlockBytes;
  for_each_block(rows, begin, end, blocks, [&](Place at) {
    normalize_block<T, V, centred, true, kBlock, 0>(rows, at);
  }, [&](Place at, auto fixed) {
    normalize_block<T, Doubles, centred, false, kBlock, decltype(fixed)::value>(rows, at);
  }, [&](Place at) { normalize_block<T, V, centred, true, 1, 0>(rows, at); });
}

template <class T, class V>
void normalize_rows_as(const Rows& rows, int64_t begin, int64_t end) {
  if (rows.centred) {
    normalize_rows_as<T, V, true>(rows, begin, end);
  } else {
    normalize_rows_as<T, V, false>(rows, begin, end);
  }
}

template <class T>
void normalize_rows(const Rows& rows, int64_t begin, int64_t end) {
  if (are_short(rows)) {
    for_short_rows(rows, [&](auto length, auto shared) {
      normalize_short_rows<T, decltype(length)::value, decltype(shared)::value>(rows, begin, end);
    });
    return;
  }
  if (are_in_singles<T>(rows)) {
    normalize_rows_as<T, Arithmetic<T>>(rows, begin, end);
  } else {
    normalize_rows_as<T, Doubles>(rows, begin, end);
  }
}

// Of Doubles long rows go one by one. Four rows of x, dy and dx are twelve streams, which a first
// cache with eight ways holds as long as they are not a multiple of its 4096 bytes apart: blocks of
// rows of 1024 float32 numbers take 0.88 ns an element, single rows 0.66. Of Singles the sums for
// the parameters are worth it (0.58 and 0.73).
template <class T, class V>
INOX_INLINE bool blocks_of_cotangent(const Rows& rows) {
  const int64_t bytes = int64_t(2 * kBlock) * rows.channels * int64_t(sizeof(T));
  if constexpr (std::is_same_v<V, Singles>) return bytes <= kMostBlockBytes;
  const int64_t stride = rows.groups * rows.channels * int64_t(sizeof(T));
  return bytes < (96 << 10) && stride % 4096 != 0;
}

template <class T, class V, bool centred, bool wants_parameters>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  const bool blocks = blocks_of_cotangent<T, V>(rows);
  for_each_block(rows, begin, end, blocks, [&](Place at) {
    cotangent_block<T, V, centred, wants_parameters, true, kBlock, 0>(rows, at, dscale, dbias);
  }, [&](Place at, auto fixed) {
    constexpr int length = decltype(fixed)::value;
    cotangent_block<T, Doubles, centred, wants_parameters, false, kBlock, length>(rows, at, dscale,
                                                                                  dbias);
  }, [&](Place at) {
    cotangent_block<T, V, centred, wants_parameters, true, 1, 0>(rows, at, dscale, dbias);
  });
}

template <class T, class V, bool centred>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  if (dscale) {
    cotangent_rows_as<T, V, centred, true>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<T, V, centred, false>(rows, begin, end, nullptr, nullptr);
  }
}

template <class T, class V>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  if (rows.centred) {
    cotangent_rows_as<T, V, true>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<T, V, false>(rows, begin, end, dscale, dbias);
  }
}

template <class T>
void cotangent_rows(const Rows& rows, int64_t begin, int64_t end, double* dscale, double* dbias) {
  if (are_short(rows)) {
    for_short_rows(rows, [&](auto length, auto shared) {
      cotangent_short_rows<T, decltype(length)::value, decltype(shared)::value>(rows, begin, end,
                                                                                dscale, dbias);
    });
    return;
  }
  if (are_in_singles<T>(rows)) {
    cotangent_rows_as<T, Arithmetic<T>>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<T, Doubles>(rows, begin, end, dscale, dbias);
  }
}

}  // namespace inox::INOX_UNIT
