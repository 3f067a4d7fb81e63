// SPDX-License-Identifier: MIT
// What a rendering may use. A template is a program from somebody else: it may loop, recurse and
// double texts for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace llmsql::jinja {

class Object;

struct Limits {
    int64_t steps = 50'000'000;     // nodes of the template visited, and work on long texts
    int64_t memory = 256 << 20;     // bytes that its values hold at one time
    size_t output = 64 << 20;       // bytes of the text made
    int depth = 500;                // of nested statements, expressions and calls
    std::function<void()> pulse{};  // called now and then; may throw to end the rendering
};

/// Counts for the rendering that the thread is in. Values made outside of one are not counted.
class Meter {
  public:
    explicit Meter(const Limits& limits) : limits_(limits), outer_(current_) { current_ = this; }
    Meter(const Meter&) = delete;
    Meter& operator=(const Meter&) = delete;
    ~Meter();

    static Meter* current() { return current_; }

    /// Work of a size: fails where it was too much.
    static void step(int64_t count = 1);
    /// Fails if a text of so many characters, or a list of so many values, would be too large to
    /// hold: asked before it is made.
    static void allow(size_t count, size_t each);

    /// What can change, and so can come to hold itself: it lives until the rendering ends, and is
    /// emptied then.
    void keep(std::shared_ptr<Object> object) { kept_.push_back(std::move(object)); }

    void take(int64_t bytes);
    void give(int64_t bytes) { held_ -= bytes; }

  private:
    static thread_local Meter* current_;
    const Limits& limits_;
    Meter* const outer_;
    int64_t steps_ = 0, told_ = 0, held_ = 0;
    std::vector<std::shared_ptr<Object>> kept_;
};

/// Bytes counted as long as it lives.
class Counted {
  public:
    explicit Counted(size_t bytes) : meter_(Meter::current()), bytes_(static_cast<int64_t>(bytes)) {
        if (meter_) meter_->take(bytes_);
    }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() {
        if (meter_) meter_->give(bytes_);
    }
    void grow(size_t bytes) {
        if (meter_) meter_->take(static_cast<int64_t>(bytes));
        bytes_ += static_cast<int64_t>(bytes);
    }

  private:
    Meter* meter_;
    int64_t bytes_;
};

}  // namespace llmsql::jinja
