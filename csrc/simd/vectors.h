// Vectors of numbers, as wide as the instruction set of this translation unit has them.
//
// float32 data is computed in float64 ("Doubles"): a result is then rounded once, at the end, and
// its error is half a unit in the last place whatever the data. The same holds for the half types
// in float32 ("Singles", twice as many to a vector), as long as no intermediate leaves float32's
// range and sums of many terms are in float64 (row_sums.h). Kernels are written once for both, with
// the vector extensions of GCC and Clang; intrinsics stand only where the compilers' own code for
// the same is slow (see each).
//
// No floating-point contraction is allowed (-ffp-contract=off): a compiler contracts a*b + c in
// one copy of a loop and not in another, and a row's bits would depend on which copy it fell to.
// `fused` says where one rounding is meant.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "elements.h"

#define INOX_MEMBER inline __attribute__((always_inline))
#define INOX_INLINE static INOX_MEMBER

namespace inox::INOX_UNIT {

#if defined(__AVX512F__)
inline constexpr int kLanes = 8;
#elif defined(__AVX__)
inline constexpr int kLanes = 4;
#else
inline constexpr int kLanes = 2;
#endif

typedef double Doubles __attribute__((vector_size(8 * kLanes)));
typedef int64_t Mask __attribute__((vector_size(8 * kLanes)));
typedef float Singles __attribute__((vector_size(8 * kLanes)));
typedef int32_t SinglesMask __attribute__((vector_size(8 * kLanes)));

// 32 and 16 bits, N to a vector.
template <int N>
struct Vectors {
  typedef float Floats __attribute__((vector_size(4 * N)));
  typedef uint32_t Words __attribute__((vector_size(4 * N)));
  typedef uint16_t Halves __attribute__((vector_size(2 * N)));
};
using Floats = Vectors<kLanes>::Floats;  // as many as Doubles

template <class V>
using Scalar = std::remove_reference_t<decltype(V{}[0])>;

// The number of lanes of a vector of either kind.
template <class V>
inline constexpr int kLanesOf = sizeof(V) / sizeof(Scalar<V>);

template <class V, size_t... I>
INOX_INLINE V broadcast(Scalar<V> value, std::index_sequence<I...>) {
  return V{((void)I, value)...};
}

template <class V = Doubles>
INOX_INLINE V broadcast(Scalar<V> value) {
  return broadcast<V>(value, std::make_index_sequence<kLanesOf<V>>());
}

// Between float32 and float64. GCC 12 converts vectors in two halves, and puts them together again,
// where the processor has one instruction: with AVX2 a pass over cached rows takes twice as long.
INOX_INLINE Doubles to_doubles(Floats v) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_maskz_cvtps_pd(0xff, (__m256)v);
#elif defined(__AVX__)
  return (Doubles)_mm256_cvtps_pd((__m128)v);
#else
  return __builtin_convertvector(v, Doubles);
#endif
}

INOX_INLINE Floats to_floats(Doubles v) {
#if defined(__AVX512F__)
  return (Floats)_mm512_maskz_cvtpd_ps(0xff, (__m512d)v);
#elif defined(__AVX__)
  return (Floats)_mm256_cvtpd_ps((__m256d)v);
#else
  return __builtin_convertvector(v, Floats);
#endif
}

// The lower and the upper half of the lanes. GCC 12 takes them through memory unless told.
INOX_INLINE Floats lower_lanes(Singles v) {
#if defined(__AVX512DQ__)
  return (Floats)_mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 0);
#elif defined(__AVX__) && !defined(__AVX512F__)
  return (Floats)_mm256_castps256_ps128((__m256)v);
#else
  Floats half;
  memcpy(&half, &v, sizeof half);
  return half;
#endif
}

INOX_INLINE Floats upper_lanes(Singles v) {
#if defined(__AVX512DQ__)
  return (Floats)_mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 1);
#elif defined(__AVX__) && !defined(__AVX512F__)
  return (Floats)_mm256_extractf128_ps((__m256)v, 1);
#else
  Floats half;
  memcpy(&half, (const char*)&v + sizeof half, sizeof half);
  return half;
#endif
}

