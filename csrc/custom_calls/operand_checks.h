// Checks of the buffers that XLA hands over: a mismatch is an error that names the operand.
#pragma once

#include <algorithm>
#include <optional>
#include <string>

#include "elements.h"
#include "operations/operations.h"
#include "xla/ffi/api/ffi.h"

namespace inox {

namespace ffi = xla::ffi;

// XLA's types of elements, in the order of Element.
struct ElementType {
  ffi::DataType type;
  const char* name;
};
inline constexpr ElementType kElementTypes[kElements] = {
    {ffi::F32, "float32"}, {ffi::BF16, "bfloat16"}, {ffi::F16, "float16"}, {ffi::F64, "float64"}};

inline ffi::DataType type_of(Element element) { return kElementTypes[int(element)].type; }

inline std::optional<Element> element_of(ffi::DataType type) {
  for (int i = 0; i < kElements; ++i) {
    if (kElementTypes[i].type == type) return Element(i);
  }
  return std::nullopt;
}

inline const char* name_of(ffi::DataType type) {
  const std::optional<Element> element = element_of(type);
  return element ? kElementTypes[int(*element)].name : "another type";
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

  // The element type of x.
  Element element(const ffi::AnyBuffer& x) {
    const std::optional<Element> element = element_of(x.element_type());
    if (!element) fail("x must be float32, bfloat16, float16 or float64.");
    return element.value_or(Element::kFloat32);
  }

  // The shape that the attribute gives; x must have as many elements.
  Shape shape(ffi::Span<const int64_t> sizes, const ffi::AnyBuffer& x) {
    bool fine = sizes.size() == 5;
    std::string found;
    // Products of some of the sizes have to be numbers, too, where another one is 0.
    int64_t most = 1;
    for (int64_t size : sizes) {
      fine = fine && size >= 0 && !__builtin_mul_overflow(most, std::max<int64_t>(1, size), &most);
      found += (found.empty() ? "" : ", ") + std::to_string(size);
    }
    if (!fine) {
      fail("shape must be five sizes from 0, (outer, inner, length, groups, channels), but is (" +
           found + ").");
      return {};
    }
    const Shape shape = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]};
    elements("x", x, shape.count());
    return shape;
  }

  // The same for operations whose results are statistics, of which each inner index has none.
  Shape shape_without_inner(ffi::Span<const int64_t> sizes, const ffi::AnyBuffer& x) {
    const Shape found = shape(sizes, x);
    if (!failed_ && found.inner != 1) {
      fail("shape must have 1 as its inner size here, but has " + std::to_string(found.inner) +
           ". Make it part of the outer one.");
    }
    return found;
  }

  // The same for operations on rows alone.
  Shape shape_of_rows(ffi::Span<const int64_t> sizes, const ffi::AnyBuffer& x) {
    const Shape found = shape(sizes, x);
    if (!failed_ && found.length != 1) {
      fail("shape must have 1 as its length here, but has " + std::to_string(found.length) + ".");
    }
    return found;
  }

  void type(const char* name, const ffi::AnyBuffer& buffer, ffi::DataType wanted) {
    if (buffer.element_type() == wanted) return;
    fail(std::string(name) + " must be " + name_of(wanted) + ", but is " +
         name_of(buffer.element_type()) + ".");
  }

  void elements(const char* name, const ffi::AnyBuffer& buffer, int64_t wanted) {
    const int64_t found = int64_t(buffer.element_count());
    if (found == wanted) return;
    fail(std::string(name) + " must have as many elements as its shape, " + std::to_string(wanted) +
         ", but has " + std::to_string(found) + ".");
  }

  void* buffer(const char* name, const ffi::AnyBuffer& buffer, Element wanted, int64_t count) {
    type(name, buffer, type_of(wanted));
    elements(name, buffer, count);
    return buffer.untyped_data();
  }

  // Null for a buffer without elements, which stands for an absent or unwanted one.
  void* optional(const char* name, const ffi::AnyBuffer& given, Element wanted, int64_t count) {
    if (given.element_count() != 0) return buffer(name, given, wanted, count);
    type(name, given, type_of(wanted));
    return nullptr;
  }

  Parameter parameter(const char* name, const ffi::AnyBuffer& given, Element wanted,
                      const Shape& shape) {
    const bool shared = int64_t(given.element_count()) == shape.row();
    return {optional(name, given, wanted, (shared ? 1 : shape.outer) * shape.row()), !shared};
  }

  // A boolean for each (outer, inner).
  const uint8_t* where(const ffi::AnyBuffer& given, const Shape& shape) {
    if (given.element_type() != ffi::PRED) fail("where must be boolean.");
    elements("where", given, shape.outer * shape.inner);
    return static_cast<const uint8_t*>(given.untyped_data());
  }

  double epsilon(const ffi::AnyBuffer& given, Element wanted) {
    const void* data = buffer("epsilon", given, wanted, 1);
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
