// The statistics of slices, a slice a lane, from their sums (row_sums.h).
#pragma once

#include "simd/vectors.h"

namespace inox::INOX_UNIT {

struct Statistics {
  Doubles delta;  // the mean minus the shift
  Doubles var;
  Doubles denominator;  // var + epsilon
  Doubles rstd;
};

INOX_INLINE Statistics statistics(Doubles d, Doubles dd, double reciprocal_count, double epsilon) {
  const Doubles n = broadcast(reciprocal_count), zero = {};
  Statistics s;
  s.delta = d * n;
  s.var = dd * n - s.delta * s.delta;
  s.var = s.var < zero ? zero : s.var;  // NaN stays
  s.denominator = s.var + broadcast(epsilon);
  // A slice of equal numbers, with epsilon 0: xhat and dx are 0, not NaN.
  // NaN, not 0, for an infinite one: what it divides would be 0 without a word.
  const Doubles overflow = s.denominator - s.denominator;
  s.rstd = s.denominator == zero ? zero : broadcast(1.0) / square_root(s.denominator) + overflow;
  return s;
}

}  // namespace inox::INOX_UNIT
