// Checks of the buffers that XLA hands over: a mismatch is an error that names the operand.
#pragma once

#include <initializer_list>
#include <optional>
#include <sstream>
#include <string>

#include "elements.h"
#include "operations.h"
#include "xla/ffi/api/ffi.h"

namespace inox {

namespace ffi = xla::ffi;

using Dimensions = std::initializer_list<int64_t>;

inline std::optional<Element> element_of(ffi::DataType type) {
  switch (type) {
    case ffi::F32:
      return Element::kFloat32;
    case ffi::BF16:
      return Element::kBFloat16;
    case ffi::F16:
      return Element::kFloat16;
    case ffi::F64:
      return Element::kFloat64;
    default:
      return std::nullopt;
  }
}

inline ffi::DataType type_of(Element element) {
  switch (element) {
    case Element::kFloat32:
      return ffi::F32;
    case Element::kBFloat16:
      return ffi::BF16;
    case Element::kFloat16:
      return ffi::F16;
    default:
      return ffi::F64;
  }
}

inline const char* name_of(ffi::DataType type) {
  const std::optional<Element> element = element_of(type);
  if (!element) return "another type";
  switch (*element) {
    case Element::kFloat32:
      return "float32";
    case Element::kBFloat16:
      return "bfloat16";
    case Element::kFloat16:
      return "float16";
    default:
      return "float64";
  }
}

template <class Sizes>
std::string shape_text(const Sizes& sizes) {
  std::ostringstream text;
  text << "(";
  const char* separator = "";
  for (int64_t size : sizes) {
    text << separator << size;
    separator = ", ";
  }
  text << ")";
  return text.str();
}

template <class Sizes>
bool same_sizes(const ffi::AnyBuffer::Dimensions& found, const Sizes& wanted) {
  return found.size() == wanted.size() && std::equal(found.begin(), found.end(), wanted.begin());
}

// Checks the buffers of one call, and keeps the first mismatch.
class Checks {
 public:
  explicit Checks(const char* target) : target_(target) {}

  bool failed() const { return failed_; }
  ffi::Error error() const { return ffi::Error::InvalidArgument(message_); }

  void fail(const std::string& sentence) {
    if (!failed_) message_ = std::string(target_) + ": " + sentence;
    failed_ = true;
  }

  // The element type and dimensions of x.
  Element element(const char* name, const ffi::AnyBuffer& buffer, size_t rank) {
    const std::optional<Element> element = element_of(buffer.element_type());
    if (!element) fail(std::string(name) + " must be float32, bfloat16, float16 or float64.");
    if (buffer.dimensions().size() != rank) {
      fail(std::string(name) + " must have " + std::to_string(rank) + " dimensions, but has " +
           std::to_string(buffer.dimensions().size()) + ".");
    }
    return element.value_or(Element::kFloat32);
  }

  void type(const char* name, const ffi::AnyBuffer& buffer, ffi::DataType wanted) {
    if (buffer.element_type() == wanted) return;
    fail(std::string(name) + " must be " + name_of(wanted) + ", but is " +
         name_of(buffer.element_type()) + ".");
  }

  void* buffer(const char* name, const ffi::AnyBuffer& buffer, Element wanted, Dimensions sizes) {
    type(name, buffer, type_of(wanted));
    if (!same_sizes(buffer.dimensions(), sizes)) {
      fail(std::string(name) + " must have shape " + shape_text(sizes) + ", but has " +
           shape_text(buffer.dimensions()) + ".");
    }
    return buffer.untyped_data();
  }

  // Null for a buffer without elements, which stands for an absent or unwanted one.
  void* optional(const char* name, const ffi::AnyBuffer& given, Element wanted, Dimensions sizes) {
    if (given.element_count() != 0) return buffer(name, given, wanted, sizes);
    type(name, given, type_of(wanted));
    return nullptr;
  }

  Parameter parameter(const char* name, const ffi::AnyBuffer& given, Element wanted,
                      const Shape& shape) {
    if (given.element_count() == 0) {
      type(name, given, type_of(wanted));
      return {};
    }
    const bool shared = given.dimensions().size() == 3 && given.dimensions()[0] == 1;
    const int64_t outer = shared ? 1 : shape.outer;
    return {buffer(name, given, wanted, {outer, shape.groups, shape.channels}), !shared};
  }

  double epsilon(const ffi::AnyBuffer& given, Element wanted) {
    const void* data = buffer("epsilon", given, wanted, {1});
    if (failed_) return 0;
    return wanted == Element::kFloat64 ? *static_cast<const double*>(data)
                                       : double(*static_cast<const float*>(data));
  }

 private:
  const char* target_;
  bool failed_ = false;
  std::string message_;
};

}  // namespace inox
