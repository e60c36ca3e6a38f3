// The gradients of row_normalize.h, where their formulas stand.
#pragma once

#include "simd/parameter_sums.h"
#include "simd/row_normalize.h"

namespace inox::INOX_UNIT {

template <class E, class V, bool centred, bool wants_parameters, bool shared, int R, int fixed,
          bool plain = false>
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale, double* dbias);

template <class E, bool centred, bool wants_parameters, int R>
__attribute__((noinline, cold)) void cotangent_apart(const Rows& rows, const Place& at,
                                                     double* dscale, double* dbias) {
  for (int r = 0; r < R; ++r) {
    const Place one = {at.offset + r * at.stride, at.stride, at.parameter};
    using V = std::conditional_t<R == 1, Doubles, Singles>;
    cotangent_block<E, V, centred, wants_parameters, true, 1, 0>(rows, one, dscale, dbias);
  }
}

template <class E, bool centred, bool wants_parameters, int R>
__attribute__((noinline, cold)) void cotangent_shifted(const Rows& rows, const Place& at,
                                                       double* dscale, double* dbias) {
  for (int r = 0; r < R; ++r) {
    const Place one = {at.offset + r * at.stride, at.stride, at.parameter};
    cotangent_block<E, Doubles, centred, wants_parameters, true, 1, 0, R != 1>(rows, one, dscale,
                                                                               dbias);
  }
}

template <class E, class V, bool centred, bool wants_parameters, bool shared, int R, int fixed,
          bool plain>
INOX_INLINE void cotangent_block(const Rows& rows, const Place& at, double* dscale, double* dbias) {
  using X = typename E::X;
  using T = typename E::Y;
  using Dx = typename E::Dx;
  using A = Accumulator<T>;
  constexpr int of_sums = kLanes == 8 ? 4 : 2, strip = R < of_sums ? R : of_sums;
  const int64_t channels = fixed ? fixed : rows.channels;
  const X* x = (const X*)rows.x + at.offset;
  const T* dy = (const T*)rows.dy + at.offset;
  Dx* dx = rows.y ? (Dx*)rows.y + at.offset : nullptr;
  const Dx* dr = rows.dr ? (const Dx*)rows.dr + at.offset : nullptr;
  const A* scale = rows.scale ? (const A*)rows.scale + at.parameter : nullptr;
  const double reciprocal_count = 1.0 / channels;
  const Operands<X, T, A> in = {x, dy, scale, at.stride, shared ? 0 : channels, channels};
  const BlockSums sums = sum_block<V, R, strip, centred, true, shared, plain>(in, reciprocal_count);
  if constexpr (plain && centred) {
    if (__builtin_expect(any_far_from_zero(sums, reciprocal_count), 0)) {
      return cotangent_shifted<E, centred, wants_parameters, R>(rows, at, dscale, dbias);
    }
  }
  const Statistics of = statistics(sums.d, sums.dd, reciprocal_count, rows.epsilon);
  if constexpr (std::is_same_v<V, Singles>) {
    if (__builtin_expect(!in_range<true>(sums, of, R), 0)) {
      return cotangent_apart<E, centred, wants_parameters, R>(rows, at, dscale, dbias);
    }
  }
  if constexpr (wants_parameters) dscale += at.parameter, dbias += at.parameter;
  BlockMap<V> block = block_map<X, V>(sums, of);
  const Doubles n = broadcast(reciprocal_count);
  store(block.b, -(of.rstd * (of.rstd * ((sums.ud - of.delta * sums.u) * n))));
  store(block.c, -(of.rstd * (sums.u * n)));
  const V one = broadcast<V>(1);
  // Numbers of a row as vectors, made once where there are many vectors to a row.
  V vectors_of[R][5];
  auto number = [&](int k, const Scalar<V>(&numbers)[kBlock], int r)
                    __attribute__((always_inline)) {
    if constexpr (shared) return vectors_of[r][k];
    return broadcast<V>(numbers[r]);
  };
#pragma GCC unroll 8
  for (int r = 0; shared && r < R; ++r) {
    vectors_of[r][0] = broadcast<V>(block.shift[r]);
    vectors_of[r][1] = broadcast<V>(block.rstd[r]);
    vectors_of[r][2] = broadcast<V>(block.offset[r]);
    vectors_of[r][3] = broadcast<V>(block.b[r]), vectors_of[r][4] = broadcast<V>(block.c[r]);
  }
  const bool past_cache = rows.past_cache;
  // Sums of Singles take too many registers for more than a vector of them.
  constexpr bool lines = shared && std::is_same_v<V, Doubles>;
  constexpr int lanes = kLanesOf<V>, most = lines ? kLineVectors<T, V> : 1;
  auto map = [&](int64_t i, auto vectors, auto... count) __attribute__((always_inline)) {
    constexpr int G = decltype(vectors)::value;
    V factor[G];
    ParameterSums<V> sums_here[G];
    auto begin = [&](int64_t p) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const int64_t c = p + int64_t{g} * lanes;
        factor[g] = scale ? load<V>(scale + c, count...) : one;
        if constexpr (wants_parameters) {
          sums_here[g].begin(dscale + c, dbias + c, count...);
        }
      }
    };
    auto end = [&](int64_t p) __attribute__((always_inline)) {
      if constexpr (!wants_parameters) return;
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const int64_t c = p + int64_t{g} * lanes;
        sums_here[g].end(dscale + c, dbias + c, count...);
      }
    };
    if constexpr (shared) begin(i);
    auto row = [&](int r) __attribute__((always_inline)) {
      if constexpr (!shared) begin(r * channels + i);
      const int64_t place = r * at.stride + i;
      if constexpr (shared) {
        if (G == kLineVectors<T, V> || i % int64_t(64 / sizeof(T)) == 0) {
          __builtin_prefetch(x + place + R * at.stride, 0, 2);
          __builtin_prefetch(dy + place + R * at.stride, 0, 2);
        }
      }
#pragma GCC unroll 4
      for (int g = 0; g < G; ++g) {
        const V rstd = number(1, block.rstd, r);
        const V t = load<V>(dy + place + g * lanes, count...);
        V d = load<V>(x + place + g * lanes, count...);
        if constexpr (centred && !plain) d -= number(0, block.shift, r);
        const V xhat = centred ? fused(d, rstd, number(2, block.offset, r)) : d * rstd;
        if constexpr (wants_parameters) {
          sums_here[g].add(t, d, xhat, block.exact_rstd[r], centred ? block.exact_offset[r] : 0);
        }
        if (dx) {
          const V b = number(3, block.b, r);
          V v = centred ? fused(xhat, b, number(4, block.c, r)) : xhat * b;
          v = fused(t * factor[g], rstd, v);
          if (dr) v += load<V>(dr + place + g * lanes, count...);
          if constexpr (lines && G == most && sizeof...(count) == 0) {
            if (past_cache) {
              store_past_cache(dx + place + g * lanes, v);
              continue;
            }
          }
          store(dx + place + g * lanes, v, count...);
        }
      }
      if constexpr (!shared) end(r * channels + i);
    };
    if constexpr (G == 1) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) row(r);
    } else {
#pragma GCC unroll 1
      for (int r = 0; r < R; ++r) row(r);
    }
    if constexpr (shared) end(i);
  };
  for_each_in_lines<V, most>(channels, map);
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

