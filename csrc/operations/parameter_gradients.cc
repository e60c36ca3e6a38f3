#include "operations/parameter_gradients.h"

#include <algorithm>

#include "operations/arrays.h"
#include "operations/work_division.h"

namespace inox {

void add_parts(Element element, const Shape& shape, const ParameterGradients& gradients,
               int64_t parts, double* sums, ThreadPool* pool) {
  constexpr int64_t kBlock = 1024;
  const int64_t size = shape.row(), all = gradients.count() * size;
  const int64_t blocks = divide_up(size, kBlock);
  for_each_task(parts * size > 32 << 10 ? pool : nullptr, shape.outer * gradients.count() * blocks,
                [&](int64_t task) {
    const int64_t block = task % blocks, gradient = task / blocks % gradients.count();
    const int64_t outer = task / blocks / gradients.count();
    const int64_t begin = block * kBlock, end = std::min(size, begin + kBlock);
    double* total = sums + outer * parts * all + gradient * size;
    for (int64_t part = 1; part < parts; ++part) {
      const double* of_part = total + part * all;
      for (int64_t i = begin; i < end; ++i) total[i] += of_part[i];
    }
    round_to(element, total + begin, end - begin, gradients[gradient], outer * size + begin);
  });
}

}  // namespace inox