// A vector of sums with as many lanes as Doubles.
INOX_INLINE Doubles total(Doubles v) { return v; }
INOX_INLINE Doubles total(Singles v) { return to_doubles(lower_lanes(v) + upper_lanes(v)); }

// a * b + c: rounded once where the processor has the instruction, twice elsewhere.
INOX_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) {
#if defined(__AVX512F__)
  return (Doubles)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__)
  return (Doubles)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
  return (Doubles)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
  return a * b + c;
#endif
}

INOX_INLINE Singles fused(Singles a, Singles b, Singles c) {
#if defined(__AVX512F__)
  return (Singles)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Singles)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Singles)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

INOX_INLINE Doubles square_root(Doubles v) {
#if defined(__AVX512F__)
  // The form without a mask draws a false warning of an uninitialized value from GCC 12.
  return (Doubles)_mm512_maskz_sqrt_pd(0xff, (__m512d)v);
#elif defined(__AVX__)
  return (Doubles)_mm256_sqrt_pd((__m256d)v);
#elif defined(__SSE2__)
  return (Doubles)_mm_sqrt_pd((__m128d)v);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrt(v[i]);
  return v;
#endif
}

// Whether a > b in any lane.
INOX_INLINE bool any_greater(Doubles a, Doubles b) {
#if defined(__AVX512F__)
  return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ) != 0;
#elif defined(__AVX__)
  return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_GT_OQ)) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_pd(_mm_cmpgt_pd((__m128d)a, (__m128d)b)) != 0;
#else
  bool any = false;
  for (int i = 0; i < kLanes; ++i) any |= a[i] > b[i];
  return any;
#endif
}

// 0 in all lanes from `count` on, whatever stands there.
INOX_INLINE Doubles first_lanes(Doubles v, int64_t count) {
  Mask lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return (Doubles)((Mask)v & (lane < count));
}

INOX_INLINE Singles first_lanes(Singles v, int64_t count) {
  SinglesMask lane;
  for (int i = 0; i < kLanesOf<Singles>; ++i) lane[i] = i;
  return (Singles)((SinglesMask)v & (lane < int32_t(count)));
}

// One step of `fold`: of two vectors whose groups of `width` lanes are summed, the half groups
// added to each other, the groups of `u` before those of `v`.
template <int width, int half>
constexpr int lane_of_half_group(int i) {
  const int place = i % (kLanes / 2);
  return i / (kLanes / 2) * kLanes + place / (width / 2) * width + place % (width / 2) +
         half * (width / 2);
}

// Lanes of two vectors, those of v counted on from those of u.
template <int... lanes>
INOX_INLINE Doubles lanes_of_two(Doubles u, Doubles v) {
#if defined(__clang__)
  return __builtin_shufflevector(u, v, lanes...);
#else
  return __builtin_shuffle(u, v, Mask{lanes...});
#endif
}

template <int width, int half, size_t... I>
INOX_INLINE Doubles half_groups(Doubles u, Doubles v, std::index_sequence<I...>) {
  return lanes_of_two<lane_of_half_group<width, half>(I)...>(u, v);
}

template <int width>
INOX_INLINE Doubles fold_pair(Doubles u, Doubles v) {
  constexpr auto lanes = std::make_index_sequence<kLanes>();
  return half_groups<width, 0>(u, v, lanes) + half_groups<width, 1>(u, v, lanes);
}

// The sum of the lanes of sums[k], in lane k. A vector's lanes are added in the same order
// whichever lane the result goes to, so that a row's sum doesn't depend on the rows beside it.
INOX_INLINE Doubles fold(const Doubles (&sums)[kLanes]) {
  if constexpr (kLanes == 8) {
    Doubles a = fold_pair<8>(sums[0], sums[1]), b = fold_pair<8>(sums[2], sums[3]);
    Doubles c = fold_pair<8>(sums[4], sums[5]), d = fold_pair<8>(sums[6], sums[7]);
    return fold_pair<2>(fold_pair<4>(a, b), fold_pair<4>(c, d));
  } else if constexpr (kLanes == 4) {
    return fold_pair<2>(fold_pair<4>(sums[0], sums[1]), fold_pair<4>(sums[2], sums[3]));
  } else {
    return fold_pair<2>(sums[0], sums[1]);
  }
}

}  // namespace inox::INOX_UNIT
