// Blocks of slices that are normalized together: where they are, and what their elements are mapped
// with (row_normalize.h).
#pragma once

#include "simd/row_sums.h"

namespace inox::INOX_UNIT {

// The types of the arrays of a row: of one type, or a sum in the accumulator type
// (residual_sums.h), whose cotangent is rounded, or stays in that type, too.
template <class T>
struct Same {
  using X = T;
  using Y = T;  // y and dy
  using Dx = T;
};

template <class T>
struct OfSum {
  using X = Accumulator<T>;
  using Y = T;
  using Dx = T;
};

template <class T>
struct OfWideSum : OfSum<T> {
  using Dx = Accumulator<T>;
};

// Where R slices of one type are: their elements, and their parameters. Those are one and the same
// for all R slices (`shared`), or follow each other as the slices do.
struct Place {
  int64_t offset, stride;
  int64_t parameter;
};

// Short slices of these lengths have code of their own (`fixed`), without loops.
inline constexpr int kShort = 8, kLessShort = 16;

// The vectors of a cache line, or four.
template <class T, class V>
inline constexpr int kLineVectors =
    64 / int(sizeof(T)) / kLanesOf<V> < 4 ? 64 / int(sizeof(T)) / kLanesOf<V> : 4;

// Calls body(i, vectors) for `most` vectors at a time, then for one, and body(i, one, count) for
// what is left.
template <class V, int most, class Body>
INOX_INLINE void for_each_in_lines(int64_t channels, Body body) {
  constexpr int64_t lanes = kLanesOf<V>;
  constexpr std::integral_constant<int, 1> one;
  int64_t i = 0;
  if constexpr (most > 1) {
    for (; i + most * lanes <= channels; i += most * lanes) {
      body(i, std::integral_constant<int, most>());
    }
  }
  for (; i + lanes <= channels; i += lanes) body(i, one);
  if (i < channels) body(i, one, channels - i);
}

// Numbers of each slice of a block that its elements are mapped with.
//
// Of Singles the shift is another than in the sums: the mean rounded to the half type, or to 2^-13
// standard deviations if that is coarser. So x - shift is exact, but for elements 2^13 times as far
// from the mean, and what the rounding left, delta, is at most the standard deviation: a mean is as
// far from the nearest number of the type as all elements are or more, or else 2^-13 of it.
template <class V>
struct BlockMap {
  Scalar<V> shift[kBlock], rstd[kBlock], offset[kBlock];  // xhat = (x - shift) rstd + offset
  Scalar<V> b[kBlock], c[kBlock];
  double exact_rstd[kBlock], exact_offset[kBlock];
};

template <class T, class V>
INOX_INLINE BlockMap<V> block_map(const BlockSums& sums, const Statistics& of) {
  BlockMap<V> map;
  Doubles shift = load(sums.shift), delta = of.delta;
  if constexpr (std::is_same_v<V, Singles>) {
    const Doubles near = rounded<V, T>(shift + delta), zero = {};
    // A sum with a number 2^11 times the standard deviation leaves no bit below its 2^-13. The mean
    // of equal numbers is left alone, so that they give 0.
    const Doubles large = to_doubles(to_floats(of.denominator * of.rstd * broadcast(0x1p11)));
    const Doubles coarse = to_doubles(to_floats(near + large)) - large;
    const Doubles magnitude = near < zero ? -near : near;
    const Mask is_coarse = (magnitude < large * broadcast(0.5)) & (delta != zero);
    const Doubles mean = is_coarse ? coarse : near;
    delta += shift - mean;
    shift = mean;
  }
  const Doubles offset = -(delta * of.rstd);
  store(map.shift, shift);
  store(map.rstd, of.rstd), store(map.exact_rstd, of.rstd);
  store(map.offset, offset), store(map.exact_offset, offset);
  return map;
}

// Blocks of rows longer than this would not stay in the second cache between the two passes.
inline constexpr int64_t kMostBlockBytes = 384 << 10;

// Groups from this length on are no shorter than rows that are worth a block of their own.
inline constexpr int64_t kLongGroup = int64_t{8} * kLanes;

// Walks over rows: in blocks of the same group in consecutive rows, whose parameters are shared, if
// `blocks`, else one by one; or, where groups are short, in blocks of consecutive groups of a row,
// which are contiguous in memory.
template <class Block, class Short, class Single>
INOX_INLINE void for_each_block(const Rows& rows, int64_t begin, int64_t end, bool blocks,
                                Block block, Short consecutive, Single single) {
  const int64_t groups = rows.groups, channels = rows.channels, size = groups * channels;
  if (groups >= kBlock && channels < kLongGroup) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t g = 0;
      for (; g + kBlock <= groups; g += kBlock) {
        const Place at = {row * size + g * channels, channels, g * channels};
        if (channels == kShort) {
          consecutive(at, std::integral_constant<int, kShort>());
        } else if (channels == kLessShort) {
          consecutive(at, std::integral_constant<int, kLessShort>());
        } else {
          consecutive(at, std::integral_constant<int, 0>());
        }
      }
      for (; g < groups; ++g) single({row * size + g * channels, channels, g * channels});
    }
    return;
  }
  int64_t row = begin;
  if (blocks) {
    for (; row + kBlock <= end; row += kBlock) {
      for (int64_t g = 0; g < groups; ++g) {
        block(Place{row * size + g * channels, size, g * channels});
      }
    }
  }
  for (; row < end; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      single(Place{row * size + g * channels, size, g * channels});
    }
  }
}

}  // namespace inox::INOX_UNIT
