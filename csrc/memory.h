// Loads and stores: elements of any type in memory, float64 numbers in registers.
//
// Addresses need no alignment. `count` is the number of elements of an incomplete vector at the
// end of an array; nothing behind them is read or written, and what is loaded there counts as 0.
#pragma once

#include "half_types.h"
#include "vectors.h"

namespace inox::INOX_UNIT {

// As many elements as there are lanes, as they stand in memory.
template <class T>
struct RawOf;

template <>
struct RawOf<float> {
  using Type = Floats;
};

template <>
struct RawOf<double> {
  using Type = Doubles;
};

template <>
struct RawOf<BFloat16> {
  using Type = Halves;
};

template <>
struct RawOf<Float16> {
  using Type = Halves;
};

template <class T>
using Raw = typename RawOf<T>::Type;

INOX_INLINE Doubles widen(const double*, Doubles v) { return v; }
INOX_INLINE Doubles widen(const float*, Floats v) { return to_doubles(v); }
INOX_INLINE Doubles widen(const BFloat16*, Halves v) { return to_doubles(from_bfloat16(v)); }
INOX_INLINE Doubles widen(const Float16*, Halves v) { return to_doubles(from_float16(v)); }

// A half type is rounded twice, to float32 first: its error is at most 0.5 + 2^-13 units.
INOX_INLINE Doubles narrow(const double*, Doubles v) { return v; }
INOX_INLINE Floats narrow(const float*, Doubles v) { return to_floats(v); }
INOX_INLINE Halves narrow(const BFloat16*, Doubles v) { return to_bfloat16(to_floats(v)); }
INOX_INLINE Halves narrow(const Float16*, Doubles v) { return to_float16(to_floats(v)); }

template <class T>
INOX_INLINE Doubles load(const T* from) {
  Raw<T> raw;
  memcpy(&raw, from, sizeof raw);
  return widen(from, raw);
}

template <class T>
INOX_INLINE void store(T* to, Doubles v) {
  Raw<T> raw = narrow(to, v);
  memcpy(to, &raw, sizeof raw);
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
// Masked moves: without them the elements go through a buffer on the stack.
INOX_INLINE Doubles load_raw(const double* from, __mmask8 lanes) {
  return (Doubles)_mm512_maskz_loadu_pd(lanes, from);
}
INOX_INLINE Floats load_raw(const float* from, __mmask8 lanes) {
  return (Floats)_mm256_maskz_loadu_ps(lanes, from);
}
template <class T>
INOX_INLINE Halves load_raw(const T* from, __mmask8 lanes) {
  return (Halves)_mm_maskz_loadu_epi16(lanes, from);
}
INOX_INLINE void store_raw(double* to, Doubles raw, __mmask8 lanes) {
  _mm512_mask_storeu_pd(to, lanes, (__m512d)raw);
}
INOX_INLINE void store_raw(float* to, Floats raw, __mmask8 lanes) {
  _mm256_mask_storeu_ps(to, lanes, (__m256)raw);
}
template <class T>
INOX_INLINE void store_raw(T* to, Halves raw, __mmask8 lanes) {
  _mm_mask_storeu_epi16(to, lanes, (__m128i)raw);
}

template <class T>
INOX_INLINE Doubles load(const T* from, int64_t count) {
  return widen(from, load_raw(from, __mmask8((1u << count) - 1)));
}

template <class T>
INOX_INLINE void store(T* to, Doubles v, int64_t count) {
  store_raw(to, narrow(to, v), __mmask8((1u << count) - 1));
}
#else
// Not inlined: there are many ends of loops, and they are not where time is spent.
template <class T>
static __attribute__((noinline)) Doubles load(const T* from, int64_t count) {
  T elements[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) elements[i] = from[i];
  return load(elements);
}

template <class T>
static __attribute__((noinline)) void store(T* to, Doubles v, int64_t count) {
  T elements[kLanes];
  store(elements, v);
  for (int64_t i = 0; i < count; ++i) to[i] = elements[i];
}
#endif

// A single element; of a half type by way of a vector of it.
template <class T>
INOX_INLINE double load_one(const T* from) {
  return widen(from, Halves{} + from->bits)[0];
}

INOX_INLINE double load_one(const float* from) { return *from; }
INOX_INLINE double load_one(const double* from) { return *from; }

}  // namespace inox::INOX_UNIT