template <class E, class V, bool plain, bool centred, bool wants_parameters>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  const bool blocks = blocks_of_cotangent<typename E::Y, V>(rows);
  for_each_block(rows, begin, end, blocks, [&](Place at) {
    cotangent_block<E, V, centred, wants_parameters, true, kBlock, 0, plain>(rows, at, dscale,
                                                                             dbias);
  }, [&]([[maybe_unused]] Place at, [[maybe_unused]] auto fixed) {
    if constexpr (std::is_same_v<V, Doubles> && !plain) {  // as in row_normalize.h
      constexpr int length = decltype(fixed)::value;
      cotangent_block<E, Doubles, centred, wants_parameters, false, kBlock, length>(rows, at,
                                                                                    dscale, dbias);
    }
  }, [&](Place at) {
    cotangent_block<E, V, centred, wants_parameters, true, 1, 0, plain>(rows, at, dscale, dbias);
  });
}

template <class E, class V, bool plain, bool centred>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  if (dscale) {
    cotangent_rows_as<E, V, plain, centred, true>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<E, V, plain, centred, false>(rows, begin, end, nullptr, nullptr);
  }
}

template <class E, class V, bool plain>
void cotangent_rows_as(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                       double* dbias) {
  if (rows.centred) {
    cotangent_rows_as<E, V, plain, true>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<E, V, plain, false>(rows, begin, end, dscale, dbias);
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
  if constexpr (std::is_same_v<T, float>) {
    if (are_plain<T>(rows)) {
      cotangent_rows_as<Same<T>, Doubles, true>(rows, begin, end, dscale, dbias);
    } else {
      cotangent_rows_as<Same<T>, Doubles, false>(rows, begin, end, dscale, dbias);
    }
  } else if (are_in_singles<T>(rows)) {
    cotangent_rows_as<Same<T>, Arithmetic<T>, false>(rows, begin, end, dscale, dbias);
  } else {
    cotangent_rows_as<Same<T>, Doubles, false>(rows, begin, end, dscale, dbias);
  }
  if (rows.past_cache) end_stores_past_cache();
}

// The same of rows of sums in the accumulator type, dx in it, too, if `wide`; false where they are
// better widened, or short.
template <class T>
bool cotangent_sums(const Rows& rows, bool wide, int64_t begin, int64_t end, double* dscale,
                    double* dbias) {
  if constexpr (sizeof(T) == 2 && std::is_same_v<Arithmetic<T>, Singles>) {
    if (are_in_singles<T>(rows)) {
      if (wide) {
        cotangent_rows_as<OfWideSum<T>, Singles, false>(rows, begin, end, dscale, dbias);
      } else {
        cotangent_rows_as<OfSum<T>, Singles, false>(rows, begin, end, dscale, dbias);
      }
      return true;
    }
  }
  return false;
}

}  // namespace inox::INOX_UNIT
