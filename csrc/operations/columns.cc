// Matrices whose slices are spread over their rows: batch norm, instance norm, group norm over
// images. A sample of moderate size is a task of its own, whose second pass finds it in cache;
// the rows of a large one are divided over threads. Groups of a matrix with very long rows are
// samples by themselves.
//
// With U = sum dy scale and V = sum dy scale d over a slice, delta = mean - shift, the
// coefficients of a column are those of row_normalize.h:
//
//     y:  factor = r scale,  offset = bias - delta factor
//     dx: t_factor = r scale,  factor = -r (V - delta U) / (n (var + epsilon)),
//         offset = -r U / n - delta factor
#include "operations/columns.h"

#include <atomic>
#include <cmath>
#include <cstring>

#include "operations/arrays.h"
#include "operations/column_sample.h"
#include "operations/parameter_gradients.h"
#include "operations/scratch.h"
#include "operations/work_division.h"

namespace inox {
namespace {

// Groups of rows longer than this are split, into blocks about this wide.
constexpr int64_t kLongRow = 4096;
constexpr int64_t kBlockWidth = 2048;
// Samples up to this size are tasks, if there are enough of them.
constexpr int64_t kSampleBytes = 2 << 20;
constexpr int64_t kEnoughSamples = 8;
constexpr int64_t kMostParts = 64;

// How the samples of a call are found and shared out.
struct Samples {
  const Shape& shape;
  int64_t groups;  // of a block
  int64_t blocks;
  bool tasks;  // whether samples, or parts of a sample, are tasks
  Parts parts;

  Samples(const Shape& shape, int64_t element_bytes)
      : shape(shape),
        groups(shape.row() <= kLongRow ? shape.groups
                                       : std::max<int64_t>(1, kBlockWidth / shape.channels)),
        blocks(divide_up(shape.groups, groups)),
        tasks(is_task(element_bytes)),
        // Sums for the parameters are kept for each part, so a part has 32 rows at least.
        parts(shape.outer * blocks, shape.inner, bytes(element_bytes), divide_up(32, shape.length),
              kMostParts) {}

  int64_t bytes(int64_t element_bytes) const {
    return shape.length * groups * shape.channels * element_bytes;
  }
  bool is_task(int64_t element_bytes) const {
    const int64_t size = bytes(element_bytes), count = shape.outer * shape.inner * blocks;
    return size <= kTaskBytes || (size <= kSampleBytes && count >= kEnoughSamples);
  }

  int64_t groups_of(int64_t block) const { return std::min(groups, shape.groups - block * groups); }

  // Calls body(part, outer index, block, first inner index, end).
  template <class Body>
  void for_each_part(ThreadPool* pool, const Body& body) const {
    for_each_task(tasks ? pool : nullptr, parts.tasks(), [&](int64_t task) {
      parts.for_each_of(task, [&](int64_t part, int64_t outer, int64_t begin, int64_t end) {
        body(part % parts.per_outer, outer / blocks, outer % blocks, begin, end);
      });
    });
  }

  // The threads for the parts of a sample.
  ThreadPool* within(ThreadPool* pool) const { return tasks ? nullptr : pool; }

  // A large sample is summed in parts whoever works on them: how its terms are added must not
  // depend on how many samples there are.
  ColumnSample sample(const Kernels& kernels, Element element, int64_t block) const {
    return ColumnSample(kernels, element, shape.length, groups_of(block), shape.channels,
                        shape.row(), bytes(size_of(element)) > kTaskBytes);
  }

