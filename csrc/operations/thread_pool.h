// A loop over tasks on threads that others own, without deadlock.
//
// The caller works too: it takes task after task from a common counter, as every thread does that
// the pool lends, and when none is left it waits for those tasks alone that are running. It never
// waits for a thread to become free, so any number of calls can be under way on a pool of any
// size, or on none. A thread that comes late finds no task left and touches nothing of the caller.
//
// What a task computes must depend on its number alone: then results don't depend on threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "operations/floating_point_environment.h"

namespace inox {

// What lends the threads.
class ThreadPool {
 public:
  virtual ~ThreadPool() = default;
  virtual int64_t thread_count() const = 0;
  // Runs `work` at some time on some thread; may throw where it can't.
  virtual void schedule(std::function<void()> work) = 0;
};

namespace internal {

struct Tasks {
  explicit Tasks(int64_t count, std::function<void(int64_t)> body)
      : count(count), body(std::move(body)) {}

  const int64_t count;
  // Refers to the caller's variables: called only while the caller waits.
  const std::function<void(int64_t)> body;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable all_done;

  void work() {
    KeepDenormals guard;
    int64_t finished = 0;
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count; ++finished) {
      body(task);
    }
    if (finished == 0) return;
    if (done.fetch_add(finished, std::memory_order_acq_rel) + finished == count) {
      // Under the lock, so that the caller is not between its check and its sleep.
      std::lock_guard<std::mutex> lock(mutex);
      all_done.notify_all();
    }
  }

  bool finished() const { return done.load(std::memory_order_acquire) == count; }

  void wait() {
    // The other tasks end soon: going to sleep would cost more than most waits.
    for (int spin = 0; spin < 4000 && !finished(); ++spin) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
    if (finished()) return;
    std::unique_lock<std::mutex> lock(mutex);
    all_done.wait(lock, [this] { return finished(); });
  }
};

// Has a thread of the pool work on the tasks; false where it can't.
inline bool lend(ThreadPool& pool, const std::shared_ptr<Tasks>& tasks) {
  try {
    pool.schedule([tasks] { tasks->work(); });
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace internal

// Calls body(task), which must not throw, for every task from 0 to count: on the caller's thread
// and on those of the pool, or without a pool on the caller's alone.
template <class Body>
void for_each_task(ThreadPool* pool, int64_t count, const Body& body) {
  const int64_t threads = pool ? std::min(pool->thread_count(), count) : 1;
  if (threads <= 1) {
    for (int64_t task = 0; task < count; ++task) body(task);
    return;
  }
  auto tasks = std::make_shared<internal::Tasks>(count, [&body](int64_t task) { body(task); });
  // Where a thread can't be had, those that there are do the work.
  for (int64_t thread = 1; thread < threads && internal::lend(*pool, tasks); ++thread) {
  }
  tasks->work();
  tasks->wait();
}

}  // namespace inox
