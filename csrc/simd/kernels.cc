// The kernels of one instruction set for one element type. This file is compiled once for each
// pair, with INOX_UNIT and INOX_ELEMENT naming them (CMakeLists.txt); instruction_sets.cc chooses
// between the sets.
//
// Nothing with external linkage may be defined here but the table, outside of the unit's namespace:
// a linker keeps one copy of a function that several units share, and that copy may need
// instructions the processor lacks. So the kernels call no function of the standard library.
#include "kernel_table.h"

#include "simd/column_kernels.h"
#include "simd/column_maps.h"
#include "simd/residual_sums.h"
#include "simd/row_cotangent.h"
#include "simd/slice_kernels.h"

namespace inox::INOX_UNIT {

using Number = NumberOf<Element::INOX_ELEMENT>;

extern const ElementKernels INOX_ELEMENT;
constexpr ElementKernels INOX_ELEMENT = {normalize_rows<Number>,
                                         cotangent_rows<Number>,
                                         slice_moments<Number>,
                                         slice_products<Number>,
                                         column_moments<Number>,
                                         column_products<Number>,
                                         column_moments_and_products<Number>,
                                         column_normalize<Number>,
                                         column_cotangent<Number>,
                                         widen_numbers<Number>,
                                         add_residual<Number>,
                                         gate_cotangent<Number>,
                                         to_accumulators<Number>,
                                         from_accumulators<Number>,
                                         normalize_sums<Number>,
                                         cotangent_sums<Number>};

}  // namespace inox::INOX_UNIT
