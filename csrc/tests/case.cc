#include "tests/case.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

namespace inox::test {
namespace {

// Sizes that vectors, blocks and tiles do not divide, with a preference for small ones.
int64_t size(Random& random, int64_t limit) {
  static constexpr int64_t kOdd[] = {1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 33, 64, 65, 127, 251};
  const int64_t found = random.below(4) ? kOdd[random.below(17)] : 1 + random.below(limit);
  return found < limit ? found : limit;
}

const char* name_of(Element element) {
  static constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "float64"};
  return kNames[int(element)];
}

}  // namespace

Case::Case(uint64_t seed, int64_t budget) : random_(seed) {
  element_ = Element(random_.below(kElements));
  accumulator_ = accumulator_of(element_);
  const int64_t many = budget / 2;
  auto next = [&](int64_t limit) {
    const int64_t found = size(random_, std::min(limit, budget));
    budget /= found;
    return found;
  };
  shape_.channels = next(random_.below(8) ? 300 : many);
  shape_.groups = next(40);
  shape_.length = random_.below(2) ? 1 : next(random_.below(8) ? 300 : many);
  shape_.inner = next(many);
  shape_.outer = next(4);
  centred_ = random_.below(4) != 0;
  has_scale_ = random_.below(4) != 0;
  has_bias_ = random_.below(4) != 0;
  for_each_outer_ = random_.below(2) == 0;
  wide_ = random_.below(2) == 0;
  epsilon_ = 1e-5;
  mean_ = random_.below(2) ? 0 : 3;
  spread_ = spread_dy_ = 1;
  if (element_ == Element::kFloat32 && random_.below(3) == 0) mean_ = 1e4;
  if (element_ == Element::kFloat32 && random_.below(4) == 0) {
    spread_ = 1e-40, mean_ = 0;  // denormal numbers, as dy, so that dx isn't infinite
    spread_dy_ = 1e-40;
    epsilon_ = 0;
  }
  if (element_ == Element::kBFloat16 && random_.below(4) == 0) {
    spread_ = spread_dy_ = 1e-32, mean_ = 0;  // factors that are not for float32
    epsilon_ = 0;
  }
  if (random_.below(8) == 0) {
    spread_ = epsilon_ = 0;  // equal numbers: xhat and dx are 0
  }
  masked_ = random_.below(4) == 0;
}

std::string Case::name() const {
  char text[160];
  std::snprintf(text, sizeof text, "%s (%d, %d, %d, %d, %d)%s mean %g spread %g epsilon %g",
                name_of(element_), int(shape_.outer), int(shape_.inner), int(shape_.length),
                int(shape_.groups), int(shape_.channels), centred_ ? "" : " not centred", mean_,
                spread_, epsilon_);
  return text;
}

int64_t Case::offset(int64_t outer, int64_t inner, int64_t length, int64_t group, int64_t c) const {
  return (((outer * shape_.inner + inner) * shape_.length + length) * shape_.groups + group) *
             shape_.channels +
         c;
}

int64_t Case::parameter(int64_t outer, int64_t group, int64_t c) const {
  return ((for_each_outer_ ? outer : 0) * shape_.groups + group) * shape_.channels + c;
}

Guarded Case::array(int64_t count, Element element) {
  return Guarded(count, size_of(element), (random_.below(16) + shift_) % 16);
}

void Case::keep(Guarded& array, int64_t count, Element element) {
  results_.append(static_cast<const char*>(array.data()), count * size_of(element));
}

std::string Case::results() const { return results_; }

std::string Case::run(const Kernels& kernels, ThreadPool* pool) {
  const Random start = random_;
  results_.clear();
  const int64_t count = shape_.count(), parameters = shape_.row() * shape_.outer;
  Guarded x = array(count, element_), dy = array(count, element_);
  Guarded y = array(count, element_), dx = array(count, element_);
  Guarded scale = array(parameters, accumulator_), bias = array(parameters, accumulator_);
  Guarded dscale = array(parameters, accumulator_), dbias = array(parameters, accumulator_);
  for (int64_t i = 0; i < count; ++i) {
    from_double(element_, x.data(), i, mean_ + spread_ * random_.normal());
    from_double(element_, dy.data(), i, spread_dy_ * random_.normal());
  }
  for (int64_t i = 0; i < parameters; ++i) {
    from_double(accumulator_, scale.data(), i,
                (random_.below(2) ? 1 : -1) * (0.5 + 1.5 * random_.uniform()));
    from_double(accumulator_, bias.data(), i, 0.25 * random_.normal());
  }
  // Rows that don't take part hold NaN. They come in runs, short and long.
  std::vector<uint8_t> where(shape_.outer * shape_.inner, 1);
  const int64_t run = 1 + random_.below(20), row = shape_.sample();
  for (int64_t r = 0; masked_ && r < int64_t(where.size()); ++r) {
    where[r] = random_.below(run) ? r > 0 && where[r - 1] : random_.below(2);
    for (int64_t i = r * row; !where[r] && i < (r + 1) * row; ++i) {
      from_double(element_, x.data(), i, NAN);
      from_double(element_, dy.data(), i, NAN);
    }
  }
  Normalization call = {};
  if (masked_) call.where = where.data();
  call.element = element_;
  call.shape = shape_;
  call.centred = centred_;
  call.epsilon = epsilon_;
  call.x = x.data();
  if (has_scale_) call.scale = {scale.data(), for_each_outer_};
  if (has_bias_) call.bias = {bias.data(), for_each_outer_};
  call.y = y.data();
  if (!normalize(kernels, call, pool)) return "no memory";
  call.dy = dy.data();
  call.y = dx.data();
  call.dscale = dscale.data();
  call.dbias = dbias.data();
  if (!normalize_cotangent(kernels, call, pool)) return "no memory";
  std::string wrong = check_normalization(call, y, dx, dscale, dbias);
  if (!wrong.empty()) return wrong;
  keep(y, count, element_);
  keep(dx, count, element_);
  keep(dscale, parameters, accumulator_);
  keep(dbias, parameters, accumulator_);

  // The same elements as samples for the reductions, which have no inner dimension and no mask.
  if (masked_) {
    random_ = start;
    return "";
  }
  Reduction sums = {};
  sums.element = element_;
  sums.shape = shape_;
  sums.shape.outer *= shape_.inner;
  sums.shape.inner = 1;
  const Element type = wide_ ? accumulator_ : element_;
  const int64_t statistics = sums.shape.outer * shape_.groups;
  Guarded t = array(count, type), mean = array(statistics, accumulator_);
  Guarded mean_low = array(statistics, accumulator_), var = array(statistics, accumulator_);
  Guarded sum = array(statistics, accumulator_), products = array(statistics, accumulator_);
  for (int64_t i = 0; i < count; ++i) from_double(type, t.data(), i, random_.normal());
  sums.x = x.data();
  sums.mean = mean.data();
  sums.mean_low = mean_low.data();
  sums.first = var.data();
  if (!moments(kernels, sums, pool)) return "no memory";
  sums.t = t.data();
  sums.wide = wide_;
  sums.first = sum.data();
  sums.second = products.data();
  if (!centred_sums(kernels, sums, pool)) return "no memory";
  wrong = check_reductions(sums, t, mean, mean_low, var, sum, products);
  for (Guarded* statistic : {&mean, &mean_low, &var, &sum, &products}) {
    keep(*statistic, statistics, accumulator_);
  }
  random_ = start;  // the next run is of the same call
  return wrong;
}

}  // namespace inox::test
