// One random call of the operations: its shape and data, its results, and the exact ones.
#pragma once

#include <string>

#include "operations/operations.h"
#include "tests/guarded.h"

namespace inox::test {

// Runs the four operations without a residual on one shape and checks every result against extended
// precision, and that nothing around the results was written. Returns what is wrong, or nothing.
class Case {
 public:
  // Of at most `budget` elements.
  explicit Case(uint64_t seed, int64_t budget = 20000);

  std::string run(const Kernels& kernels, ThreadPool* pool);
  // Puts all arrays so many elements further from an aligned address in the next run.
  void shift(int64_t elements) { shift_ = elements; }
  // The bytes of all results of the last run.
  std::string results() const;
  std::string name() const;

 private:
  int64_t offset(int64_t outer, int64_t inner, int64_t length, int64_t group, int64_t c) const;
  int64_t parameter(int64_t outer, int64_t group, int64_t c) const;
  std::string check_normalization(const Normalization& call, Guarded& y, Guarded& dx,
                                  Guarded& dscale, Guarded& dbias);
  std::string check_reductions(const Reduction& call, Guarded& t, Guarded& mean, Guarded& mean_low,
                               Guarded& var, Guarded& sum, Guarded& products);
  Guarded array(int64_t count, Element element);
  void keep(Guarded& array, int64_t count, Element element);

  Random random_;
  Element element_, accumulator_;
  Shape shape_;
  bool centred_, has_scale_, has_bias_, for_each_outer_, wide_, masked_;
  double epsilon_, mean_, spread_, spread_dy_;
  std::string results_;
  int64_t shift_ = 0;
};

}  // namespace inox::test
