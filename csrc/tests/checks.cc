// The exact results in extended precision, and the bounds that results are held to.
//
// y and dx: 0.51 units in the last place, for float64 8 and 12, of max(|exact|, floor): the floor
// is |scale| for y and rstd rms(dy scale) for dx. Sums, mean and variance: one unit, for float64 4,
// of the sum of the terms' magnitudes, in which nothing cancels.
#include <cmath>
#include <cstdio>
#include <vector>

#include "tests/case.h"

namespace inox::test {
namespace {

using Wide = long double;

struct Slice {
  Wide mean = 0, var = 0, rstd = 0, u = 0, u_xhat = 0, rms = 0;
};

// The mean of n numbers that `for_each(body)` calls body(x) for: exact where all are equal.
template <class ForEach>
Wide mean_of(Wide n, const ForEach& for_each) {
  Wide sum = 0, first = 0;
  bool started = false, equal = true;
  for_each([&](Wide x) {
    if (!started) first = x;
    started = true;
    equal = equal && x == first;
    sum += x / n;
  });
  return equal ? first : sum;
}

class Failure {
 public:
  void compare(const char* name, Element element, double found, Wide exact, Wide floor,
               double limit) {
    const Wide magnitude = std::fmax(std::fabs(exact), floor);
    const Wide error = std::fabs(found - exact) / unit(element, magnitude);
    if (!(error <= limit) && text.empty()) {
      char buffer[160];
      std::snprintf(buffer, sizeof buffer, "%s is %.17g, exactly %.17Lg: an error of %.3Lg units",
                    name, found, exact, error);
      text = buffer;
    }
  }
  void expect(bool fine, const char* sentence) {
    if (!fine && text.empty()) text = sentence;
  }
  std::string text;
};

}  // namespace

std::string Case::check_normalization(const Normalization& call, Guarded& y, Guarded& dx,
                                      Guarded& dscale, Guarded& dbias) {
  const bool is_double = element_ == Element::kFloat64;
  const Wide n = Wide(shape_.length) * shape_.channels;
  const int64_t row = shape_.row();
  std::vector<Wide> scale_sum(shape_.outer * row), scale_terms(scale_sum), bias_sum(scale_sum),
      bias_terms(scale_sum);
  Failure failure;
  auto scale = [&](int64_t at) {
    return has_scale_ ? to_double(accumulator_, call.scale.data, at) : 1.0;
  };
  auto for_each = [&](int64_t o, int64_t i, int64_t g, auto body) {
    for (int64_t l = 0; l < shape_.length; ++l) {
      for (int64_t c = 0; c < shape_.channels; ++c) {
        const int64_t at = offset(o, i, l, g, c);
        body(at, Wide(to_double(element_, call.x, at)), Wide(to_double(element_, call.dy, at)),
             parameter(o, g, c), (o * shape_.groups + g) * shape_.channels + c);
      }
    }
  };
  for (int64_t o = 0; o < shape_.outer; ++o) {
    for (int64_t i = 0; i < shape_.inner; ++i) {
      for (int64_t g = 0; g < shape_.groups; ++g) {
        if (call.where && !call.where[o * shape_.inner + i]) {
          for_each(o, i, g, [&](int64_t at, Wide, Wide, int64_t, int64_t) {
            failure.expect(to_double(element_, y.data(), at) == 0, "a masked y is not 0");
            failure.expect(to_double(element_, dx.data(), at) == 0, "a masked dx is not 0");
          });
          continue;
        }
        Slice s;
        if (centred_) {
          s.mean = mean_of(n, [&](auto add) {
            for_each(o, i, g, [&](int64_t, Wide x, Wide, int64_t, int64_t) { add(x); });
          });
        }
        for_each(o, i, g, [&](int64_t, Wide x, Wide, int64_t, int64_t) {
          s.var += (x - s.mean) * (x - s.mean) / n;
        });
        const Wide denominator = s.var + Wide(call.epsilon);
        s.rstd = denominator == 0 ? 0 : 1 / std::sqrt(denominator);
        for_each(o, i, g, [&](int64_t, Wide x, Wide t, int64_t p, int64_t) {
          const Wide u = t * scale(p);
          s.u += centred_ ? u / n : 0;
          s.u_xhat += u * (x - s.mean) * s.rstd / n;
          s.rms += u * u / n;
        });
        for_each(o, i, g, [&](int64_t at, Wide x, Wide t, int64_t p, int64_t d) {
          const Wide xhat = (x - s.mean) * s.rstd;
          const Wide bias = has_bias_ ? to_double(accumulator_, call.bias.data, p) : 0.0;
          failure.compare("y", element_, to_double(element_, y.data(), at), xhat * scale(p) + bias,
                          std::fabs(scale(p)), is_double ? 8 : 0.51);
          failure.compare("dx", element_, to_double(element_, dx.data(), at),
                          s.rstd * (t * scale(p) - s.u - xhat * s.u_xhat),
                          s.rstd * std::sqrt(s.rms), is_double ? 12 : 0.51);
          scale_sum[d] += t * xhat;
          scale_terms[d] += std::fabs(t) * std::fmax(std::fabs(xhat), 1);
          bias_sum[d] += t;
          bias_terms[d] += std::fabs(t);
        });
      }
    }
  }
  for (int64_t d = 0; d < shape_.outer * row; ++d) {
    const double limit = is_double ? 4 : 1;
    failure.compare("dscale", accumulator_, to_double(accumulator_, dscale.data(), d), scale_sum[d],
                    scale_terms[d], limit);
    failure.compare("dbias", accumulator_, to_double(accumulator_, dbias.data(), d), bias_sum[d],
                    bias_terms[d], limit);
  }
  for (Guarded* array : {&y, &dx, &dscale, &dbias}) {
    failure.expect(array->intact(), "memory around a result was written");
  }
  return failure.text;
}

std::string Case::check_reductions(const Reduction& call, Guarded& t, Guarded& mean,
                                   Guarded& mean_low, Guarded& var, Guarded& sum,
                                   Guarded& products) {
  const Element type = wide_ ? accumulator_ : element_;
  const double limit = element_ == Element::kFloat64 ? 4 : 1;
  const Wide n = Wide(shape_.length) * shape_.channels;
  Failure failure;
  for (int64_t o = 0; o < call.shape.outer; ++o) {
    for (int64_t g = 0; g < shape_.groups; ++g) {
      auto for_each = [&](auto body) {
        for (int64_t l = 0; l < shape_.length; ++l) {
          for (int64_t c = 0; c < shape_.channels; ++c) {
            const int64_t at = offset(o / shape_.inner, o % shape_.inner, l, g, c);
            body(Wide(to_double(element_, call.x, at)), Wide(to_double(type, t.data(), at)));
          }
        }
      };
      const Wide exact_mean =
          mean_of(n, [&](auto add) { for_each([&](Wide x, Wide) { add(x); }); });
      Wide exact_var = 0, exact_sum = 0, terms = 0, product = 0, product_terms = 0;
      for_each([&](Wide x, Wide) { exact_var += (x - exact_mean) * (x - exact_mean) / n; });
      const int64_t at = o * shape_.groups + g;
      const double rounded = to_double(accumulator_, mean.data(), at);
      const double rest = to_double(accumulator_, mean_low.data(), at);
      for_each([&](Wide x, Wide v) {
        exact_sum += v;
        terms += std::fabs(v);
        product += v * (x - rounded - rest);
        product_terms +=
            std::fabs(v) * std::fmax(std::fabs(x - rounded - rest), std::sqrt(exact_var));
      });
      failure.compare("mean", accumulator_, rounded, exact_mean, std::sqrt(exact_var), limit);
      failure.compare("var", accumulator_, to_double(accumulator_, var.data(), at), exact_var, 0,
                      limit);
      failure.compare("sum", accumulator_, to_double(accumulator_, sum.data(), at), exact_sum,
                      terms, limit);
      failure.compare("products", accumulator_, to_double(accumulator_, products.data(), at),
                      product, product_terms, limit);
      // With the mean_low the mean is far more exact than its type.
      failure.expect(
          std::fabs(exact_mean - rounded - rest) <=
              1e-13L * (std::fabs(exact_mean) + std::sqrt(exact_var)) + unit(accumulator_, 0),
          "mean and mean_low do not add up to the exact mean");
    }
  }
  for (Guarded* array : {&mean, &mean_low, &var, &sum, &products}) {
    failure.expect(array->intact(), "memory around a result was written");
  }
  return failure.text;
}

}  // namespace inox::test
