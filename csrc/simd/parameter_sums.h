// Sums over rows for the gradients of the parameters: dscale = sum t xhat, dbias = sum t.
#pragma once

#include "simd/load_store.h"

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

  INOX_MEMBER void add(Doubles t, Doubles, Doubles xhat, double, double) {
    dscale = fused(t, xhat, dscale);
    dbias += t;
  }

  template <class... Count>
  INOX_MEMBER void end(double* scale, double* bias, Count... count) {
    store(scale, dscale, count...);
    store(bias, dbias, count...);
  }
};

// Terms of float32 precision, whose exponents may be any, would not do for one unit of the sum: so
// t and d, which are exact, are converted, and the rest is the same.
template <>
struct ParameterSums<Singles> {
  Doubles dscale[2], dbias[2];  // of the lower and the upper lanes

  template <class... Count>
  INOX_MEMBER void begin(const double*, const double*, Count...) {
    dscale[0] = dscale[1] = dbias[0] = dbias[1] = Doubles{};
  }

  INOX_MEMBER void add(Singles t, Singles d, Singles, double rstd, double offset) {
    add_half(0, to_doubles(lower_lanes(t)), to_doubles(lower_lanes(d)), rstd, offset);
    add_half(1, to_doubles(upper_lanes(t)), to_doubles(upper_lanes(d)), rstd, offset);
  }

  INOX_MEMBER void end(double* scale, double* bias, int64_t count = kLanesOf<Singles>) {
    end_half(0, scale, bias, count);
    end_half(1, scale + kLanes, bias + kLanes, count - kLanes);
  }

 private:
  INOX_MEMBER void add_half(int half, Doubles t, Doubles d, double rstd, double offset) {
    const Doubles xhat = fused(d, broadcast(rstd), broadcast(offset));
    dscale[half] = fused(t, xhat, dscale[half]);
    dbias[half] += t;
  }

  INOX_MEMBER void end_half(int half, double* scale, double* bias, int64_t count) {
    if (count >= kLanes) {
      store(scale, load(scale) + dscale[half]);
      store(bias, load(bias) + dbias[half]);
    } else if (count > 0) {
      store(scale, load(scale, count) + dscale[half], count);
      store(bias, load(bias, count) + dbias[half], count);
    }
  }
};

}  // namespace inox::INOX_UNIT
