// Sums over rows for the gradients of the parameters: dscale = sum t xhat, dbias = sum t.
#pragma once

#include "memory.h"

namespace inox::INOX_UNIT {

// Sums for the gradients of the parameters over a strip of rows, at one vector of channels.
template <class V>
struct ParameterSums;

template <>
struct ParameterSums<Doubles> {
  Doubles dscale, dbias;

  template <class... Count>
  INOX_MEMBER void begin(const double* scale, const double* bias, Count... count) {
    dscale = load(scale, count...);
    dbias = load(bias, count...);
  }

  INOX_MEMBER void add(int, Doubles t, Doubles, Doubles xhat, double, Doubles) {
    dscale = fused(t, xhat, dscale);
    dbias += t;
  }

  template <class... Count>
  INOX_MEMBER void end(double* scale, double* bias, Count... count) {
    store(scale, dscale, count...);
    store(bias, dbias, count...);
  }
};

// The terms t xhat = r (t d) - (delta r) t are of float32 precision to the result's one unit: so
// t d, which is exact or nearly so, is converted, and summed in float64. The second part is small.
// Numbers of a half type have few bits, so that sums of t of a few rows are exact or nearly so.
template <>
struct ParameterSums<Singles> {
  Doubles lower, upper;
  Singles offsets[2], biases[2];  // of even and of odd rows

  template <class... Count>
  INOX_MEMBER void begin(const double*, const double*, Count...) {
    lower = upper = Doubles{};
    offsets[0] = offsets[1] = biases[0] = biases[1] = Singles{};
  }

  INOX_MEMBER void add(int row, Singles t, Singles d, Singles, double rstd, Singles offset) {
    const Singles product = t * d, rest = fused(t, d, -product);
    lower = fused(to_doubles(lower_lanes(product)), broadcast(rstd), lower);
    upper = fused(to_doubles(upper_lanes(product)), broadcast(rstd), upper);
    offsets[row % 2] = fused(t, offset, fused(rest, broadcast<Singles>(rstd), offsets[row % 2]));
    biases[row % 2] += t;
  }

  INOX_MEMBER void end(double* scale, double* bias, int64_t count = kLanesOf<Singles>) {
    const Singles offset = offsets[0] + offsets[1], sum = biases[0] + biases[1];
    lower += to_doubles(lower_lanes(offset)), upper += to_doubles(upper_lanes(offset));
    add_to(scale, lower, bias, to_doubles(lower_lanes(sum)), count);
    add_to(scale + kLanes, upper, bias + kLanes, to_doubles(upper_lanes(sum)), count - kLanes);
  }

  INOX_INLINE void add_to(double* scale, Doubles dscale, double* bias, Doubles dbias,
                                 int64_t count) {
    if (count >= kLanes) {
      store(scale, load(scale) + dscale);
      store(bias, load(bias) + dbias);
    } else if (count > 0) {
      store(scale, load(scale, count) + dscale, count);
      store(bias, load(bias, count) + dbias, count);
    }
  }
};

}  // namespace inox::INOX_UNIT
