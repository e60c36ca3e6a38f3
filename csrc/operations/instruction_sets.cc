// INOX_INSTRUCTION_SET=baseline|avx2|avx512 lowers the choice, for tests; it never raises it.
// Whoever sets it to anything else is told by the program that loads the library
// (instruction_sets()).
#include "operations/instruction_sets.h"

#include <cstdlib>
#include <cstring>
#include <string>

namespace inox {

// The tables of kernels.cc, in the order of `Element`.
#define INOX_DECLARE(unit)                                                             \
  namespace unit {                                                                     \
  extern const ElementKernels kFloat32, kBFloat16, kFloat16, kFloat64;                 \
  constexpr Kernels kKernels = {#unit, {&kFloat32, &kBFloat16, &kFloat16, &kFloat64}}; \
  }
INOX_DECLARE(baseline)
#if defined(INOX_HAS_X86_UNITS)
INOX_DECLARE(avx2)
#endif
#if defined(INOX_HAS_AVX512_UNIT)
INOX_DECLARE(avx512)
#endif

namespace {

#if defined(INOX_HAS_X86_UNITS)
// What -march=x86-64-v3 and v4 may use. Compilers older than GCC 12 don't know these levels by
// name here, nor Clang some of the features, which no processor has left out beside the others.
bool has_avx2() {
#if !defined(__clang__)
  if (!__builtin_cpu_supports("f16c") || !__builtin_cpu_supports("lzcnt") ||
      !__builtin_cpu_supports("movbe")) {
    return false;
  }
#endif
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
#endif

#if defined(INOX_HAS_AVX512_UNIT)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

// From the lowest to the highest that the processor has.
int supported(const Kernels* (&tables)[3]) {
  int count = 0;
  tables[count++] = &baseline::kKernels;
#if defined(INOX_HAS_X86_UNITS)
  __builtin_cpu_init();
  if (!has_avx2()) return count;
  tables[count++] = &avx2::kKernels;
#endif
#if defined(INOX_HAS_AVX512_UNIT)
  if (!has_avx512()) return count;
  tables[count++] = &avx512::kKernels;
#endif
  return count;
}

const Kernels& choose() {
  const Kernels* tables[3];
  const int count = supported(tables);
  if (const char* wanted = std::getenv("INOX_INSTRUCTION_SET")) {
    for (int i = 0; i < count; ++i) {
      if (std::strcmp(tables[i]->instruction_set, wanted) == 0) return *tables[i];
    }
  }
  return *tables[count - 1];
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

const char* instruction_sets() {
  static const std::string names = [] {
    const Kernels* tables[3];
    const int count = supported(tables);
    std::string joined;
    for (int i = 0; i < count; ++i) {
      if (i > 0) joined += ' ';
      joined += tables[i]->instruction_set;
    }
    return joined;
  }();
  return names.c_str();
}

}  // namespace inox
