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

#include "simd/row_blocks.h"
#include "simd/short_rows.h"

namespace inox::INOX_UNIT {

// Whether rows are summed without a shift first (row_sums.h).
template <class T>
INOX_INLINE bool are_plain(const Rows& rows) {
  return std::is_same_v<T, float> && rows.channels >= kLongGroup;
}

// The longest slice of a half type that is computed in float32.
template <class T>
inline constexpr int64_t kLongestInSingles = std::is_same_v<T, Float16> ? 2048 : 2048 * 64;

template <class T>
INOX_INLINE bool are_in_singles(const Rows& rows) {
  return rows.channels >= kLongGroup && rows.channels <= kLongestInSingles<T>;
}

template <class E, class V, bool centred, bool shared, int R, int fixed, bool plain = false>
INOX_INLINE void normalize_block(const Rows& rows, const Place& at);

// A block of which float32 can't hold one slice: each by itself, so that none depends on others.
template <class E, bool centred, int R>
__attribute__((noinline, cold)) void normalize_apart(const Rows& rows, const Place& at) {
  for (int r = 0; r < R; ++r) {
    const Place one = {at.offset + r * at.stride, at.stride, at.parameter};
    normalize_block<E, std::conditional_t<R == 1, Doubles, Singles>, centred, true, 1, 0>(rows,
                                                                                          one);
  }
}

// A block with a plain row whose mean is far from 0: each by itself, with a shift where it needs
// one.
template <class E, bool centred, int R>
__attribute__((noinline, cold)) void normalize_shifted(const Rows& rows, const Place& at) {
  for (int r = 0; r < R; ++r) {
    const Place one = {at.offset + r * at.stride, at.stride, at.parameter};
    normalize_block<E, Doubles, centred, true, 1, 0, R != 1>(rows, one);
  }
}

template <class E, class V, bool centred, bool shared, int R, int fixed, bool plain>
INOX_INLINE void normalize_block(const Rows& rows, const Place& at) {
  using X = typename E::X;
  using T = typename E::Y;
  using A = Accumulator<T>;
  constexpr int strip = R < 4 ? R : 4;
  const int64_t channels = fixed ? fixed : rows.channels;
  const X* x = (const X*)rows.x + at.offset;
  T* y = (T*)rows.y + at.offset;
  const A* scale = rows.scale ? (const A*)rows.scale + at.parameter : nullptr;
  const A* bias = rows.bias ? (const A*)rows.bias + at.parameter : nullptr;
  const double reciprocal_count = 1.0 / channels;
  const Operands<X, T, A> in = {x, nullptr, nullptr, at.stride, 0, channels};
  const BlockSums sums = sum_block<V, R, strip, centred, false, true, plain>(in, reciprocal_count);
  if constexpr (plain && centred) {
    if (__builtin_expect(any_far_from_zero(sums, reciprocal_count), 0)) {
      return normalize_shifted<E, centred, R>(rows, at);
    }
  }
  const Statistics of = statistics(sums.d, sums.dd, reciprocal_count, rows.epsilon);
  if constexpr (std::is_same_v<V, Singles>) {
    if (__builtin_expect(!in_range<false>(sums, of, R), 0)) {
      return normalize_apart<E, centred, R>(rows, at);
    }
  }
  const BlockMap<V> block = block_map<X, V>(sums, of);
  const V one = broadcast<V>(1);
  const bool past_cache = rows.past_cache;
  V shift[R], rstd[R], offset[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    shift[r] = broadcast<V>(block.shift[r]);
    rstd[r] = broadcast<V>(block.rstd[r]), offset[r] = broadcast<V>(block.offset[r]);
  }
  // All of a line in one row before the next: stores past the cache must not come in pieces.
  constexpr int lanes = kLanesOf<V>, most = shared ? kLineVectors<T, V> : 1;
  auto map = [&](int64_t i, auto vectors, auto... count) __attribute__((always_inline)) {
    constexpr int G = decltype(vectors)::value;
    V factor[G], addend[G];
    auto parameters = [&](int64_t p) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        factor[g] = scale ? load<V>(scale + p + g * lanes, count...) : one;
        addend[g] = bias ? load<V>(bias + p + g * lanes, count...) : V{};
      }
    };
    if constexpr (shared) parameters(i);
    auto row = [&](int r) __attribute__((always_inline)) {
      if constexpr (!shared) parameters(r * channels + i);
      const X* from = x + r * at.stride + i;
      T* to = y + r * at.stride + i;
      if constexpr (shared && G == most) {
        __builtin_prefetch(from + R * at.stride, 0, 2);
        if (!past_cache) __builtin_prefetch(to + R * at.stride, 1, 2);
      }
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        V v = load<V>(from + g * lanes, count...);
        if constexpr (centred && !plain) v -= shift[r];
        v = centred ? fused(v, rstd[r], offset[r]) : v * rstd[r];
        v = fused(v, factor[g], addend[g]);
        if constexpr (shared && G == most && sizeof...(count) == 0) {
          if (past_cache) {
            store_past_cache(to + g * lanes, v);
            continue;
          }
        }
        store(to + g * lanes, v, count...);
      }
    };
    if constexpr (G == 1) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) row(r);
    } else {
#pragma GCC unroll 1
      for (int r = 0; r < R; ++r) row(r);
    }
  };
  for_each_in_lines<V, most>(channels, map);
}

