// XLA calls handlers, and runs tasks, with denormal numbers flushed to zero, both as operands and
// as results. One conversion of a denormal number under that mode is an error of thousands of
// units in the last place, so the mode is cleared on the first line of every handler and task, and
// put back on the way out.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace inox {

class KeepDenormals {
 public:
#if defined(__SSE2__)
  // MXCSR: bit 15 flushes results, bit 6 takes operands for zero.
  KeepDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ & ~0x8040u); }
  ~KeepDenormals() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
  // FPCR: bit 24 flushes both, bit 19 in float16 arithmetic.
  KeepDenormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(saved_ & ~(uint64_t(1) << 24 | uint64_t(1) << 19)));
  }
  ~KeepDenormals() { asm volatile("msr fpcr, %0" : : "r"(saved_)); }
#else
  KeepDenormals() = default;
#endif
  KeepDenormals(const KeepDenormals&) = delete;
  KeepDenormals& operator=(const KeepDenormals&) = delete;

 private:
#if defined(__SSE2__)
  unsigned saved_;
#else
  [[maybe_unused]] uint64_t saved_ = 0;
#endif
};

}  // namespace inox
