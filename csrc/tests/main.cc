// Tests the kernels without XLA and without Python: random shapes, data at addresses of any
// alignment between guarded zones, every result against extended precision, and real threads.
//
//     inox_kernels_test [number of cases] [first seed]
//
// INOX_INSTRUCTION_SET chooses the kernels (instruction_sets.cc). Built with a sanitizer this is
// what it watches.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "operations/instruction_sets.h"
#include "tests/case.h"
#include "tests/residual.h"
#include "tests/workers.h"

namespace inox::test {
namespace {

// Enough elements for several tasks.
constexpr int64_t kLarge = 500000;

int failures = 0;

void report(const std::string& name, const std::string& wrong) {
  if (wrong.empty()) return;
  ++failures;
  std::printf("FAILED %s: %s\n", name.c_str(), wrong.c_str());
}

// Every result of random calls is within its bound, and nothing around it is written.
void test_random_calls(int64_t count, uint64_t seed) {
  for (int64_t i = 0; i < count; ++i) {
    Case random(seed + i);
    report(random.name(), random.run(kernels(), nullptr));
  }
}

// Where arrays begin changes no bit: no kernel takes the first elements apart, up to an aligned
// one.
void test_alignment_changes_nothing(int64_t count, uint64_t seed) {
  for (int64_t i = 0; i < count; ++i) {
    Case random(seed + i);
    report(random.name(), random.run(kernels(), nullptr));
    const std::string here = random.results();
    for (int64_t elements : {1, 2, 5, 8}) {
      random.shift(elements);
      report(random.name(), random.run(kernels(), nullptr));
      if (random.results() != here) report(random.name(), "another address changed the result");
    }
  }
}

// Threads change no bit of a result.
void test_threads_change_nothing(int64_t count, uint64_t seed) {
  Workers one(1), many(7);
  for (int64_t i = 0; i < count; ++i) {
    Case random(seed + i, kLarge);
    report(random.name(), random.run(kernels(), nullptr));
    const std::string alone = random.results();
    for (Workers* workers : {&one, &many}) {
      report(random.name(), random.run(kernels(), workers));
      if (random.results() != alone) report(random.name(), "threads changed the result");
    }
  }
}

// Calls under way at once on one pool all end, with the same bits.
void test_calls_at_once(int64_t count, uint64_t seed) {
  Workers workers(2);
  std::vector<std::thread> callers;
  callers.reserve(4);
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int64_t i = 0; i < count; ++i) {
        Case random(seed + 4 * i + caller, kLarge);
        if (!random.run(kernels(), nullptr).empty()) ++wrong;
        const std::string alone = random.results();
        if (!random.run(kernels(), &workers).empty() || random.results() != alone) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  report("calls at once", wrong ? "a result changed" : "");
}

// The operations with a residual do what those without do of the sum, on any number of threads.
void test_residuals(int64_t count, uint64_t seed) {
  Workers many(7);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t budget = i % 8 ? 20000 : kLarge;
    std::string alone, together;
    report("residual", run_residual(kernels(), seed + i, budget, nullptr, alone));
    if (i % 8) continue;
    report("residual", run_residual(kernels(), seed + i, budget, &many, together));
    if (alone != together) report("residual", "threads changed the result");
  }
}

// Every task runs once, whoever else runs, and however many there are.
void test_every_task_runs_once() {
  Workers workers(3);
  for (int64_t count : {0, 1, 2, 3, 100, 5000}) {
    std::vector<std::atomic<int>> runs(count);
    for_each_task(&workers, count, [&](int64_t task) { ++runs[task]; });
    for (const std::atomic<int>& times : runs) {
      if (times != 1) report("tasks", "a task ran " + std::to_string(times) + " times");
    }
  }
}

// A pool that never starts anything delays nothing: the caller does the work.
void test_a_busy_pool_is_not_waited_for() {
  class Busy : public ThreadPool {
   public:
    int64_t thread_count() const override { return 8; }
    void schedule(std::function<void()> work) override { waiting.push_back(std::move(work)); }
    std::vector<std::function<void()>> waiting;
  } busy;
  std::atomic<int> runs{0};
  for_each_task(&busy, 100, [&](int64_t) { ++runs; });
  report("busy pool", runs == 100 ? "" : "not every task ran");
  // What comes late finds nothing to do.
  for (const std::function<void()>& late : busy.waiting) late();
  report("busy pool", runs == 100 ? "" : "a task ran again");
}

}  // namespace
}  // namespace inox::test

int main(int argc, char** argv) {
  using namespace inox::test;
  const int64_t count = argc > 1 ? std::strtoll(argv[1], nullptr, 10) : 400;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const char* wanted = std::getenv("INOX_INSTRUCTION_SET");
  if (wanted && *wanted && std::strcmp(wanted, inox::kernels().instruction_set) != 0) {
    std::printf("%s: skipped, as here are only %s\n", wanted, inox::instruction_sets());
    return 0;
  }
  test_every_task_runs_once();
  test_a_busy_pool_is_not_waited_for();
  test_random_calls(count, seed);
  test_alignment_changes_nothing(count / 8, seed + 3000000);
  test_threads_change_nothing(count / 8, seed + 1000000);
  test_calls_at_once(count / 32, seed + 2000000);
  test_residuals(count, seed + 4000000);
  std::printf("%s: %d failures\n", inox::kernels().instruction_set, failures);
  return failures != 0;
}