template <class E, class V, bool plain, bool centred>
void normalize_rows_as(const Rows& rows, int64_t begin, int64_t end) {
  using T = typename E::Y;
  // Stores past the cache, to four rows a multiple of 4096 bytes apart, take four times as long.
  const int64_t stride = rows.groups * rows.channels * int64_t(sizeof(T));
  const bool blocks = kBlock * rows.channels * int64_t(sizeof(T)) <= kMostBlockBytes &&
                      !(rows.past_cache && stride % 4096 == 0);
  for_each_block(rows, begin, end, blocks, [&](Place at) {
    normalize_block<E, V, centred, true, kBlock, 0, plain>(rows, at);
  }, [&]([[maybe_unused]] Place at, [[maybe_unused]] auto fixed) {
    // Only groups that are short: what is plain, or in float32, is long, and need not be compiled.
    if constexpr (std::is_same_v<V, Doubles> && !plain) {
      normalize_block<E, Doubles, centred, false, kBlock, decltype(fixed)::value>(rows, at);
    }
  }, [&](Place at) { normalize_block<E, V, centred, true, 1, 0, plain>(rows, at); });
}

template <class E, class V, bool plain>
void normalize_rows_as(const Rows& rows, int64_t begin, int64_t end) {
  if (rows.centred) {
    normalize_rows_as<E, V, plain, true>(rows, begin, end);
  } else {
    normalize_rows_as<E, V, plain, false>(rows, begin, end);
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
  if constexpr (std::is_same_v<T, float>) {
    if (are_plain<T>(rows)) {
      normalize_rows_as<Same<T>, Doubles, true>(rows, begin, end);
    } else {
      normalize_rows_as<Same<T>, Doubles, false>(rows, begin, end);
    }
  } else if (are_in_singles<T>(rows)) {
    normalize_rows_as<Same<T>, Arithmetic<T>, false>(rows, begin, end);
  } else {
    normalize_rows_as<Same<T>, Doubles, false>(rows, begin, end);
  }
  if (rows.past_cache) end_stores_past_cache();
}

// The same of rows of sums in the accumulator type; false where they are better widened, or short.
template <class T>
bool normalize_sums(const Rows& rows, int64_t begin, int64_t end) {
  if constexpr (sizeof(T) == 2 && std::is_same_v<Arithmetic<T>, Singles>) {
    if (are_in_singles<T>(rows)) {
      normalize_rows_as<OfSum<T>, Singles, false>(rows, begin, end);
      if (rows.past_cache) end_stores_past_cache();
      return true;
    }
  }
  return false;
}

}  // namespace inox::INOX_UNIT
