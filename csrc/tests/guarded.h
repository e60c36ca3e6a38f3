// Arrays for the tests: at addresses of any alignment, between zones that must stay untouched.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "elements.h"

namespace inox::test {

// A generator of the same numbers on every platform (SplitMix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  int64_t below(int64_t limit) { return int64_t(bits() % uint64_t(limit)); }
  double uniform() { return double(bits() >> 11) * 0x1p-53; }
  // Nearly normal, with mean 0 and variance 1.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

 private:
  uint64_t state_;
};

// `count` elements of `size` bytes, `shift` elements behind an aligned address.
class Guarded {
 public:
  Guarded(int64_t count, int64_t size, int64_t shift)
      : begin_(kZone + shift * size), bytes_(count * size), memory_(begin_ + bytes_ + kZone) {
    std::memset(memory_.data(), kMark, memory_.size());
  }

  void* data() { return memory_.data() + begin_; }

  // Whether nothing outside of the elements was written.
  bool intact() const {
    for (int64_t i = 0; i < int64_t(memory_.size()); ++i) {
      if ((i < begin_ || i >= begin_ + bytes_) && memory_[i] != kMark) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kZone = 256;
  static constexpr unsigned char kMark = 0xa5;  // a NaN, or nearly 0, read as any type

  int64_t begin_, bytes_;
  std::vector<unsigned char> memory_;
};

// Scalar conversions, written without the kernels' own: by arithmetic on the exponent.
double to_double(Element element, const void* array, int64_t i);
void from_double(Element element, void* array, int64_t i, double value);
// The unit in the last place of a magnitude.
long double unit(Element element, long double magnitude);

}  // namespace inox::test
