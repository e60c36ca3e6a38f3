// The library's interface: handlers for XLA's custom calls, and what a loader asks about it.
//
//     inox_normalize            x, epsilon, scale, bias      -> y
//     inox_normalize_cotangent  dy, x, epsilon, scale        -> dx, dscale, dbias
//     inox_normalize_where, inox_cotangent_where            the same with one operand more, `where`
//     inox_moments              x                            -> mean, mean_low, variance
//     inox_centred_sums         t, x, mean, mean_low         -> sum t, sum t (x - mean - mean_low)
//
//     inox_add_normalize  x, residual, gate, epsilon, scale, bias          -> y, r
//     inox_add_cotangent  dy, dr, total, x, residual, gate, epsilon, scale
//                                                          -> dresidual, dx, dscale, dbias, dgate
//
// Buffers are seen as rows of elements, whatever dimensions they have: so XLA never has to copy one
// for its layout. The attribute `shape` tells those of x, (outer, inner, length, groups, channels),
// in moments and sums with inner 1; statistics are over length and channels. dy, y and dx are as x.
// Parameters and their gradients are (outer, groups, channels), parameters also (groups, channels)
// for all, statistics (outer, groups), in float32, or float64 beside a float64 x; so is t, if it
// isn't of the type of x, and so are a residual and what belongs to r, its sum with x. `where` has
// a boolean for each (outer, inner), whether it takes part. Epsilon has one element. An operand
// without elements is absent, a result without elements not wanted. The attribute `centred` tells
// layer norm from RMS norm, `of_rounded` whether r is normalized or the sum before its rounding.
#include <cstring>
#include <initializer_list>

#include "custom_calls/operand_checks.h"
#include "operations/floating_point_environment.h"
#include "operations/instruction_sets.h"
#include "operations/operations.h"
#include "operations/residual_rows.h"

namespace inox {
namespace {

// XLA's pool, as for_each_task sees it.
class XlaThreads : public ThreadPool {
 public:
  // Implicit: handlers get it in place of XLA's.
  XlaThreads(ffi::ThreadPool pool) : pool_(pool) {}
  int64_t thread_count() const override { return pool_.num_threads(); }
  void schedule(std::function<void()> work) override { pool_.Schedule(std::move(work)); }