  // Where the elements of a sample begin, and its first column among those of a row.
  int64_t column(int64_t block) const { return block * groups * shape.channels; }
  int64_t offset(int64_t outer, int64_t inner, int64_t block) const {
    return (outer * shape.inner + inner) * shape.sample() + column(block);
  }
};

struct GroupStatistics {
  double delta, denominator, rstd;
};

GroupStatistics group_statistics(const ColumnSample& sample, int64_t group, bool centred,
                                 double epsilon) {
  const double delta = centred ? sample.group(ColumnSample::kD, group) / sample.count() : 0;
  const double var = sample.group(ColumnSample::kDD, group) / sample.count() - delta * delta;
  const double denominator = (var < 0 ? 0 : var) + epsilon;
  // Equal numbers with epsilon 0: xhat and dx are 0, not NaN.
  // NaN, not 0, for an infinite one: what it divides would be 0 without a word.
  const double overflow = denominator - denominator;
  return {delta, denominator, denominator == 0 ? 0 : 1 / std::sqrt(denominator) + overflow};
}

// Parameters of the columns of a block as float64: `value` where there are none.
void read_parameters(const Kernels& kernels, Element element, const Parameter& parameter,
                     int64_t at, int64_t count, double value, double* out) {
  if (!parameter.data) {
    std::fill(out, out + count, value);
    return;
  }
  const Element type = accumulator_of(element);
  kernels[type].widen(advance(parameter.data, at * size_of(type)), count, 1, out);
}

// Whether a sample takes part; if not, its part of y (or dx), where it is given, is set to 0.
bool takes_part(const Normalization& call, int64_t outer, int64_t inner, int64_t offset,
                int64_t width) {
  const Shape& shape = call.shape;
  if (!call.where || call.where[outer * shape.inner + inner]) return true;
  const int64_t bytes = size_of(call.element);
  for (int64_t row = 0; call.y && row < shape.length; ++row) {
    std::memset(advance(call.y, (offset + row * shape.row()) * bytes), 0, width * bytes);
  }
  return false;
}

}  // namespace

bool normalize_columns(const Kernels& kernels, const Normalization& call, ThreadPool* pool) {
  const int64_t bytes = size_of(call.element);
  const Samples samples(call.shape, bytes);
  std::atomic<bool> failed{false};
  samples.for_each_part(pool,
                        [&](int64_t, int64_t outer, int64_t block, int64_t begin, int64_t end) {
    ColumnSample sample = samples.sample(kernels, call.element, block);
    const int64_t channels = sample.channels(), width = sample.groups() * channels;
    double* scratch = task_scratch().reserve(sample.scratch_size() + 2 * width);
    if (!scratch) {
      failed = true;
      return;
    }
    double *scale = scratch + sample.scratch_size(), *bias = scale + width;
    auto read = [&](const Parameter& parameter, double value, double* out) {
      const int64_t of_outer = parameter.for_each_outer ? outer * call.shape.row() : 0;
      read_parameters(kernels, call.element, parameter, of_outer + samples.column(block), width,
                      value, out);
    };
    read(call.scale, 1, scale);
    read(call.bias, 0, bias);
    for (int64_t inner = begin; inner < end; ++inner) {
      const int64_t offset = samples.offset(outer, inner, block), at = offset * bytes;
      if (!takes_part(call, outer, inner, offset, width)) continue;
      sample.start(advance(call.x, at), nullptr, false, scratch);
      sample.sum_moments(call.centred, false, samples.within(pool));
      for (int64_t g = 0; g < sample.groups(); ++g) {
        const GroupStatistics of = group_statistics(sample, g, call.centred, call.epsilon);
        for (int64_t c = g * channels; c < (g + 1) * channels; ++c) {
          sample.factor()[c] = of.rstd * scale[c];
          sample.offset()[c] = bias[c] - of.delta * sample.factor()[c];
        }
      }
      sample.map(false, advance(call.y, at), samples.within(pool));
    }
  });
  return !failed;
}

bool cotangent_columns(const Kernels& kernels, const Normalization& call, ThreadPool* pool) {
  const int64_t bytes = size_of(call.element), row = call.shape.row();
  const Samples samples(call.shape, bytes);
  const bool parameters = call.dscale || call.dbias;
  const bool partial = parameters && samples.parts.per_outer > 1;
  const int64_t per_outer = samples.parts.per_outer;
  double* sums = partial ? call_scratch().reserve(2 * row * call.shape.outer * per_outer) : nullptr;
  if (partial && !sums) return false;
  std::atomic<bool> failed{false};
  samples.for_each_part(
      pool, [&](int64_t part, int64_t outer, int64_t block, int64_t begin, int64_t end) {
    ColumnSample sample = samples.sample(kernels, call.element, block);
    const int64_t channels = sample.channels(), width = sample.groups() * channels;
    const int64_t column = samples.column(block);
    double* scratch = task_scratch().reserve(sample.scratch_size() + 3 * width);
    if (!scratch) {
      failed = true;
      return;
    }
    double* scale = scratch + sample.scratch_size();
    read_parameters(kernels, call.element, call.scale,
                    (call.scale.for_each_outer ? outer * row : 0) + column, width, 1, scale);
    double *dscale = scale + width, *dbias = dscale + width;
    if (partial)
      dscale = sums + (outer * per_outer + part) * 2 * row + column, dbias = dscale + row;
    std::fill(dscale, dscale + width, 0.0);
    std::fill(dbias, dbias + width, 0.0);
    for (int64_t inner = begin; inner < end; ++inner) {
      const int64_t offset = samples.offset(outer, inner, block), at = offset * bytes;
      if (!takes_part(call, outer, inner, offset, width)) continue;
      sample.start(advance(call.x, at), advance(call.dy, at), false, scratch);
      sample.sum_moments(call.centred, true, samples.within(pool));
      double *t = sample.column(ColumnSample::kT), *td = sample.column(ColumnSample::kTD);
      for (int64_t g = 0; g < sample.groups(); ++g) {
        const GroupStatistics of = group_statistics(sample, g, call.centred, call.epsilon);
        for (int64_t c = g * channels; c < (g + 1) * channels; ++c) {
          dscale[c] += of.rstd * (td[c] - of.delta * t[c]);
          dbias[c] += t[c];
          t[c] *= scale[c];
          td[c] *= scale[c];
        }
        const double u = call.centred ? sample.group(ColumnSample::kT, g) : 0;
        const double ud = sample.group(ColumnSample::kTD, g);
        const double along = (ud - of.delta * u) / sample.count() / of.denominator;
        const double factor = of.denominator == 0 ? 0 : -(of.rstd * along);
        const double offset = -(of.rstd * (u / sample.count())) - of.delta * factor;
        for (int64_t c = g * channels; c < (g + 1) * channels; ++c) {
          sample.t_factor()[c] = of.rstd * scale[c];
          sample.factor()[c] = factor;
          sample.offset()[c] = offset;
        }
      }
      if (call.y) sample.map(true, advance(call.y, at), samples.within(pool));
    }
    if (!partial) {
      round_to(call.element, dscale, width, call.dscale, outer * row + column);
      round_to(call.element, dbias, width, call.dbias, outer * row + column);
    }
  });
  if (partial && !failed) {
    add_parts(call.element, call.shape, {call.dscale, call.dbias}, per_outer, sums, pool);
  }
  return !failed;
}

bool reduce_columns(const Kernels& kernels, const Reduction& call, ThreadPool* pool) {
  const int64_t bytes = size_of(call.element);
  const Element type = accumulator_of(call.element);
  const int64_t t_bytes = call.wide ? size_of(type) : bytes;
  const Samples samples(call.shape, bytes);
  std::atomic<bool> failed{false};
  samples.for_each_part(pool,
                        [&](int64_t, int64_t outer, int64_t block, int64_t begin, int64_t end) {
    ColumnSample sample = samples.sample(kernels, call.element, block);
    const int64_t groups = sample.groups();
    double* scratch = task_scratch().reserve(sample.scratch_size() + 3 * groups);
    if (!scratch) {
      failed = true;
      return;
    }
    double *mean = scratch + sample.scratch_size(), *mean_low = mean + groups,
           *second = mean_low + groups;
    for (int64_t inner = begin; inner < end; ++inner) {
      const int64_t at = samples.offset(outer, inner, block);
      const int64_t out = outer * call.shape.groups + samples.column(block) / call.shape.channels;
      sample.start(advance(call.x, at * bytes), advance(call.t, at * t_bytes), call.wide, scratch);
      if (call.t) {
        kernels[type].widen(advance(call.mean, out * size_of(type)), groups, 1, sample.shifts());
        kernels[type].widen(advance(call.mean_low, out * size_of(type)), groups, 1, mean_low);
        sample.sum_products(samples.within(pool));
        for (int64_t g = 0; g < groups; ++g) {
          mean[g] = sample.group(ColumnSample::kT, g);
          second[g] = sample.group(ColumnSample::kTD, g) - mean_low[g] * mean[g];
        }
        round_to(call.element, mean, groups, call.first, out);
        round_to(call.element, second, groups, call.second, out);
      } else {
        sample.sum_moments(true, false, samples.within(pool));
        for (int64_t g = 0; g < groups; ++g) {
          const double delta = sample.group(ColumnSample::kD, g) / sample.count();
          const double var = sample.group(ColumnSample::kDD, g) / sample.count() - delta * delta;
          const double shift = sample.shifts()[g], sum = shift + delta;
          mean[g] = type == Element::kFloat64 ? sum : double(float(sum));
          mean_low[g] = (shift - mean[g]) + delta;
          second[g] = var < 0 ? 0 : var;
        }
        round_to(call.element, mean, groups, call.mean, out);
        round_to(call.element, mean_low, groups, call.mean_low, out);
        round_to(call.element, second, groups, call.first, out);
      }
    }
  });
  return !failed;
}

}  // namespace inox
