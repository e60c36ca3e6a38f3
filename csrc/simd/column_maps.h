// Maps of a matrix with coefficients by column,
//
//     y = factor d + offset,   dx = t_factor t + (factor d + offset),
//
// with d = x - K. A column's results depend on its own elements and coefficients alone (but for one
// at the end of a half type's range, which is rounded once more where another in its row is
// infinite).
//
// Half types are mapped in float32, under the conditions of row_normalize.h. What is lost by that:
// K is rounded to float32, and what that changes is put into the offset; then d is exact, or as
// exact as float32 is. The product and the offset, each of the size of xhat scale, are rounded to
// 2^-24 of themselves. Where float32 doesn't reach, the result is computed in float64: of columns
// with a coefficient out of its range, and where a result is not finite.
#pragma once

#include "kernel_table.h"
#include "simd/column_kernels.h"
#include "simd/row_normalize.h"

namespace inox::INOX_UNIT {

// Row by row: elements are read and written in their order in memory, which is worth more than
// reading the coefficients once for several rows (a fifth of the time of a group norm over images).
template <bool cotangent, class T>
INOX_INLINE void map_columns(const Columns& in, const ColumnMap& map) {
  const T* x = (const T*)in.x;
  const T* t = (const T*)in.t;
  T* y = (T*)in.y;
  for (int64_t row = 0; row < in.rows; ++row, x += in.stride, y += in.stride) {
    for_each_vector(in.width, [&](int64_t i, auto... count) __attribute__((always_inline)) {
      const Doubles d = load(x + i, count...) - load(in.shift + i, count...);
      Doubles v = fused(d, load(map.factor + i, count...), load(map.offset + i, count...));
      if constexpr (cotangent) {
        v = fused(load(t + i, count...), load(map.t_factor + i, count...), v);
      }
      store(y + i, v, count...);
    });
    if constexpr (cotangent) t += in.stride;
  }
}

// The coefficients of so many columns in float32 are made at once.
inline constexpr int64_t kMapStrip = 512;

struct MapInSingles {
  float shift[kMapStrip], factor[kMapStrip], offset[kMapStrip], t_factor[kMapStrip];
};

INOX_INLINE bool fits_single(double v) {
  const double size = __builtin_fabs(v);
  return (size >= 0x1p-100 && size <= 0x1p100) || v == 0;
}

// Of `width` columns from `begin` on. NaN stands for a column that float32 can't map; returns
// whether there is another.
template <bool cotangent>
INOX_INLINE bool to_singles(const Columns& in, const ColumnMap& map, int64_t begin, int64_t width,
                            MapInSingles& singles) {
  bool any = false;
  for (int64_t c = 0; c < width; ++c) {
    const double shift = in.shift[begin + c], factor = map.factor[begin + c];
    const float rounded = float(shift);
    const double offset = map.offset[begin + c] + factor * (rounded - shift);
    const double t_factor = cotangent ? map.t_factor[begin + c] : 0;
    const bool fits =
        fits_single(shift) && fits_single(factor) && fits_single(offset) && fits_single(t_factor);
    singles.shift[c] = rounded, singles.factor[c] = float(factor);
    singles.offset[c] = fits ? float(offset) : __builtin_nanf("");
    singles.t_factor[c] = float(t_factor);
    any |= fits;
  }
  return any;
}

// What is not finite in a row of results, once more in float64.
template <bool cotangent, class T>
__attribute__((noinline, cold)) void map_again(const Columns& in, const ColumnMap& map,
                                               int64_t begin, int64_t width, const T* x, const T* t,
                                               T* y) {
  for (int64_t c = 0; c < width; ++c) {
    const double found = load_one(y + c);
    if (found - found == 0) continue;
    const int64_t column = begin + c;
    // As map_columns has it, to the bit.
    const Doubles d = broadcast(load_one(x + c) - in.shift[column]);
    Doubles v = fused(d, broadcast(map.factor[column]), broadcast(map.offset[column]));
    if constexpr (cotangent) {
      v = fused(broadcast(load_one(t + c)), broadcast(map.t_factor[column]), v);
    }
    store(y + c, v, 1);
  }
}

template <bool cotangent, class T>
INOX_INLINE void map_columns_in_singles(const Columns& in, const ColumnMap& map) {
  MapInSingles singles;
  for (int64_t begin = 0; begin < in.width; begin += kMapStrip) {
    const int64_t width = in.width - begin < kMapStrip ? in.width - begin : kMapStrip;
    if (!to_singles<cotangent>(in, map, begin, width, singles)) {  // a NaN in an image, say
      Columns part = in;
      part.x = (const T*)in.x + begin, part.y = (T*)in.y + begin, part.shift = in.shift + begin;
      if constexpr (cotangent) part.t = (const T*)in.t + begin;
      part.width = width;
      const double* t_factor = cotangent ? map.t_factor + begin : nullptr;
      map_columns<cotangent, T>(part,
                                {map.factor + begin, map.offset + begin, t_factor, map.count});
      continue;
    }
    for (int64_t row = 0; row < in.rows; ++row) {
      const int64_t at = row * in.stride + begin;
      const T* x = (const T*)in.x + at;
      const T* t = cotangent ? (const T*)in.t + at : nullptr;
      T* y = (T*)in.y + at;
      Singles lost = {};  // NaN where a result is not finite
      for_each_vector<Singles>(width, [&](int64_t i, auto... count) __attribute__((always_inline)) {
        const Singles d =
            load<Singles>(x + i, count...) - load<Singles>(singles.shift + i, count...);
        Singles v = fused(d, load<Singles>(singles.factor + i, count...),
                          load<Singles>(singles.offset + i, count...));
        if constexpr (cotangent) {
          v = fused(load<Singles>(t + i, count...), load<Singles>(singles.t_factor + i, count...),
                    v);
        }
        lost = fused(v, Singles{}, lost);
        store(y + i, v, count...);
      });
      const Doubles sums = total(lost);
      double sum = 0;
      for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
      if (__builtin_expect(!(sum == 0), 0)) {
        map_again<cotangent>(in, map, begin, width, x, t, y);
      }
    }
  }
}

template <bool cotangent, class T>
INOX_INLINE void map_columns_of(const Columns& in, const ColumnMap& map) {
  if constexpr (sizeof(T) == 2 && std::is_same_v<Arithmetic<T>, Singles>) {
    if (map.count <= kLongestInSingles<T>) {
      map_columns_in_singles<cotangent, T>(in, map);
      return;
    }
  }
  map_columns<cotangent, T>(in, map);
}

template <class T>
void column_normalize(const Columns& in, const ColumnMap& map) {
  map_columns_of<false, T>(in, map);
}

template <class T>
void column_cotangent(const Columns& in, const ColumnMap& map) {
  map_columns_of<true, T>(in, map);
}

}  // namespace inox::INOX_UNIT