 private:
  ffi::ThreadPool pool_;
};

constexpr char kCentred[] = "centred";
constexpr char kShape[] = "shape";
constexpr char kOfRounded[] = "of_rounded";

// The parameters of handlers: what a call binds to each is read off its type.
using Operand = ffi::AnyBuffer;
using Output = ffi::Result<ffi::AnyBuffer>;
using Centred = ffi::Attr<bool, kCentred>;
using OfRounded = ffi::Attr<bool, kOfRounded>;
using Sizes = ffi::Attr<ffi::Span<const int64_t>, kShape>;

// The end of every handler. `sums`: the results that are 0 where there is nothing to sum up.
template <class Operation>
ffi::Error carry_out(const Checks& check, const Shape& shape, std::initializer_list<Output> sums,
                     const Operation& operation) {
  if (check.failed()) return check.error();
  if (shape.count() == 0) {
    for (Output sum : sums) {
      if (sum->size_bytes() > 0) std::memset(sum->untyped_data(), 0, sum->size_bytes());
    }
    return ffi::Error::Success();
  }
  if (operation()) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                    "inox: no memory was left for intermediate sums.");
}

ffi::Error normalize_where(const char* target, XlaThreads& threads, Operand x, Operand epsilon,
                           Operand scale, Operand bias, const Operand* where, Output y,
                           Centred centred, Sizes sizes) {
  KeepDenormals guard;
  Checks check(target);
  Normalization call = {};
  call.element = check.element(x);
  call.shape = check.shape(*sizes, x);
  call.centred = *centred;
  const Element accumulator = accumulator_of(call.element);
  call.x = x.untyped_data();
  call.epsilon = check.epsilon(epsilon, accumulator);
  call.scale = check.parameter("scale", scale, accumulator, call.shape);
  call.bias = check.parameter("bias", bias, accumulator, call.shape);
  call.y = check.buffer("y", *y, call.element, call.shape.count());
  if (where) call.where = check.where(*where, call.shape);
  return carry_out(check, call.shape, {}, [&] { return normalize(kernels(), call, &threads); });
}

ffi::Error run_normalize(XlaThreads threads, Operand x, Operand epsilon, Operand scale,
                         Operand bias, Output y, Centred centred, Sizes sizes) {
  return normalize_where("inox_normalize", threads, x, epsilon, scale, bias, nullptr, y, centred,
                         sizes);
}

ffi::Error run_normalize_where(XlaThreads threads, Operand x, Operand epsilon, Operand scale,
                               Operand bias, Operand where, Output y, Centred centred,
                               Sizes sizes) {
  return normalize_where("inox_normalize_where", threads, x, epsilon, scale, bias, &where, y,
                         centred, sizes);
}

ffi::Error cotangent_where(const char* target, XlaThreads& threads, Operand dy, Operand x,
                           Operand epsilon, Operand scale, const Operand* where, Output dx,
                           Output dscale, Output dbias, Centred centred, Sizes sizes) {
  KeepDenormals guard;
  Checks check(target);
  Normalization call = {};
  call.element = check.element(x);
  call.shape = check.shape(*sizes, x);
  call.centred = *centred;
  const Element accumulator = accumulator_of(call.element);
  const int64_t parameters = call.shape.outer * call.shape.row();
  call.x = x.untyped_data();
  call.dy = check.buffer("dy", dy, call.element, call.shape.count());
  call.epsilon = check.epsilon(epsilon, accumulator);
  call.scale = check.parameter("scale", scale, accumulator, call.shape);
  call.y = check.optional("dx", *dx, call.element, call.shape.count());
  call.dscale = check.optional("dscale", *dscale, accumulator, parameters);
  call.dbias = check.optional("dbias", *dbias, accumulator, parameters);
  if (where) call.where = check.where(*where, call.shape);
  return carry_out(check, call.shape, {dscale, dbias},
                   [&] { return normalize_cotangent(kernels(), call, &threads); });
}

ffi::Error run_cotangent(XlaThreads threads, Operand dy, Operand x, Operand epsilon, Operand scale,
                         Output dx, Output dscale, Output dbias, Centred centred, Sizes sizes) {
  return cotangent_where("inox_normalize_cotangent", threads, dy, x, epsilon, scale, nullptr, dx,
                         dscale, dbias, centred, sizes);
}

ffi::Error run_cotangent_where(XlaThreads threads, Operand dy, Operand x, Operand epsilon,
                               Operand scale, Operand where, Output dx, Output dscale, Output dbias,
                               Centred centred, Sizes sizes) {
  return cotangent_where("inox_cotangent_where", threads, dy, x, epsilon, scale, &where, dx, dscale,
                         dbias, centred, sizes);
}

// What both calls with a residual have in common.
ResidualNormalization residual_call(Checks& check, Element element, Operand of_sum, Operand epsilon,
                                    Operand scale, Centred centred, Sizes sizes, Operand like_x) {
  ResidualNormalization call = {};
  Normalization& norm = call.norm;
  norm.element = element;
  norm.shape = check.shape_of_rows(*sizes, like_x);
  norm.centred = *centred;
  const Element accumulator = accumulator_of(element);
  call.wide = of_sum.element_type() != type_of(element);
  norm.epsilon = check.epsilon(epsilon, accumulator);
  norm.scale = check.parameter("scale", scale, accumulator, norm.shape);
  return call;
}

ffi::Error run_add_normalize(XlaThreads threads, Operand x, Operand residual, Operand gate,
                             Operand epsilon, Operand scale, Operand bias, Output y, Output r,
                             Centred centred, OfRounded of_rounded, Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_add_normalize");
  const Element element = check.element(x);
  ResidualNormalization call =
      residual_call(check, element, residual, epsilon, scale, centred, sizes, x);
  const int64_t count = call.norm.shape.count();
  const Element accumulator = accumulator_of(element), of_sum = call.wide ? accumulator : element;
  call.of_rounded = *of_rounded;
  call.x = x.untyped_data();
  call.residual = check.buffer("residual", residual, of_sum, count);
  call.gate = check.parameter("gate", gate, accumulator, call.norm.shape);
  call.norm.bias = check.parameter("bias", bias, accumulator, call.norm.shape);
  call.norm.y = check.buffer("y", *y, element, count);
  call.r = check.buffer("r", *r, of_sum, count);
  return carry_out(check, call.norm.shape, {},
                   [&] { return add_normalize(kernels(), call, &threads); });
}

ffi::Error run_add_cotangent(XlaThreads threads, Operand dy, Operand dr, Operand total, Operand x,
                             Operand residual, Operand gate, Operand epsilon, Operand scale,
                             Output dresidual, Output dx, Output dscale, Output dbias, Output dgate,
                             Centred centred, Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_add_cotangent");
  const Element element = check.element(dy);
  ResidualNormalization call =
      residual_call(check, element, dr, epsilon, scale, centred, sizes, dy);
  const Shape& shape = call.norm.shape;
  const int64_t count = shape.count(), parameters = shape.outer * shape.row();
  const Element accumulator = accumulator_of(element), of_sum = call.wide ? accumulator : element;
  call.norm.dy = dy.untyped_data();
  call.dr = check.optional("dr", dr, of_sum, count);
  call.total = check.optional("total", total, of_sum, count);
  call.gate = check.parameter("gate", gate, accumulator, shape);
  call.dgate = check.optional("dgate", *dgate, accumulator, parameters);
  if (!call.total || call.dgate) call.x = check.buffer("x", x, element, count);
  if (!call.total) call.residual = check.buffer("residual", residual, of_sum, count);
  call.dresidual = check.optional("dresidual", *dresidual, of_sum, count);
  call.dx = check.optional("dx", *dx, element, count);
  call.norm.dscale = check.optional("dscale", *dscale, accumulator, parameters);
  call.norm.dbias = check.optional("dbias", *dbias, accumulator, parameters);
  if (call.dgate && !call.gate.data) check.fail("gate must be there where its gradient is wanted.");
  return carry_out(check, shape, {dscale, dbias, dgate},
                   [&] { return add_cotangent(kernels(), call, &threads); });
}

ffi::Error run_moments(XlaThreads threads, Operand x, Output mean, Output mean_low, Output var,
                       Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_moments");
  Reduction call = {};
  call.element = check.element(x);
  call.shape = check.shape_without_inner(*sizes, x);
  const Element accumulator = accumulator_of(call.element);
  const int64_t statistics = call.shape.outer * call.shape.groups;
  call.x = x.untyped_data();
  call.mean = check.buffer("mean", *mean, accumulator, statistics);
  call.mean_low = check.buffer("mean_low", *mean_low, accumulator, statistics);
  call.first = check.buffer("var", *var, accumulator, statistics);
  return carry_out(check, call.shape, {mean, mean_low, var},
                   [&] { return moments(kernels(), call, &threads); });
}

ffi::Error run_centred_sums(XlaThreads threads, Operand t, Operand x, Operand mean,
                            Operand mean_low, Output sum, Output product_sum, Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_centred_sums");
  Reduction call = {};
  call.element = check.element(x);
  call.shape = check.shape_without_inner(*sizes, x);
  const Element accumulator = accumulator_of(call.element);
  const int64_t statistics = call.shape.outer * call.shape.groups;
  call.x = x.untyped_data();
  call.wide = t.element_type() == type_of(accumulator);
  call.t = check.buffer("t", t, call.wide ? accumulator : call.element, call.shape.count());
  call.mean = check.buffer("mean", mean, accumulator, statistics);
  call.mean_low = check.buffer("mean_low", mean_low, accumulator, statistics);
  call.first = check.buffer("the sum of t", *sum, accumulator, statistics);
  call.second = check.buffer("the sum of products", *product_sum, accumulator, statistics);
  return carry_out(check, call.shape, {sum, product_sum},
                   [&] { return centred_sums(kernels(), call, &threads); });
}

}  // namespace
}  // namespace inox

