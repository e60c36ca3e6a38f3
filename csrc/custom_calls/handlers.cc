// The library's interface: handlers for XLA's custom calls, and what a loader asks about it.
//
//     inox_normalize            x, epsilon, scale, bias      -> y
//     inox_normalize_cotangent  dy, x, epsilon, scale        -> dx, dscale, dbias
//     inox_moments              x                            -> mean, residual, variance
//     inox_centred_sums         t, x, mean, residual         -> sum t, sum t (x - mean - residual)
//
// Buffers are seen as rows of elements, whatever dimensions they have: so XLA never has to copy one
// for its layout. The attribute `shape` tells those of x, (outer, inner, length, groups, channels),
// in moments and sums with inner 1; statistics are over length and channels. dy, y and dx are as x.
// Parameters and their gradients are (outer, groups, channels), parameters also (groups, channels)
// for all, statistics (outer, groups), in float32, or float64 beside a float64 x; so is t, if it
// isn't of the type of x. Epsilon has one element. A scale or bias without elements is absent, a
// result without elements not wanted. The attribute `centred` of the first two tells layer norm
// from RMS norm.
#include <cstring>

#include "custom_calls/operand_checks.h"
#include "operations/floating_point_environment.h"
#include "operations/operations.h"
#include "operations/arrays.h"

namespace inox {
namespace {

// XLA's pool, as for_each_task sees it.
class XlaThreads : public ThreadPool {
 public:
  explicit XlaThreads(ffi::ThreadPool& pool) : pool_(pool) {}
  int64_t thread_count() const override { return pool_.num_threads(); }
  void schedule(std::function<void()> work) override { pool_.Schedule(std::move(work)); }

 private:
  ffi::ThreadPool& pool_;
};

ffi::Error result_of(bool done) {
  if (done) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                    "inox: no memory was left for intermediate sums.");
}

void zero(void* data, const ffi::AnyBuffer& buffer) {
  if (data) std::memset(data, 0, buffer.size_bytes());
}

using Sizes = ffi::Span<const int64_t>;

ffi::Error run_normalize(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer epsilon,
                         ffi::AnyBuffer scale, ffi::AnyBuffer bias,
                         ffi::Result<ffi::AnyBuffer> y, bool centred, Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_normalize");
  Normalization call = {};
  call.element = check.element(x);
  call.shape = check.shape(sizes, x);
  call.centred = centred;
  const Shape& s = call.shape;
  const Element accumulator = accumulator_of(call.element);
  call.x = x.untyped_data();
  call.epsilon = check.epsilon(epsilon, accumulator);
  call.scale = check.parameter("scale", scale, accumulator, s);
  call.bias = check.parameter("bias", bias, accumulator, s);
  call.y = check.buffer("y", *y, call.element, s.count());
  if (check.failed()) return check.error();
  if (s.count() == 0) return ffi::Error::Success();
  XlaThreads threads(pool);
  return result_of(normalize(kernels(), call, &threads));
}

ffi::Error run_cotangent(ffi::ThreadPool pool, ffi::AnyBuffer dy, ffi::AnyBuffer x,
                         ffi::AnyBuffer epsilon, ffi::AnyBuffer scale,
                         ffi::Result<ffi::AnyBuffer> dx, ffi::Result<ffi::AnyBuffer> dscale,
                         ffi::Result<ffi::AnyBuffer> dbias, bool centred, Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_normalize_cotangent");
  Normalization call = {};
  call.element = check.element(x);
  call.shape = check.shape(sizes, x);
  call.centred = centred;
  const Shape& s = call.shape;
  const Element accumulator = accumulator_of(call.element);
  const int64_t parameters = s.outer * s.row();
  call.x = x.untyped_data();
  call.dy = check.buffer("dy", dy, call.element, s.count());
  call.epsilon = check.epsilon(epsilon, accumulator);
  call.scale = check.parameter("scale", scale, accumulator, s);
  call.y = check.optional("dx", *dx, call.element, s.count());
  call.dscale = check.optional("dscale", *dscale, accumulator, parameters);
  call.dbias = check.optional("dbias", *dbias, accumulator, parameters);
  if (check.failed()) return check.error();
  if (s.count() == 0) {  // sums of nothing
    zero(call.dscale, *dscale);
    zero(call.dbias, *dbias);
    return ffi::Error::Success();
  }
  XlaThreads threads(pool);
  return result_of(normalize_cotangent(kernels(), call, &threads));
}

ffi::Error run_moments(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> mean,
                       ffi::Result<ffi::AnyBuffer> residual, ffi::Result<ffi::AnyBuffer> var,
                       Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_moments");
  Reduction call = {};
  call.element = check.element(x);
  call.shape = check.shape_without_inner(sizes, x);
  const Shape& s = call.shape;
  const Element accumulator = accumulator_of(call.element);
  const int64_t statistics = s.outer * s.groups;
  call.x = x.untyped_data();
  call.mean = check.buffer("mean", *mean, accumulator, statistics);
  call.residual = check.buffer("residual", *residual, accumulator, statistics);
  call.first = check.buffer("var", *var, accumulator, statistics);
  if (check.failed()) return check.error();
  if (s.count() == 0) {
    zero(call.mean, *mean);
    zero(call.residual, *residual);
    zero(call.first, *var);
    return ffi::Error::Success();
  }
  XlaThreads threads(pool);
  return result_of(moments(kernels(), call, &threads));
}

ffi::Error run_centred_sums(ffi::ThreadPool pool, ffi::AnyBuffer t, ffi::AnyBuffer x,
                            ffi::AnyBuffer mean, ffi::AnyBuffer residual,
                            ffi::Result<ffi::AnyBuffer> sum,
                            ffi::Result<ffi::AnyBuffer> product_sum, Sizes sizes) {
  KeepDenormals guard;
  Checks check("inox_centred_sums");
  Reduction call = {};
  call.element = check.element(x);
  call.shape = check.shape_without_inner(sizes, x);
  const Shape& s = call.shape;
  const Element accumulator = accumulator_of(call.element);
  const int64_t statistics = s.outer * s.groups;
  call.x = x.untyped_data();
  call.wide = t.element_type() == type_of(accumulator);
  call.t = check.buffer("t", t, call.wide ? accumulator : call.element, s.count());
  call.mean = check.buffer("mean", mean, accumulator, statistics);
  call.residual = check.buffer("residual", residual, accumulator, statistics);
  call.first = check.buffer("the sum of t", *sum, accumulator, statistics);
  call.second = check.buffer("the sum of products", *product_sum, accumulator, statistics);
  if (check.failed()) return check.error();
  if (s.count() == 0) {
    zero(call.first, *sum);
    zero(call.second, *product_sum);
    return ffi::Error::Success();
  }
  XlaThreads threads(pool);
  return result_of(centred_sums(kernels(), call, &threads));
}

}  // namespace
}  // namespace inox

