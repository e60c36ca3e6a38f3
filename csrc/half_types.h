// Conversions between half types and float32, a vector at a time: round to nearest, ties to even.
//
// bfloat16 is the upper half of a float32. The processors' own instruction for it (AVX512-BF16)
// takes denormal numbers for zero, so integer arithmetic rounds here. For float16, F16C is used
// where it is; elsewhere the exponent is moved by a multiplication, which treats normal and
// denormal numbers alike (they must not be flushed, see floating_point_environment.h).
#pragma once

#include "vectors.h"

namespace inox::INOX_UNIT {

// Between 16 and 32 bits: GCC 12 takes the vectors apart where the processor has one instruction.
INOX_INLINE Words to_words(Halves v) {
#if defined(__AVX512F__)
  return (Words)_mm256_cvtepu16_epi32((__m128i)v);
#elif defined(__AVX2__)
  return (Words)_mm_cvtepu16_epi32(_mm_cvtsi64_si128((int64_t)v));
#else
  return __builtin_convertvector(v, Words);
#endif
}

INOX_INLINE Halves to_halves(Words v) {
#if defined(__AVX512F__) && defined(__AVX512VL__)
  return (Halves)_mm256_maskz_cvtepi32_epi16(0xff, (__m256i)v);
#elif defined(__AVX2__)
  return (Halves)_mm_cvtsi128_si64(_mm_packus_epi32((__m128i)v, (__m128i)v));
#else
  return __builtin_convertvector(v, Halves);
#endif
}

INOX_INLINE Floats from_bfloat16(Halves v) { return (Floats)(to_words(v) << 16); }

INOX_INLINE Halves to_bfloat16(Floats v) {
  Words bits = (Words)v;
  Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  // NaN keeps its sign and upper bits, and stays NaN: rounding could carry it to infinity or 0.
  Words quiet = (bits >> 16) | 0x40;
  return to_halves(v == v ? rounded : quiet);
}

#if defined(__F16C__) && defined(__AVX512F__)
INOX_INLINE Floats from_float16(Halves v) { return (Floats)_mm256_cvtph_ps((__m128i)v); }
INOX_INLINE Halves to_float16(Floats v) {
  return (Halves)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
}
#elif defined(__F16C__)
INOX_INLINE Floats from_float16(Halves v) {
  return (Floats)_mm_cvtph_ps(_mm_cvtsi64_si128((int64_t)v));
}
INOX_INLINE Halves to_float16(Floats v) {
  return (Halves)_mm_cvtsi128_si64(_mm_cvtps_ph((__m128)v, _MM_FROUND_TO_NEAREST_INT));
}
#else
INOX_INLINE Floats from_float16(Halves v) {
  Words bits = to_words(v);
  Words magnitude = bits & 0x7fff;
  // Read as a float32 of the same exponent field, a number is 2^-112 times too small.
  Floats scaled = (Floats)(magnitude << 13) * 0x1p112f;
  Words result = (Words)scaled | (magnitude >= 0x7c00 ? Words{} + 0x7f800000 : Words{});
  return (Floats)(result | (bits & 0x8000) << 16);
}

INOX_INLINE Halves to_float16(Floats v) {
  const Words infinity = Words{} + 0x7c00;
  Words bits = (Words)v, magnitude = bits & 0x7fffffff;
  // From 2^-14 on: the exponent is moved, and 13 bits are rounded off.
  Words normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Below: one unit of 0.5 is one unit of a denormal float16, so an addition does the rounding.
  Words denormal = (Words)((Floats)magnitude + 0.5f) - 0x3f000000u;
  Words result = magnitude < 0x38800000u ? denormal : normal;
  result = magnitude >= 0x477ff000u ? infinity : result;
  result = magnitude > 0x7f800000u ? infinity | 0x200 | ((magnitude >> 13) & 0x3ff) : result;
  return to_halves(result | (bits >> 16 & 0x8000));
}
#endif

}  // namespace inox::INOX_UNIT
