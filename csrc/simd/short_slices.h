// Slices of 1, 2 or 4 elements that follow each other in memory, a slice a lane: loads, stores and
// statistics. Elsewhere each slice would fill a part of a vector (row_sums.h).
//
// Of so few elements the first is never too far from the mean for one pass: delta^2 <= 3/4 Q / n.
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
    const int64_t rest = count * C - int64_t{k} * kLanes;
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

// d = x - shift in place of x, the shift that was chosen, and the statistics of the slices.
template <bool twice, int C>
INOX_INLINE Statistics short_statistics(Doubles (&x)[C], bool centred, double epsilon,
                                        Doubles& shift) {
  Doubles d{}, dd{};
  auto add_up = [&](Doubles by) __attribute__((always_inline)) {
    d = dd = Doubles{};
    for (int c = 0; c < C; ++c) {
      x[c] -= by;
      if (centred) d += x[c];
      dd = fused(x[c], x[c], dd);
    }
  };
  shift = centred ? x[0] : Doubles{};
  add_up(shift);
  if (twice && centred) {
    const Doubles delta = d * broadcast(1.0 / C);
    add_up(delta);
    shift += delta;
  }
  return statistics(d, dd, 1.0 / C, epsilon);
}

// Whether slices are of one of these lengths.
INOX_INLINE bool is_short(int64_t channels) {
  return channels == 1 || channels == 2 || channels == 4;
}

// Calls body(length) for one of them, as a compile-time constant.
template <class Body>
INOX_INLINE void for_short_length(int64_t channels, Body body) {
  if (channels == 1) {
    body(std::integral_constant<int, 1>());
  } else if (channels == 2) {
    body(std::integral_constant<int, 2>());
  } else {
    body(std::integral_constant<int, 4>());
  }
}

// Calls body(first slice, number of slices) for up to a vector of slices at a time.
template <class Body>
INOX_INLINE void for_each_lanes(int64_t begin, int64_t end, Body body) {
  for (; begin + kLanes <= end; begin += kLanes) {
    body(begin, std::integral_constant<int64_t, kLanes>());
  }
  if (begin < end) body(begin, end - begin);
}

}  // namespace inox::INOX_UNIT