#define INOX_EXPORT __attribute__((visibility("default")))

extern "C" {
INOX_EXPORT XLA_FFI_Error* inox_normalize(XLA_FFI_CallFrame*);
INOX_EXPORT XLA_FFI_Error* inox_normalize_cotangent(XLA_FFI_CallFrame*);
INOX_EXPORT XLA_FFI_Error* inox_moments(XLA_FFI_CallFrame*);
INOX_EXPORT XLA_FFI_Error* inox_centred_sums(XLA_FFI_CallFrame*);

INOX_EXPORT const char* inox_instruction_set() { return inox::kernels().instruction_set; }
INOX_EXPORT int inox_abi_major() { return XLA_FFI_API_MAJOR; }
INOX_EXPORT int inox_abi_minor() { return XLA_FFI_API_MINOR; }
}

namespace ffi = xla::ffi;

XLA_FFI_DEFINE_HANDLER_SYMBOL(inox_normalize, inox::run_normalize,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // x
                                  .Arg<ffi::AnyBuffer>()  // epsilon
                                  .Arg<ffi::AnyBuffer>()  // scale
                                  .Arg<ffi::AnyBuffer>()  // bias
                                  .Ret<ffi::AnyBuffer>()  // y
                                  .Attr<bool>("centred")
                                  .Attr<ffi::Span<const int64_t>>("shape"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(inox_normalize_cotangent, inox::run_cotangent,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // dy
                                  .Arg<ffi::AnyBuffer>()  // x
                                  .Arg<ffi::AnyBuffer>()  // epsilon
                                  .Arg<ffi::AnyBuffer>()  // scale
                                  .Ret<ffi::AnyBuffer>()  // dx
                                  .Ret<ffi::AnyBuffer>()  // dscale
                                  .Ret<ffi::AnyBuffer>()  // dbias
                                  .Attr<bool>("centred")
                                  .Attr<ffi::Span<const int64_t>>("shape"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(inox_moments, inox::run_moments,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()   // x
                                  .Ret<ffi::AnyBuffer>()   // mean
                                  .Ret<ffi::AnyBuffer>()   // residual
                                  .Ret<ffi::AnyBuffer>()   // var
                                  .Attr<ffi::Span<const int64_t>>("shape"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(inox_centred_sums, inox::run_centred_sums,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()   // t
                                  .Arg<ffi::AnyBuffer>()   // x
                                  .Arg<ffi::AnyBuffer>()   // mean
                                  .Arg<ffi::AnyBuffer>()   // residual
                                  .Ret<ffi::AnyBuffer>()   // sum of t
                                  .Ret<ffi::AnyBuffer>()   // sum of products
                                  .Attr<ffi::Span<const int64_t>>("shape"));