// XLA's own pool is bound where a handler takes ours.
template <>
struct xla::ffi::CtxBinding<inox::XlaThreads> {
  using Ctx = xla::ffi::ThreadPool;
};

#define INOX_EXPORT extern "C" __attribute__((visibility("default")))
#define INOX_HANDLER(symbol, function)                   \
  INOX_EXPORT XLA_FFI_Error* symbol(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(symbol, function)

INOX_HANDLER(inox_normalize, inox::run_normalize);
INOX_HANDLER(inox_normalize_cotangent, inox::run_cotangent);
INOX_HANDLER(inox_normalize_where, inox::run_normalize_where);
INOX_HANDLER(inox_cotangent_where, inox::run_cotangent_where);
INOX_HANDLER(inox_add_normalize, inox::run_add_normalize);
INOX_HANDLER(inox_add_cotangent, inox::run_add_cotangent);
INOX_HANDLER(inox_moments, inox::run_moments);
INOX_HANDLER(inox_centred_sums, inox::run_centred_sums);

INOX_EXPORT const char* inox_instruction_set() { return inox::kernels().instruction_set; }
INOX_EXPORT const char* inox_instruction_sets() { return inox::instruction_sets(); }
INOX_EXPORT int inox_abi_major() { return XLA_FFI_API_MAJOR; }
INOX_EXPORT int inox_abi_minor() { return XLA_FFI_API_MINOR; }
