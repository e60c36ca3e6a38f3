// Rows of slices that are contiguous in memory: layer norm and RMS norm, and group norm at each
// position. Parts of consecutive rows are tasks. Each part has its own sums for the gradients of
// the parameters, which are added in the order of the parts.
#include "operations/rows.h"

#include <atomic>
#include <cstring>

#include "operations/arrays.h"
#include "operations/parameter_gradients.h"
#include "operations/scratch.h"
#include "operations/work_division.h"

namespace inox {
namespace {

// A part of rows this short spends more on its sums for the parameters than on the rows.
constexpr int64_t kLeastRows = 64;
constexpr int64_t kMostParts = 64;

// A result of this size is stored past the caches: with what it is computed from it is more than
// they hold, so whoever reads it next finds little of it there, and a line that is stored need not
// be read first, which is a third of the traffic of a forward pass.
constexpr int64_t kPastCacheBytes = 16 << 20;
constexpr int64_t kLine = 64;

Rows rows_of(const Normalization& call) {
  const Shape& shape = call.shape;
  const int64_t bytes = size_of(call.element);
  const bool past_cache = shape.count() * bytes >= kPastCacheBytes &&
                          shape.channels * bytes % kLine == 0 &&
                          reinterpret_cast<uintptr_t>(call.y) % kLine == 0;
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

const void* of_outer(const Normalization& call, const Parameter& parameter, int64_t outer) {
  const int64_t bytes = size_of(accumulator_of(call.element)) * call.shape.row();
  return parameter.for_each_outer ? advance(parameter.data, outer * bytes) : parameter.data;
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
  const Shape& shape = call.shape;
  const int64_t size = shape.row(), bytes = 2 * size * size_of(call.element);
  const bool parameters = call.dscale || call.dbias;
  const Parts parts(shape.outer, shape.inner, bytes, parameters ? kLeastRows : 1,
                    parameters ? kMostParts : shape.inner);
  const bool partial = parameters && parts.per_outer > 1;
  double* sums = partial ? call_scratch().reserve(2 * size * parts.count()) : nullptr;
  if (partial && !sums) return false;
  std::atomic<bool> failed{false};
  for_each_task(pool, parts.tasks(), [&](int64_t task) {
    double* own = parameters && !partial ? task_scratch().reserve(2 * size) : nullptr;
    if (parameters && !partial && !own) {
      failed = true;
      return;
    }
    parts.for_each_of(task, [&](int64_t part, int64_t o, int64_t begin, int64_t end) {
      Rows rows = rows_of(call);
      rows.scale = of_outer(call, call.scale, o);
      double* of_part = partial ? sums + 2 * size * part : own;
      if (parameters) std::memset(of_part, 0, 2 * size * sizeof(double));
      for_each_run(call, o * shape.inner + begin, o * shape.inner + end,
                   [&](int64_t from, int64_t to) {
        kernels[call.element].cotangent_rows(rows, from, to, of_part,
                                             parameters ? of_part + size : nullptr);
      });
      if (own) {
        round_to(call.element, own, size, call.dscale, o * size);
        round_to(call.element, own + size, size, call.dbias, o * size);
      }
    });
  });
  if (partial) add_parts(call, parts.per_outer, sums, pool);
  return !failed;
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
