// Normalization of slices of 1, 2 or 4 elements that follow each other in memory, and its
// gradients: a slice a lane, where row_kernels.h would fill a part of a vector with each.
//
// The formulas, and what is computed in float64, are those of row_kernels.h; of so few elements the
// first is never too far from the mean for one pass (delta^2 <= 3/4 Q / n).
#pragma once

#include "simd/row_sums.h"

namespace inox::INOX_UNIT {

template <int offset, size_t... I>
INOX_INLINE Doubles every_second(Doubles u, Doubles v, std::index_sequence<I...>) {
  return lanes_of_two<(2 * I + offset)...>(u, v);
}

// The lanes of u and v in turn: those of the lower halves, or of the upper ones.
template <int half, size_t... I>
INOX_INLINE Doubles in_turn(Doubles u, Doubles v, std::index_sequence<I...>) {
  return lanes_of_two<(I / 2 + I % 2 * kLanes + half * kLanes / 2)...>(u, v);
}

// From C vectors of consecutive numbers to the C elements of each slice, a slice a lane.
template <int C>
INOX_INLINE void to_lanes(Doubles (&v)[C]) {
  constexpr auto all = std::make_index_sequence<kLanes>();
  if constexpr (C == 2) {
    const Doubles even = every_second<0>(v[0], v[1], all), odd = every_second<1>(v[0], v[1], all);
    v[0] = even, v[1] = odd;
  } else if constexpr (C == 4) {
    Doubles even[2] = {every_second<0>(v[0], v[1], all), every_second<0>(v[2], v[3], all)};
    Doubles odd[2] = {every_second<1>(v[0], v[1], all), every_second<1>(v[2], v[3], all)};
    to_lanes<2>(even), to_lanes<2>(odd);
    v[0] = even[0], v[1] = odd[0], v[2] = even[1], v[3] = odd[1];
  }
}

// The way back.
template <int C>
INOX_INLINE void from_lanes(Doubles (&v)[C]) {
  constexpr auto all = std::make_index_sequence<kLanes>();
  if constexpr (C == 2) {
    const Doubles low = in_turn<0>(v[0], v[1], all), high = in_turn<1>(v[0], v[1], all);
    v[0] = low, v[1] = high;
  } else if constexpr (C == 4) {
    Doubles even[2] = {v[0], v[2]}, odd[2] = {v[1], v[3]};
    from_lanes<2>(even), from_lanes<2>(odd);
    for (int i = 0; i < 2; ++i) {
      v[2 * i] = in_turn<0>(even[i], odd[i], all), v[2 * i + 1] = in_turn<1>(even[i], odd[i], all);
    }
  }
}

// Calls body(vector, its number of lanes) for the vectors that hold `count` slices; the number is
// left out for whole vectors.
template <int C, class Body>
INOX_INLINE void for_each_of_slices(int64_t count, Body body) {
#pragma GCC unroll 4
  for (int k = 0; k < C; ++k) {
    const int64_t rest = count * C - k * kLanes;
    if (rest >= kLanes) {
      body(k);
    } else if (rest > 0) {
      body(k, rest);
    }
  }
}

template <int C, class T>
INOX_INLINE void load_slices(const T* from, int64_t count, Doubles (&v)[C]) {
  for_each_of_slices<C>(count, [&](int k, auto... lanes) __attribute__((always_inline)) {
    v[k] = load(from + k * kLanes, lanes...);
  });
  to_lanes<C>(v);
}

template <int C, class T>
INOX_INLINE void store_slices(T* to, int64_t count, Doubles (&v)[C]) {
  from_lanes<C>(v);
  for_each_of_slices<C>(count, [&](int k, auto... lanes) __attribute__((always_inline)) {
    store(to + k * kLanes, v[k], lanes...);
  });
}

template <int C, class T>
INOX_INLINE void add_slices(T* to, int64_t count, Doubles (&v)[C]) {
  from_lanes<C>(v);
  for_each_of_slices<C>(count, [&](int k, auto... lanes) __attribute__((always_inline)) {
    store(to + k * kLanes, load(to + k * kLanes, lanes...) + v[k], lanes...);
  });
}

// Parameters: of rows that are one slice each the same for all lanes (`shared`), else a slice's
// own.
template <int C, bool shared, class A>
INOX_INLINE void load_parameter(const A* from, int64_t at, int64_t count, Doubles (&v)[C]) {
  if (!from) return;
  if constexpr (shared) {
    for (int c = 0; c < C; ++c) v[c] = broadcast(double(from[c]));
  } else {
    load_slices<C>(from + at, count, v);
  }
}

// d = x - shift in place of x, and the statistics of the slices.
template <bool twice, int C>
INOX_INLINE Statistics short_statistics(Doubles (&x)[C], bool centred, double epsilon) {
  Doubles d{}, dd{};
  auto add_up = [&](Doubles shift) __attribute__((always_inline)) {
    d = dd = Doubles{};
    for (int c = 0; c < C; ++c) {
      x[c] -= shift;
      if (centred) d += x[c];
      dd = fused(x[c], x[c], dd);
    }
  };
  add_up(centred ? x[0] : Doubles{});
  if (twice && centred) {
    const Doubles delta = d * broadcast(1.0 / C);
    add_up(delta);
  }
  return statistics(d, dd, 1.0 / C, epsilon);
}

// Calls body(first element, first parameter, number of slices) for up to a vector of slices.
template <int C, bool shared, class Body>
INOX_INLINE void for_each_vector_of_slices(const Rows& rows, int64_t begin, int64_t end,
                                           Body body) {
  const int64_t runs = shared ? 1 : end - begin, slices = shared ? end - begin : rows.groups;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t offset = (begin + run) * rows.groups * C;
    int64_t s = 0;
    for (; s + kLanes <= slices; s += kLanes) {
      body(offset + s * C, s * C, std::integral_constant<int64_t, kLanes>());
    }
    if (s < slices) body(offset + s * C, s * C, slices - s);
  }
}

