// Conversions between half types and float32, a vector at a time: round to nearest, ties to even.
//
// bfloat16 is the upper half of a float32. The processors' own instruction for it (AVX512-BF16)
// takes denormal numbers for zero, so integer arithmetic rounds here. For float16, F16C is used
// where it is; elsewhere the exponent is moved by a multiplication, which treats normal and
// denormal numbers alike (they must not be flushed, see floating_point_environment.h).
#pragma once

#include "simd/vectors.h"

namespace inox::INOX_UNIT {

template <int N>
using FloatsOf = typename Vectors<N>::Floats;
template <int N>
using WordsOf = typename Vectors<N>::Words;
template <int N>
using HalvesOf = typename Vectors<N>::Halves;

// Between 16 and 32 bits: GCC 12 takes the vectors apart where the processor has one instruction.
template <int N>
INOX_INLINE WordsOf<N> to_words(HalvesOf<N> v) {
#if defined(__AVX512F__)
  if constexpr (N == 16) return (WordsOf<N>)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)v);
#endif
#if defined(__AVX2__)
  if constexpr (N == 8) return (WordsOf<N>)_mm256_cvtepu16_epi32((__m128i)v);
  if constexpr (N == 4) return (WordsOf<N>)_mm_cvtepu16_epi32(_mm_cvtsi64_si128((int64_t)v));
#endif
  return __builtin_convertvector(v, WordsOf<N>);
}

template <int N>
INOX_INLINE HalvesOf<N> to_halves(WordsOf<N> v) {
#if defined(__AVX512F__) && defined(__AVX512VL__)
  if constexpr (N == 16) return (HalvesOf<N>)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)v);
  if constexpr (N == 8) return (HalvesOf<N>)_mm256_maskz_cvtepi32_epi16(0xff, (__m256i)v);
#elif defined(__AVX2__)
  if constexpr (N == 8) {
    const __m256i pairs = _mm256_packus_epi32((__m256i)v, (__m256i)v);
    return (HalvesOf<N>)_mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 0x08));
  }
  if constexpr (N == 4) {
    return (HalvesOf<N>)_mm_cvtsi128_si64(_mm_packus_epi32((__m128i)v, (__m128i)v));
  }
#endif
  return __builtin_convertvector(v, HalvesOf<N>);
}

template <int N>
INOX_INLINE FloatsOf<N> from_bfloat16(HalvesOf<N> v) {
  return (FloatsOf<N>)(to_words<N>(v) << 16);
}

template <int N>
INOX_INLINE HalvesOf<N> to_bfloat16(FloatsOf<N> v) {
  WordsOf<N> bits = (WordsOf<N>)v;
  WordsOf<N> rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  // NaN keeps its sign and upper bits, and stays NaN: rounding could carry it to infinity or 0.
  WordsOf<N> quiet = (bits >> 16) | 0x40;
  return to_halves<N>(v == v ? rounded : quiet);
}

template <int N>
INOX_INLINE FloatsOf<N> from_float16(HalvesOf<N> v) {
#if defined(__F16C__)
#if defined(__AVX512F__)
  if constexpr (N == 16) return (FloatsOf<N>)_mm512_maskz_cvtph_ps(0xffff, (__m256i)v);
#endif
  if constexpr (N == 8) return (FloatsOf<N>)_mm256_cvtph_ps((__m128i)v);
  if constexpr (N == 4) return (FloatsOf<N>)_mm_cvtph_ps(_mm_cvtsi64_si128((int64_t)v));
#endif
  WordsOf<N> bits = to_words<N>(v);
  WordsOf<N> magnitude = bits & 0x7fff;
  // Read as a float32 of the same exponent field, a number is 2^-112 times too small.
  FloatsOf<N> scaled = (FloatsOf<N>)(magnitude << 13) * 0x1p112f;
  const WordsOf<N> infinity = WordsOf<N>{} + 0x7f800000;
  WordsOf<N> result = (WordsOf<N>)scaled | (magnitude >= 0x7c00 ? infinity : WordsOf<N>{});
  return (FloatsOf<N>)(result | (bits & 0x8000) << 16);
}

template <int N>
INOX_INLINE HalvesOf<N> to_float16(FloatsOf<N> v) {
#if defined(__F16C__)
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    return (HalvesOf<N>)_mm512_maskz_cvtps_ph(0xffff, (__m512)v, _MM_FROUND_TO_NEAREST_INT);
  }
#endif
  if constexpr (N == 8) {
    return (HalvesOf<N>)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
  }
  if constexpr (N == 4) {
    return (HalvesOf<N>)_mm_cvtsi128_si64(_mm_cvtps_ph((__m128)v, _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  using Words = WordsOf<N>;
  const Words infinity = Words{} + 0x7c00;
  Words bits = (Words)v, magnitude = bits & 0x7fffffff;
  // From 2^-14 on: the exponent is moved, and 13 bits are rounded off.
  Words normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Below: one unit of 0.5 is one unit of a denormal float16, so an addition does the rounding.
  Words denormal = (Words)((FloatsOf<N>)magnitude + 0.5f) - 0x3f000000u;
  Words result = magnitude < 0x38800000u ? denormal : normal;
  result = magnitude >= 0x477ff000u ? infinity : result;
  result = magnitude > 0x7f800000u ? infinity | 0x200 | ((magnitude >> 13) & 0x3ff) : result;
  return to_halves<N>(result | (bits >> 16 & 0x8000));
}

}  // namespace inox::INOX_UNIT
