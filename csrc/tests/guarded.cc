#include "tests/guarded.h"

#include <algorithm>
#include <cmath>

namespace inox::test {
namespace {

// Mantissa bits behind the leading one, and the exponent of the least normal number.
struct Format {
  int mantissa, least, exponent_bits;
};

Format format(Element element) {
  switch (element) {
    case Element::kFloat32:
      return {23, -126, 8};
    case Element::kBFloat16:
      return {7, -126, 8};
    case Element::kFloat16:
      return {10, -14, 5};
    default:
      return {52, -1022, 11};
  }
}

double decode(Format form, uint16_t bits) {
  const int exponent = bits >> form.mantissa & ((1 << form.exponent_bits) - 1);
  const int fraction = bits & ((1 << form.mantissa) - 1);
  const int largest = (1 << form.exponent_bits) - 1;
  double value;
  if (exponent == largest) {
    value = fraction ? NAN : INFINITY;
  } else if (exponent == 0) {
    value = std::ldexp(fraction, form.least - form.mantissa);
  } else {
    value = std::ldexp(fraction + (1 << form.mantissa), exponent - 1 + form.least - form.mantissa);
  }
  return bits >> 15 ? -value : value;
}

// Numbers within the range of the format alone: all that the tests write.
uint16_t encode(Format form, double value) {
  const double magnitude = std::fabs(value);
  const int exponent = magnitude == 0 ? form.least : std::max(form.least, std::ilogb(magnitude));
  // nearbyint rounds to even; a carry into the exponent is right as it is.
  const int fraction = int(std::nearbyint(std::ldexp(magnitude, form.mantissa - exponent)));
  const int base = (exponent - form.least + 1) << form.mantissa;
  const int bits = base + fraction - (1 << form.mantissa);
  return uint16_t(bits | (std::signbit(value) ? 0x8000 : 0));
}

}  // namespace

double to_double(Element element, const void* array, int64_t i) {
  const char* bytes = static_cast<const char*>(array);
  float single;
  double number;
  uint16_t half;
  switch (element) {
    case Element::kFloat32:
      std::memcpy(&single, bytes + 4 * i, 4);
      return single;
    case Element::kFloat64:
      std::memcpy(&number, bytes + 8 * i, 8);
      return number;
    default:
      std::memcpy(&half, bytes + 2 * i, 2);
      return decode(format(element), half);
  }
}

void from_double(Element element, void* array, int64_t i, double value) {
  char* bytes = static_cast<char*>(array);
  const float single = float(value);
  uint16_t half;
  switch (element) {
    case Element::kFloat32:
      std::memcpy(bytes + 4 * i, &single, 4);
      return;
    case Element::kFloat64:
      std::memcpy(bytes + 8 * i, &value, 8);
      return;
    default:
      half = encode(format(element), value);
      std::memcpy(bytes + 2 * i, &half, 2);
  }
}

long double unit(Element element, long double magnitude) {
  const Format form = format(element);
  const int exponent = magnitude == 0 ? form.least : std::max(form.least, std::ilogb(magnitude));
  return std::ldexp(1.0L, exponent - form.mantissa);
}

}  // namespace inox::test
