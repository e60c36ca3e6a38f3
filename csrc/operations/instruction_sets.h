// The kernels of one instruction set, chosen once a process.
#pragma once

#include "kernel_table.h"

namespace inox {

// The best kernels this processor runs, or lower ones where the environment says so.
const Kernels& kernels();

// The instruction sets that INOX_INSTRUCTION_SET may name: those which the library has kernels for
// and the processor runs, from the lowest on, with spaces between them.
const char* instruction_sets();

}  // namespace inox
