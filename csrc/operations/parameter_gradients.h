// The gradients of the parameters, from the sums of the parts that the rows were divided into.
#pragma once

#include "operations/operations.h"

namespace inox {

// The gradients of the parameters of a call, of (outer, groups, channels) numbers each; null where
// not wanted.
struct ParameterGradients {
  void* scale;
  void* bias;
  // None for a call without a gate, for which nothing is summed.
  void* gate = nullptr;

  int64_t count() const { return gate ? 3 : scale || bias ? 2 : 0; }
  void* operator[](int64_t i) const { return i == 0 ? scale : i == 1 ? bias : gate; }
};

// The sums lie at sums[outer][part][scale, bias, gate][groups * channels]. They are added in the
// order of the parts, whoever formed them.
void add_parts(Element element, const Shape& shape, const ParameterGradients& gradients,
               int64_t parts, double* sums, ThreadPool* pool);

}  // namespace inox
