// Memory for intermediate sums. Each thread keeps what it has once asked for, up to a limit, so
// that small calls allocate nothing and large ones don't touch fresh pages every time.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace inox {

class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(memory_); }

  // Memory for `count` numbers, aligned to a cache line; null where there is none to be had.
  // What an earlier call returned is no longer valid.
  double* reserve(size_t count) noexcept {
    if (count > capacity_ || capacity_ > kKept) {
      std::free(memory_);
      const size_t rounded = (count + 7) / 8 * 8;
      memory_ = static_cast<double*>(std::aligned_alloc(64, rounded * sizeof(double)));
      capacity_ = memory_ ? rounded : 0;
    }
    return memory_;
  }

 private:
  static constexpr size_t kKept = size_t(1) << 20;  // 8 MiB

  double* memory_ = nullptr;
  size_t capacity_ = 0;
};

// One for the call that a thread makes, one for the task that it works on.
inline Scratch& call_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

inline Scratch& task_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

}  // namespace inox
