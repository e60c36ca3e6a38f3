#include "operations/parameter_gradients.h"

#include <algorithm>

#include "operations/arrays.h"
#include "operations/work_division.h"

namespace inox {

void add_parts(const Normalization& call, int64_t parts, double* sums, ThreadPool* pool) {
  constexpr int64_t kBlock = 1024;
  const int64_t size = call.shape.row(), blocks = divide_up(2 * size, kBlock);
  for_each_task(parts * size > 32 << 10 ? pool : nullptr, call.shape.outer * blocks,
                [&](int64_t task) {
    const int64_t outer = task / blocks, begin = task % blocks * kBlock;
    const int64_t end = std::min(2 * size, begin + kBlock);
    double* total = sums + outer * parts * 2 * size;
    for (int64_t part = 1; part < parts; ++part) {
      const double* of_part = total + part * 2 * size;
      for (int64_t i = begin; i < end; ++i) total[i] += of_part[i];
    }
    const int64_t middle = std::min(std::max(begin, size), end);
    round_to(call.element, total + begin, middle - begin, call.dscale, outer * size + begin);
    round_to(call.element, total + middle, end - middle, call.dbias, outer * size + middle - size);
  });
}

}  // namespace inox
