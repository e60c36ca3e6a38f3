// Loads and stores: elements of any type in memory, float64 or float32 numbers in registers.
//
// Addresses need no alignment. `count` is the number of elements of an incomplete vector at the
// end of an array; nothing behind them is read or written, and what is loaded there counts as 0.
#pragma once

#include "simd/half_types.h"
#include "simd/vectors.h"

namespace inox::INOX_UNIT {

// N elements as they stand in memory.
template <class T, int N>
struct RawOf;

template <int N>
struct RawOf<float, N> {
  using Type = FloatsOf<N>;
};

template <>
struct RawOf<double, kLanes> {
  using Type = Doubles;
};

template <int N>
struct RawOf<BFloat16, N> {
  using Type = HalvesOf<N>;
};

template <int N>
struct RawOf<Float16, N> {
  using Type = HalvesOf<N>;
};

// The elements of a vector V in memory.
template <class T, class V>
using Raw = typename RawOf<T, kLanesOf<V>>::Type;

// Elements as float32, and back.
template <int N>
INOX_INLINE FloatsOf<N> from_raw(const float*, FloatsOf<N> v) {
  return v;
}
template <int N>
INOX_INLINE FloatsOf<N> from_raw(const BFloat16*, HalvesOf<N> v) {
  return from_bfloat16<N>(v);
}
template <int N>
INOX_INLINE FloatsOf<N> from_raw(const Float16*, HalvesOf<N> v) {
  return from_float16<N>(v);
}
template <int N>
INOX_INLINE FloatsOf<N> to_raw(float*, FloatsOf<N> v) {
  return v;
}
template <int N>
INOX_INLINE HalvesOf<N> to_raw(BFloat16*, FloatsOf<N> v) {
  return to_bfloat16<N>(v);
}
template <int N>
INOX_INLINE HalvesOf<N> to_raw(Float16*, FloatsOf<N> v) {
  return to_float16<N>(v);
}

template <class V, class T>
INOX_INLINE V widen(const T* type, Raw<T, V> raw) {
  if constexpr (sizeof(T) == 8) {
    return raw;
  } else if constexpr (std::is_same_v<V, Singles>) {
    return from_raw<kLanesOf<V>>(type, raw);
  } else {
    return to_doubles(from_raw<kLanesOf<V>>(type, raw));
  }
}

// Doubles are rounded twice to a half type, to float32 first: by 0.5 + 2^-13 units at most.
template <class V, class T>
INOX_INLINE Raw<T, V> narrow(T* type, V v) {
  if constexpr (sizeof(T) == 8) {
    return v;
  } else if constexpr (std::is_same_v<V, Singles>) {
    return to_raw<kLanesOf<V>>(type, v);
  } else {
    return to_raw<kLanesOf<V>>(type, to_floats(v));
  }
}

template <class V = Doubles, class T>
INOX_INLINE V load(const T* from) {
  Raw<T, V> raw;
  memcpy(&raw, from, sizeof raw);
  return widen<V>(from, raw);
}

template <class V, class T>
INOX_INLINE void store(T* to, V v) {
  Raw<T, V> raw = narrow(to, v);
  memcpy(to, &raw, sizeof raw);
}

// The same without a place in the caches, where the address is aligned to what is stored at once.
template <class V, class T>
INOX_INLINE void store_past_cache(T* to, V v) {
  Raw<T, V> raw = narrow(to, v);
#if defined(__AVX512F__)
  if constexpr (sizeof raw == 64) {
    _mm512_stream_ps((float*)to, (__m512)raw);
    return;
  }
#endif
#if defined(__AVX__)
  if constexpr (sizeof raw == 32) {
    _mm256_stream_ps((float*)to, (__m256)raw);
    return;
  }
#endif
#if defined(__SSE2__)
  if constexpr (sizeof raw == 16) {
    _mm_stream_ps((float*)to, (__m128)raw);
    return;
  }
#endif
  memcpy(to, &raw, sizeof raw);
}

// What was stored so is seen by whoever is told afterwards that it was.
INOX_INLINE void end_stores_past_cache() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)
// Masked moves: without them the elements go through a buffer on the stack.
INOX_INLINE uint32_t lane_bits(int64_t count) { return (1u << count) - 1; }

template <class V = Doubles, class T>
INOX_INLINE V load(const T* from, int64_t count) {
  const uint32_t lanes = lane_bits(count);
  if constexpr (sizeof(Raw<T, V>) == 64 && sizeof(T) == 8) {
    return widen<V>(from, (Raw<T, V>)_mm512_maskz_loadu_pd(__mmask8(lanes), from));
  } else if constexpr (sizeof(Raw<T, V>) == 64) {
    return widen<V>(from, (Raw<T, V>)_mm512_maskz_loadu_ps(__mmask16(lanes), from));
  } else if constexpr (sizeof(T) == 4) {
    return widen<V>(from, (Raw<T, V>)_mm256_maskz_loadu_ps(__mmask8(lanes), (const float*)from));
  } else if constexpr (sizeof(Raw<T, V>) == 32) {
    return widen<V>(from, (Raw<T, V>)_mm256_maskz_loadu_epi16(__mmask16(lanes), from));
  } else {
    return widen<V>(from, (Raw<T, V>)_mm_maskz_loadu_epi16(__mmask8(lanes), from));
  }
}

template <class V, class T>
INOX_INLINE void store(T* to, V v, int64_t count) {
  const uint32_t lanes = lane_bits(count);
  const Raw<T, V> raw = narrow(to, v);
  if constexpr (sizeof raw == 64 && sizeof(T) == 8) {
    _mm512_mask_storeu_pd(to, __mmask8(lanes), (__m512d)raw);
  } else if constexpr (sizeof raw == 64) {
    _mm512_mask_storeu_ps(to, __mmask16(lanes), (__m512)raw);
  } else if constexpr (sizeof(T) == 4) {
    _mm256_mask_storeu_ps((float*)to, __mmask8(lanes), (__m256)raw);
  } else if constexpr (sizeof raw == 32) {
    _mm256_mask_storeu_epi16(to, __mmask16(lanes), (__m256i)raw);
  } else {
    _mm_mask_storeu_epi16(to, __mmask8(lanes), (__m128i)raw);
  }
}
#else
// Not inlined: there are many ends of loops, and they are not where time is spent.
template <class V = Doubles, class T>
static __attribute__((noinline)) V load(const T* from, int64_t count) {
  T elements[kLanesOf<V>] = {};
  for (int64_t i = 0; i < count; ++i) elements[i] = from[i];
  return load<V>(elements);
}

template <class V, class T>
static __attribute__((noinline)) void store(T* to, V v, int64_t count) {
  T elements[kLanesOf<V>];
  store(elements, v);
  for (int64_t i = 0; i < count; ++i) to[i] = elements[i];
}
#endif

// Calls body(i) for whole vectors of a run of numbers, and body(i, count) for what is left.
template <class V = Doubles, class Body>
INOX_INLINE void for_each_vector(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kLanesOf<V> <= count; i += kLanesOf<V>) body(i);
  if (i < count) body(i, count - i);
}

// A single element; of a half type by way of a vector of it.
template <class T>
INOX_INLINE double load_one(const T* from) {
  return widen<Doubles>(from, HalvesOf<kLanes>{} + from->bits)[0];
}

INOX_INLINE double load_one(const float* from) { return *from; }
INOX_INLINE double load_one(const double* from) { return *from; }

}  // namespace inox::INOX_UNIT
