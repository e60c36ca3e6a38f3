// Rows of slices that are contiguous in memory: layer norm and RMS norm, and group norm at each
// position. Parts of consecutive rows are tasks. Each part has its own sums for the gradients of
// the parameters, which are added in the order of the parts.
#include "operations/rows.h"

#include <cstring>

#include "operations/row_tasks.h"

namespace inox {
namespace {

Rows rows_of(const Normalization& call) {
  const Shape& shape = call.shape;
  const bool past_cache =
      may_pass_cache(call.y, shape.count(), shape.channels, size_of(call.element));
  return {call.x,       call.dy,        call.scale.data, call.bias.data, call.y,
          shape.groups, shape.channels, call.epsilon,    call.centred,   past_cache};
}

// Calls body(begin, end) for the rows that take part, in runs of consecutive ones; those of y (dx),
// where it is given, that don't are 0.
template <class Body>
void for_each_run(const Normalization& call, int64_t begin, int64_t end, const Body& body) {
  if (!call.where) {
    body(begin, end);
    return;
  }
  const int64_t bytes = call.shape.row() * size_of(call.element);
  for (int64_t next; begin < end; begin = next) {
    const bool takes_part = call.where[begin];
    for (next = begin + 1; next < end && bool(call.where[next]) == takes_part;) ++next;
    if (takes_part) {
      body(begin, next);
    } else if (call.y) {
      std::memset(advance(call.y, begin * bytes), 0, (next - begin) * bytes);
    }
  }
}

}  // namespace

bool normalize_rows(const Kernels& kernels, const Normalization& call, ThreadPool* pool) {
  const bool shared = !call.scale.for_each_outer && !call.bias.for_each_outer;
  const int64_t outer = shared ? 1 : call.shape.outer;
  const int64_t inner = shared ? call.shape.outer * call.shape.inner : call.shape.inner;
  const Parts parts(outer, inner, 2 * call.shape.row() * size_of(call.element), 1, inner);
  for_each_task(pool, parts.tasks(), [&](int64_t task) {
    parts.for_each_of(task, [&](int64_t, int64_t o, int64_t begin, int64_t end) {
      Rows rows = rows_of(call);
      rows.scale = of_outer(call, call.scale, o);
      rows.bias = of_outer(call, call.bias, o);
      for_each_run(call, o * inner + begin, o * inner + end, [&](int64_t from, int64_t to) {
        kernels[call.element].normalize_rows(rows, from, to);
      });
    });
  });
  return true;
}

bool cotangent_rows(const Kernels& kernels, const Normalization& call, ThreadPool* pool) {
  const int64_t row_bytes = 2 * call.shape.row() * size_of(call.element);
  return for_each_part_of_rows(
      call, {call.dscale, call.dbias}, pool, row_bytes, 0,
      [&](int64_t o, int64_t begin, int64_t end, const PartSums& sums, double*) {
    Rows rows = rows_of(call);
    rows.scale = of_outer(call, call.scale, o);
    for_each_run(call, begin, end, [&](int64_t from, int64_t to) {
      kernels[call.element].cotangent_rows(rows, from, to, sums.scale, sums.bias);
    });
  });
}

void reduce_slices(const Kernels& kernels, const Reduction& call, ThreadPool* pool) {
  const Shape& shape = call.shape;
  const int64_t count = shape.outer * shape.groups;
  const int64_t bytes = size_of(call.element) * (call.t ? 2 : 1);
  const Parts parts(1, count, shape.channels * bytes, 1, count);
  const Slices slices = {call.x,    call.t,        call.wide,  shape.channels,
                         call.mean, call.mean_low, call.first, call.second};
  auto* kernel =
      call.t ? kernels[call.element].slice_products : kernels[call.element].slice_moments;
  for_each_task(pool, parts.tasks(), [&](int64_t task) {
    parts.for_each_of(
        task, [&](int64_t, int64_t, int64_t begin, int64_t end) { kernel(slices, begin, end); });
  });
}

}  // namespace inox
