// The element types of arrays, and what they are computed and summed in.
//
// Half types are 16 bits without arithmetic of their own. Parameters, statistics and gradients of
// parameters ("accumulators") are float32, or float64 beside float64 arrays.
#pragma once

#include <cstdint>

namespace inox {

struct BFloat16 {
  uint16_t bits;
};

struct Float16 {
  uint16_t bits;
};

enum class Element { kFloat32, kBFloat16, kFloat16, kFloat64 };

inline constexpr int kElements = 4;

inline int64_t size_of(Element element) {
  return element == Element::kFloat64 ? 8 : element == Element::kFloat32 ? 4 : 2;
}

inline Element accumulator_of(Element element) {
  return element == Element::kFloat64 ? Element::kFloat64 : Element::kFloat32;
}

template <Element>
struct NumberOfElement;

template <>
struct NumberOfElement<Element::kFloat32> {
  using Type = float;
};

template <>
struct NumberOfElement<Element::kBFloat16> {
  using Type = BFloat16;
};

template <>
struct NumberOfElement<Element::kFloat16> {
  using Type = Float16;
};

template <>
struct NumberOfElement<Element::kFloat64> {
  using Type = double;
};

template <Element element>
using NumberOf = typename NumberOfElement<element>::Type;

template <class T>
struct AccumulatorOf {
  using Type = float;
};

template <>
struct AccumulatorOf<double> {
  using Type = double;
};

template <class T>
using Accumulator = typename AccumulatorOf<T>::Type;

}  // namespace inox
