// SPDX-License-Identifier: MIT
// Counting by statement. See profiler.h.
#include "runtime/program/profiler.h"

namespace llmsql {

Profiler::Profiler(size_t statements, int workers)
    : workers_(static_cast<size_t>(workers)), items_(statements * workers_), stepped_(statements) {}

Profiler::Step::Step(std::optional<Profiler>& profiler, size_t statement, Compute& compute)
    : profiler_(profiler ? &*profiler : nullptr), statement_(statement), compute_(compute) {
    if (!profiler_) return;
    compute_.times = &profiler_->items_[statement_ * profiler_->workers_];
    before_ = compute_.workers.owner_time();
    weight_bytes_ = compute_.weight_bytes;
    watch_.emplace(&seconds_);
}

Profiler::Step::~Step() {
    if (!profiler_) return;
    watch_.reset();
    compute_.times = nullptr;
    const WorkTime after = compute_.workers.owner_time();
    Stepped& own = profiler_->stepped_[statement_];
    ++own.runs;
    own.weight_bytes += compute_.weight_bytes - weight_bytes_;
    own.sql += seconds_ - (after.owner_busy - before_.owner_busy) -
               (after.owner_waiting - before_.owner_waiting);
}

std::vector<StatementTime> Profiler::times() const {
    const auto workers = static_cast<double>(workers_);
    std::vector<StatementTime> times(stepped_.size());
    for (size_t i = 0; i < times.size(); ++i) {
        StatementTime& time = times[i];
        time.runs = stepped_[i].runs;
        time.weight_bytes = stepped_[i].weight_bytes;
        time.sql = stepped_[i].sql / workers;
        for (size_t worker = 0; worker < workers_; ++worker) {
            const ItemTime& items = items_[i * workers_ + worker];
            time.items += items.items;
            time.reading += items.reading / workers;
            time.computing += (items.seconds - items.reading) / workers;
            time.read_bytes += items.read_bytes;
        }
    }
    return times;
}

}  // namespace llmsql
