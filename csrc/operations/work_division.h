// How work is divided into tasks: by shape alone.
#pragma once

#include <algorithm>
#include <cstdint>

namespace inox {

// A task reads about this much: large against the cost of handing it out, small enough to be
// balanced over threads and to stay in a cache close to its core.
inline constexpr int64_t kTaskBytes = 256 << 10;
// Below this a call runs on the caller's thread: waking another one takes as long.
inline constexpr int64_t kInlineBytes = 64 << 10;

class ThreadPool;

// The pool for a call that reads so much; none for a small one.
inline ThreadPool* unless_small(ThreadPool* pool, int64_t bytes) {
  return bytes < kInlineBytes ? nullptr : pool;
}

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// `inner` items in each of `outer` groups, divided into parts of consecutive items; a part never
// spans two groups. Where parts are small a task takes several.
struct Parts {
  int64_t outer, inner;
  int64_t size;       // items in a part
  int64_t per_outer;  // parts in a group
  int64_t per_task;

  // At least `least` items are in a part, and at most `most` parts in a group.
  Parts(int64_t outer, int64_t inner, int64_t item_bytes, int64_t least, int64_t most)
      : outer(outer), inner(inner) {
    const int64_t bytes = std::max<int64_t>(1, inner * item_bytes);
    int64_t parts = std::min({bytes / kTaskBytes, inner / std::max<int64_t>(1, least), most});
    parts = std::max<int64_t>(1, parts);
    size = std::max<int64_t>(1, divide_up(inner, parts));
    per_outer = std::max<int64_t>(1, divide_up(inner, size));
    per_task = std::max<int64_t>(1, kTaskBytes * per_outer / bytes);
  }

  int64_t count() const { return outer * per_outer; }
  int64_t tasks() const { return divide_up(count(), per_task); }

  // Calls body(part, outer index, first item, end) for the parts of a task.
  template <class Body>
  void for_each_of(int64_t task, const Body& body) const {
    const int64_t end = std::min(count(), (task + 1) * per_task);
    for (int64_t part = task * per_task; part < end; ++part) {
      const int64_t begin = part % per_outer * size;
      body(part, part / per_outer, begin, std::min(inner, begin + size));
    }
  }
};

}  // namespace inox