template <class T, int C, bool shared>
INOX_INLINE void normalize_short_rows(const Rows& rows, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
  Doubles scale[C], bias[C] = {};
  for (int c = 0; c < C; ++c) scale[c] = broadcast(1.0);
  if (shared) {
    load_parameter<C, true>((const A*)rows.scale, 0, 1, scale);
    load_parameter<C, true>((const A*)rows.bias, 0, 1, bias);
  }
  for_each_vector_of_slices<C, shared>(rows, begin, end,
                                       [&](int64_t at, int64_t parameter, auto count)
                                           __attribute__((always_inline)) {
    Doubles x[C] = {};
    load_slices<C>((const T*)rows.x + at, count, x);
    if (!shared) {
      load_parameter<C, false>((const A*)rows.scale, parameter, count, scale);
      load_parameter<C, false>((const A*)rows.bias, parameter, count, bias);
    }
    const Statistics of = short_statistics<sizeof(T) == 8>(x, rows.centred, rows.epsilon);
    const Doubles offset = -(of.delta * of.rstd);
    for (int c = 0; c < C; ++c) {
      x[c] = fused(fused(x[c], of.rstd, offset), scale[c], bias[c]);
    }
    store_slices<C>((T*)rows.y + at, count, x);
  });
}

template <class T, int C, bool shared>
INOX_INLINE void cotangent_short_rows(const Rows& rows, int64_t begin, int64_t end, double* dscale,
                                      double* dbias) {
  using A = Accumulator<T>;
  Doubles scale[C], sums[2][C] = {};
  for (int c = 0; c < C; ++c) scale[c] = broadcast(1.0);
  if (shared) load_parameter<C, true>((const A*)rows.scale, 0, 1, scale);
  for_each_vector_of_slices<C, shared>(rows, begin, end,
                                       [&](int64_t at, int64_t parameter, auto count)
                                           __attribute__((always_inline)) {
    Doubles x[C] = {}, t[C] = {}, products[C];
    load_slices<C>((const T*)rows.x + at, count, x);
    load_slices<C>((const T*)rows.dy + at, count, t);
    if (!shared) load_parameter<C, false>((const A*)rows.scale, parameter, count, scale);
    const Statistics of = short_statistics<sizeof(T) == 8>(x, rows.centred, rows.epsilon);
    const Doubles offset = -(of.delta * of.rstd), n = broadcast(1.0 / C);
    Doubles u{}, ud{};
    for (int c = 0; c < C; ++c) {
      const Doubles weighted = t[c] * scale[c];
      if (rows.centred) u += weighted;
      ud = fused(weighted, x[c], ud);
      x[c] = fused(x[c], of.rstd, offset);  // xhat
      products[c] = t[c] * x[c];
    }
    if (rows.y) {
      const Doubles b = -(of.rstd * (of.rstd * ((ud - of.delta * u) * n)));
      const Doubles mean = -(of.rstd * (u * n));
      for (int c = 0; c < C; ++c) {
        x[c] = fused(t[c] * scale[c], of.rstd, fused(x[c], b, mean));
      }
      store_slices<C>((T*)rows.y + at, count, x);
    }
    if (!dscale) return;
    if constexpr (shared) {
      // Lanes without a slice hold zeros, which add nothing.
      for (int c = 0; c < C; ++c) sums[0][c] += products[c], sums[1][c] += t[c];
    } else {
      add_slices<C>(dscale + parameter, count, products);
      add_slices<C>(dbias + parameter, count, t);
    }
  });
  if (!shared || !dscale) return;
  for (int c = 0; c < C; ++c) {
    for (int i = 0; i < kLanes; ++i) dscale[c] += sums[0][c][i], dbias[c] += sums[1][c][i];
  }
}

// Whether rows are of this kind: of one slice each, or of at least a vector of them.
INOX_INLINE bool are_short(const Rows& rows) {
  const bool fits = rows.channels == 1 || rows.channels == 2 || rows.channels == 4;
  return fits && (rows.groups == 1 || rows.groups >= kLanes);
}

// Calls body(C, shared), both compile-time constants.
template <class Body>
INOX_INLINE void for_short_rows(const Rows& rows, Body body) {
  auto of_length = [&](auto length) __attribute__((always_inline)) {
    if (rows.groups == 1) {
      body(length, std::true_type());
    } else {
      body(length, std::false_type());
    }
  };
  if (rows.channels == 1) {
    of_length(std::integral_constant<int, 1>());
  } else if (rows.channels == 2) {
    of_length(std::integral_constant<int, 2>());
  } else {
    of_length(std::integral_constant<int, 4>());
  }
}

}  // namespace inox::INOX_UNIT
