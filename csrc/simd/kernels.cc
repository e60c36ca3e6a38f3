// The table of kernels of one instruction set. This file is compiled once for each, with INOX_UNIT
// naming it (CMakeLists.txt); instruction_sets.cc chooses between the tables.
//
// Nothing with external linkage may be defined here but the table: a linker keeps one copy of a
// function that several units share, and that copy may need instructions the processor lacks.
// So the kernels call no function of the standard library.
#include "kernel_table.h"

#include "simd/column_kernels.h"
#include "simd/residual_sums.h"
#include "simd/row_cotangent.h"
#include "simd/slice_kernels.h"

#define INOX_TEXT(x) #x
#define INOX_NAME(x) INOX_TEXT(x)

namespace inox::INOX_UNIT {

template <class T>
constexpr ElementKernels kernels_of() {
  return {normalize_rows<T>,
          cotangent_rows<T>,
          slice_moments<T>,
          slice_products<T>,
          column_moments<T>,
          column_products<T>,
          column_moments_and_products<T>,
          column_normalize<T>,
          column_cotangent<T>,
          widen_numbers<T>,
          add_residual<T>,
          to_accumulators<T>,
          from_accumulators<T>,
          normalize_sums<T>,
          cotangent_sums<T>};
}

extern const Kernels kKernels;
constexpr Kernels kKernels = {
    INOX_NAME(INOX_UNIT),
    {kernels_of<float>(), kernels_of<BFloat16>(), kernels_of<Float16>(), kernels_of<double>()}};

}  // namespace inox::INOX_UNIT
