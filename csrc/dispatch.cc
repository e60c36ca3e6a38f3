// Chooses the kernels of the best instruction set that this processor has, once.
//
// INOX_INSTRUCTION_SET=baseline|avx2|avx512 lowers the choice, for tests; it never raises it.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace inox {

#define INOX_DECLARE(unit)    \
  namespace unit {            \
  extern const Kernels kKernels; \
  }
INOX_DECLARE(baseline)
#if defined(INOX_HAS_X86_UNITS)
INOX_DECLARE(avx2)
INOX_DECLARE(avx512)
#endif

namespace {

// From the lowest to the highest that the processor has.
int supported(const Kernels* (&tables)[3]) {
  int count = 0;
  tables[count++] = &baseline::kKernels;
#if defined(INOX_HAS_X86_UNITS)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("x86-64-v3")) return count;
  tables[count++] = &avx2::kKernels;
  if (!__builtin_cpu_supports("x86-64-v4")) return count;
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

}  // namespace inox
