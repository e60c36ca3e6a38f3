// The sum of an array and a residual, and what reaches it in a backward pass: elementwise loops
// over rows that stay in cache until they are normalized.
//
// They compute in the accumulator type: a sum is rounded to it once, and from it to the type of the
// residual.
#pragma once

#include "kernel_table.h"
#include "simd/load_store.h"

namespace inox::INOX_UNIT {

// Vectors of the accumulator type.
template <class T>
using AccumulatorVector = std::conditional_t<sizeof(T) == 8, Doubles, Singles>;

// Past the caches lines are stored whole: what a vector of the accumulator type leaves in a half
// type is half a line or a quarter, in order, which the processor puts together.
template <class V, class T, class... Count>
INOX_INLINE void store_if(T* to, V v, bool past_cache, Count... count) {
  if (!to) return;
  if constexpr (sizeof...(count) == 0) {
    if (past_cache) {
      store_past_cache(to, v);
      return;
    }
  }
  store(to, v, count...);
}

template <class T, class R>
void add_residual_as(const Addition& call, const T* x, const R* residual,
                     const Accumulator<T>* gate, Accumulator<T>* sum, R* r) {
  using V = AccumulatorVector<T>;
  const bool past_cache = call.past_cache;
  if (!gate) {
    for_each_vector<V>(call.count, [&](int64_t i, auto... count) __attribute__((always_inline)) {
      const V v = load<V>(residual + i, count...) + load<V>(x + i, count...);
      store(sum + i, v, count...);
      store_if(r ? r + i : nullptr, v, past_cache, count...);
    });
  } else {
    for (int64_t row = 0; row < call.count; row += call.width) {
      for_each_vector<V>(call.width, [&](int64_t c, auto... count) __attribute__((always_inline)) {
        const int64_t i = row + c;
        const V v = fused(load<V>(gate + c, count...), load<V>(x + i, count...),
                          load<V>(residual + i, count...));
        store(sum + i, v, count...);
        store_if(r ? r + i : nullptr, v, past_cache, count...);
      });
    }
  }
  if (past_cache) end_stores_past_cache();
}

template <class T>
void add_residual(const Addition& call, const void* x, const void* residual, const void* gate,
                  void* sum, void* r) {
  using A = Accumulator<T>;
  if (call.wide) {
    add_residual_as<T, A>(call, (const T*)x, (const A*)residual, (const A*)gate, (A*)sum, (A*)r);
  } else {
    add_residual_as<T, T>(call, (const T*)x, (const T*)residual, (const A*)gate, (A*)sum, (T*)r);
  }
}

// Adds products to sums for places in a row; those of float32 numbers are exact in float64.
INOX_INLINE void add_products(double* sums, Doubles a, Doubles b) {
  store(sums, fused(a, b, load(sums)));
}
INOX_INLINE void add_products(double* sums, Doubles a, Doubles b, int64_t count) {
  store(sums, fused(a, b, load(sums, count)), count);
}
INOX_INLINE void add_products(double* sums, Singles a, Singles b,
                              int64_t count = kLanesOf<Singles>) {
  const Doubles lower[] = {to_doubles(lower_lanes(a)), to_doubles(lower_lanes(b))};
  const Doubles upper[] = {to_doubles(upper_lanes(a)), to_doubles(upper_lanes(b))};
  if (count == kLanesOf<Singles>) {
    add_products(sums, lower[0], lower[1]);
    add_products(sums + kLanes, upper[0], upper[1]);
  } else {
    add_products(sums, lower[0], lower[1], count < kLanes ? count : kLanes);
    if (count > kLanes) add_products(sums + kLanes, upper[0], upper[1], count - kLanes);
  }
}

template <class T, class R>
void gate_cotangent_as(const Addition& call, const Accumulator<T>* dt, const T* x,
                       const Accumulator<T>* gate, R* dresidual, T* dx, double* dgate) {
  using V = AccumulatorVector<T>;
  for (int64_t row = 0; row < call.count; row += call.width) {
    for_each_vector<V>(call.width, [&](int64_t c, auto... count) __attribute__((always_inline)) {
      const int64_t i = row + c;
      const V v = load<V>(dt + i, count...);
      if (dgate) add_products(dgate + c, v, load<V>(x + i, count...), count...);
      store_if(dx ? dx + i : nullptr, v * load<V>(gate + c, count...), call.past_cache, count...);
      store_if(dresidual ? dresidual + i : nullptr, v, call.past_cache, count...);
    });
  }
  if (call.past_cache) end_stores_past_cache();
}

template <class T>
void gate_cotangent(const Addition& call, const void* dt, const void* x, const void* gate,
                    void* dresidual, void* dx, double* dgate) {
  using A = Accumulator<T>;
  if (call.wide) {
    gate_cotangent_as<T, A>(call, (const A*)dt, (const T*)x, (const A*)gate, (A*)dresidual, (T*)dx,
                            dgate);
  } else {
    gate_cotangent_as<T, T>(call, (const A*)dt, (const T*)x, (const A*)gate, (T*)dresidual, (T*)dx,
                            dgate);
  }
}

template <class T>
void to_accumulators(const void* from, int64_t count, void* to) {
  using A = Accumulator<T>;
  using V = AccumulatorVector<T>;
  for_each_vector<V>(count, [&](int64_t i, auto... rest) __attribute__((always_inline)) {
    store((A*)to + i, load<V>((const T*)from + i, rest...), rest...);
  });
}

template <class T>
void from_accumulators(const void* from, int64_t count, bool past_cache, void* to) {
  using A = Accumulator<T>;
  using V = AccumulatorVector<T>;
  for_each_vector<V>(count, [&](int64_t i, auto... rest) __attribute__((always_inline)) {
    store_if((T*)to + i, load<V>((const A*)from + i, rest...), past_cache, rest...);
  });
  if (past_cache) end_stores_past_cache();
}

}  // namespace inox::INOX_UNIT
