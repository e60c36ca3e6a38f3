// Normalization of short slices (short_slices.h), and its gradients: the formulas, and what is
// computed in float64, are those of row_normalize.h.
#pragma once

#include "simd/short_slices.h"

namespace inox::INOX_UNIT {

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

// Calls body(first element, first parameter, number of slices) for up to a vector of slices.
template <int C, bool shared, class Body>
INOX_INLINE void for_each_vector_of_slices(const Rows& rows, int64_t begin, int64_t end,
                                           Body body) {
  const int64_t runs = shared ? 1 : end - begin, slices = shared ? end - begin : rows.groups;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t offset = (begin + run) * rows.groups * C;
    for_each_lanes(0, slices, [&](int64_t s, auto count) __attribute__((always_inline)) {
      body(offset + s * C, s * C, count);
    });
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
    Doubles shift;
    const Statistics of = short_statistics<sizeof(T) == 8>(x, rows.centred, rows.epsilon, shift);
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
    Doubles shift;
    const Statistics of = short_statistics<sizeof(T) == 8>(x, rows.centred, rows.epsilon, shift);
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
      if (rows.dr) {
        Doubles dr[C] = {};
        load_slices<C>((const T*)rows.dr + at, count, dr);
        for (int c = 0; c < C; ++c) x[c] += dr[c];
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

// Whether rows are of this kind. That is told by a slice alone, not by how many of them a row has:
// a batch of one row of groups may come as rows of one group each, with parameters of their own.
INOX_INLINE bool are_short(const Rows& rows) { return is_short(rows.channels); }

// Calls body(length, shared), both compile-time constants.
template <class Body>
INOX_INLINE void for_short_rows(const Rows& rows, Body body) {
  for_short_length(rows.channels, [&](auto length) __attribute__((always_inline)) {
    if (rows.groups == 1) {
      body(length, std::true_type());
    } else {
      body(length, std::false_type());
    }
  });
}

}  // namespace inox::INOX_UNIT
