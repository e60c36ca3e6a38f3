#include "tests/residual.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "operations/residual_rows.h"

namespace inox::test {
namespace {

// A result of at most half a unit of its type beside a number of the accumulator type; the floor
// is what the number was computed from.
bool is_rounded(Element element, double found, double wide, double floor,
                long double limit = 0.53L) {
  if (std::isnan(wide) || std::isnan(found)) return std::isnan(wide) && std::isnan(found);
  if (found == wide) return true;
  return std::fabs(found - wide) <=
         limit * unit(element, std::fmax(std::fabs(wide), std::fabs(floor)));
}

}  // namespace

std::string run_residual(const Kernels& kernels, uint64_t seed, int64_t budget, ThreadPool* pool,
                         std::string& results) {
  Random random(seed);
  const Element element = Element(random.below(kElements)), sums = accumulator_of(element);
  Shape shape = {1 + random.below(3), 1, 1, 1, 1};
  shape.channels = 1 + random.below(random.below(2) ? 40 : std::min<int64_t>(budget / 8, 3000));
  shape.groups = random.below(3) ? 1 : 1 + random.below(5);
  shape.inner = 1 + random.below(std::max<int64_t>(1, budget / (shape.row() * shape.outer)));
  const bool wide = random.below(2), of_rounded = random.below(3) == 0;
  const bool gated = random.below(2), is_kept = random.below(2), each = random.below(2);
  const Element of_sum = wide ? sums : element;
  const int64_t count = shape.count(), parameters = shape.outer * shape.row();
  auto array = [&](int64_t n, Element type) { return Guarded(n, size_of(type), random.below(16)); };
  Guarded x = array(count, element), residual = array(count, of_sum), y = array(count, element);
  Guarded r = array(count, of_sum), dy = array(count, element), dr = array(count, of_sum);
  Guarded dresidual = array(count, of_sum), dx = array(count, element);
  Guarded gate = array(parameters, sums), scale = array(parameters, sums);
  Guarded dscale = array(parameters, sums), dbias = array(parameters, sums);
  Guarded dgate = array(parameters, sums);
  for (int64_t i = 0; i < count; ++i) {
    from_double(element, x.data(), i, random.normal());
    from_double(of_sum, residual.data(), i, 2 + random.normal());
    from_double(element, dy.data(), i, random.normal());
    from_double(of_sum, dr.data(), i, random.normal());
  }
  for (int64_t i = 0; i < parameters; ++i) {
    // Powers of two, so that a product is exact: it is rounded once with the sum, or twice.
    from_double(sums, gate.data(), i, 0.5 * double(int64_t{1} << random.below(3)));
    from_double(sums, scale.data(), i, 0.5 + random.uniform());
  }
  ResidualNormalization call = {};
  call.norm.element = element;
  call.norm.shape = shape;
  call.norm.centred = random.below(2);
  call.norm.epsilon = 1e-5;
  call.norm.scale = {scale.data(), each};
  call.norm.y = y.data();
  call.wide = wide;
  call.of_rounded = of_rounded;
  call.x = x.data(), call.residual = residual.data(), call.r = r.data();
  if (gated) call.gate = {gate.data(), each};
  char name[160];
  std::snprintf(name, sizeof name, "residual (%d, %d, %d, %d) of %d%s%s%s%s", int(shape.outer),
                int(shape.inner), int(shape.groups), int(shape.channels), int(element),
                wide ? " wide" : "", gated ? " gated" : "", of_rounded ? " rounded" : "",
                is_kept ? " kept" : "");
  if (!add_normalize(kernels, call, pool)) return "no memory";

  // The same without a residual, of the sum in the accumulator type.
  Guarded total = array(count, sums), y_wide = array(count, sums), dy_wide = array(count, sums);
  Guarded dt = array(count, sums), dscale_wide = array(parameters, sums);
  Guarded dbias_wide = array(parameters, sums);
  std::vector<double> dy_sums(parameters, 0);
  auto place = [&](int64_t i) {  // of a number's own parameters
    return i / (shape.inner * shape.row()) * shape.row() + i % shape.row();
  };
  auto gate_of = [&](int64_t i) {
    const int64_t p = each ? place(i) : i % shape.row();
    return gated ? to_double(sums, gate.data(), p) : 1;
  };
  for (int64_t i = 0; i < count; ++i) {
    const double sum =
        to_double(of_sum, residual.data(), i) + gate_of(i) * to_double(element, x.data(), i);
    from_double(sums, total.data(), i, sum);
    const double rounded = to_double(of_sum, r.data(), i);
    if (!is_rounded(of_sum, rounded, to_double(sums, total.data(), i), 0)) {
      return std::string(name) + ": r is not the sum, rounded";
    }
    if (of_rounded) from_double(sums, total.data(), i, rounded);
    from_double(sums, dy_wide.data(), i, to_double(element, dy.data(), i));
    dy_sums[place(i)] += std::fabs(to_double(element, dy.data(), i));
  }
  Normalization plain = call.norm;
  plain.element = sums;
  plain.x = total.data();
  plain.y = y_wide.data();
  if (!normalize(kernels, plain, pool)) return "no memory";
  plain.dy = dy_wide.data();
  plain.y = dt.data();
  plain.dscale = dscale_wide.data(), plain.dbias = dbias_wide.data();
  if (!normalize_cotangent(kernels, plain, pool)) return "no memory";

  call.norm.dy = dy.data();
  call.norm.y = nullptr;
  call.norm.dscale = dscale.data(), call.norm.dbias = dbias.data();
  // r is kept where it is what was normalized.
  if (is_kept && (of_rounded || of_sum == sums)) call.total = r.data();
  // What is absent, or not wanted; dx or dresidual always is.
  const bool has_dr = random.below(4), wants_dgate = gated && random.below(4);
  if (has_dr) call.dr = dr.data();
  // Without a gate the gradients of one type are one array.
  const bool has_dx = gated || of_sum != element;
  if (has_dx) call.dx = dx.data();
  const bool has_dresidual = !has_dx || random.below(4);
  if (has_dresidual) call.dresidual = dresidual.data();
  if (wants_dgate) call.dgate = dgate.data();
  if (of_rounded && !call.total) {
    call.residual = r.data();  // the sum of r and nothing
    for (int64_t i = 0; i < count; ++i) from_double(element, x.data(), i, 0);
  }
  if (!add_cotangent(kernels, call, pool)) return "no memory";
  // Beside a half type dx is computed in float32, and not rounded to the type.
  const long double limit = of_sum != element ? 64 : 0.53L;
  const double floor = 4;  // of scale and rstd dy, which y and dt may cancel from
  std::vector<double> of_gate(parameters, 0), gate_terms(parameters, 0);
  for (int64_t i = 0; i < count; ++i) {
    if (!is_rounded(element, to_double(element, y.data(), i), to_double(sums, y_wide.data(), i),
                    floor)) {
      return std::string(name) + ": y is not the norm of the sum";
    }
    const double exact =
        to_double(sums, dt.data(), i) + (has_dr ? to_double(of_sum, dr.data(), i) : 0);
    const double large = floor * std::fmax(1, std::fabs(to_double(sums, dt.data(), i)));
    if ((has_dresidual &&
         !is_rounded(of_sum, to_double(of_sum, dresidual.data(), i), exact, large, limit)) ||
        (has_dx && !is_rounded(element, to_double(element, dx.data(), i), gate_of(i) * exact,
                               gate_of(i) * large, gated && of_sum == element ? 64 : 0.53L))) {
      return std::string(name) + ": the gradient of the sum is not that of both results";
    }
    of_gate[place(i)] += exact * to_double(element, x.data(), i);
    gate_terms[place(i)] += large * std::fabs(to_double(element, x.data(), i));
  }
  for (int64_t i = 0; i < parameters; ++i) {
    const long double limit = 4 * unit(sums, 8 * dy_sums[i]);
    if (!(std::fabs(to_double(sums, dscale.data(), i) - to_double(sums, dscale_wide.data(), i)) <=
          limit) ||
        !(std::fabs(to_double(sums, dbias.data(), i) - to_double(sums, dbias_wide.data(), i)) <=
          limit)) {
      return std::string(name) + ": a gradient of the parameters differs";
    }
    if (wants_dgate && !(std::fabs(to_double(sums, dgate.data(), i) - of_gate[i]) <=
                         64 * unit(sums, gate_terms[i]))) {
      return std::string(name) + ": the gradient of the gate differs";
    }
  }
  for (Guarded* one : {&y, &r, &dresidual, &dx, &dscale, &dbias, &dgate}) {
    if (!one->intact()) return std::string(name) + ": memory around a result was written";
  }
  results.assign(static_cast<const char*>(y.data()), count * size_of(element));
  if (has_dresidual) {
    results.append(static_cast<const char*>(dresidual.data()), count * size_of(of_sum));
  }
  results.append(static_cast<const char*>(dscale.data()), parameters * size_of(sums));
  if (wants_dgate) {
    results.append(static_cast<const char*>(dgate.data()), parameters * size_of(sums));
  }
  return "";
}

}  // namespace inox::test
