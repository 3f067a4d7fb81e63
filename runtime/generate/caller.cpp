// SPDX-License-Identifier: MIT
// Who makes the next pass, and who is told what came of it. See caller.h.
#include "runtime/generate/caller.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

// Between questions whether a caller that sleeps is to end.
constexpr std::chrono::milliseconds kPatience{20};

bool is_end(const Event& event) {
    return event.kind == Event::Kind::ended || event.kind == Event::Kind::failed;
}

}  // namespace

// Of places: each caller has one, or as many as it has sequences.
size_t SharedScheduler::reserved() const {
    size_t count = 0;
    for (const Caller* caller : callers_) count += std::max<size_t>(1, caller->sequences_.size());
    return count;
}

bool SharedScheduler::has_room() const {
    const std::lock_guard lock(mutex_);
    return reserved() < scheduler_.places();
}

// Has one of those that wait make the next pass.
void SharedScheduler::wake_one() {
    for (Caller* caller : callers_)
        if (caller->waiting_ && !caller->has(caller->until_)) return caller->changed_.notify_one();
}

Caller::Caller(SharedScheduler& shared, const Tokenizer* tokenizer, CallerOptions options)
    : shared_(shared), tokenizer_(tokenizer), options_(std::move(options)) {
    const std::lock_guard lock(shared_.mutex_);
    shared_.callers_.push_back(this);
}

Caller::~Caller() {
    const std::lock_guard lock(shared_.mutex_);
    shared_.callers_.remove(this);
    for (const SequenceId id : sequences_)
        if (shared_.making_)
            shared_.leaving_.push_back(id);  // by whoever makes the pass
        else
            shared_.scheduler_.remove(id);
}

size_t Caller::room() const {
    const std::lock_guard lock(shared_.mutex_);
    const size_t reserved = shared_.reserved(), places = shared_.scheduler_.places();
    const size_t own = sequences_.empty() ? 1 : 0;  // is reserved already
    return own + (places > reserved ? places - reserved : 0);
}

// Callers that make one pass after the other let in whoever waits here.
void Caller::wait_for_pass(std::unique_lock<std::mutex>& lock) {
    if (!shared_.making_) return;
    ++shared_.entering_;
    while (shared_.making_) shared_.passed_.wait(lock);
    if (--shared_.entering_ == 0) shared_.entered_.notify_all();
}

SequenceId Caller::arrive(Request request) {
    std::unique_lock lock(shared_.mutex_);
    wait_for_pass(lock);
    sequences_.reserve(sequences_.size() + 1);
    shared_.leaving_.reserve(shared_.scheduler_.size() + 1);  // the destructor is to take no memory
    const SequenceId id = shared_.scheduler_.arrive(tokenizer_, std::move(request));
    sequences_.push_back(id);
    return id;
}

void Caller::remove(SequenceId id) {
    std::unique_lock lock(shared_.mutex_);
    wait_for_pass(lock);
    std::erase(sequences_, id);
    std::erase_if(events_, [&](const Event& event) { return event.id == id; });
    shared_.scheduler_.remove(id);
}

bool Caller::has(Until until) const {
    return until == Until::something ? !events_.empty() : std::ranges::any_of(events_, is_end);
}

bool Caller::asked_to_end() {
    interrupted_ = options_.interrupted();
    return interrupted_;
}

std::vector<Event> Caller::wait(Until until) {
    std::unique_lock lock(shared_.mutex_);
    until_ = until;
    waiting_ = true;
    interrupted_ = false;
    try {
        while (!has(until)) {
            // The host's answer may take a while, and call us.
            lock.unlock();
            const bool ends = asked_to_end();
            lock.lock();
            if (ends || has(until)) break;
            if (shared_.making_) {
                changed_.wait_for(lock, kPatience);
                continue;
            }
            if (shared_.entering_ > 0) {
                shared_.entered_.wait(lock);
                continue;
            }
            let_rest();
            if (std::ranges::none_of(sequences_, [&](SequenceId id) {
                    return shared_.scheduler_.at(id).wants_rows();
                }))
                break;
            make_pass(lock);
        }
    } catch (...) {
        waiting_ = false;
        shared_.wake_one();
        throw;
    }
    waiting_ = false;
    if (!shared_.making_) shared_.wake_one();
    return std::exchange(events_, {});
}

// Before a pass: sequences of readers that have not taken what there is get no rows.
void Caller::let_rest() {
    for (const Caller* caller : shared_.callers_) {
        const size_t ahead = caller->options_.ahead, untaken = caller->events_.size();
        const bool rests =
            caller->waiting_ ? ahead == 0 && untaken > 0 : ahead == 0 || untaken > ahead;
        for (const SequenceId id : caller->sequences_) shared_.scheduler_.rest(id, rests);
    }
}

void Caller::make_pass(std::unique_lock<std::mutex>& lock) {
    Scheduler& scheduler = shared_.scheduler_;
    std::vector<Event> events;
    std::exception_ptr thrown;
    shared_.making_ = true;
    lock.unlock();
    try {
        if (options_.within_passes) scheduler.program().on_interrupt(options_.interrupted);
        scheduler.step(tokenizer_, events);
    } catch (...) {
        thrown = std::current_exception();
    }
    scheduler.program().on_interrupt(nullptr);
    lock.lock();
    shared_.making_ = false;
    for (const SequenceId id : std::exchange(shared_.leaving_, {})) scheduler.remove(id);
    deliver(events);
    shared_.passed_.notify_all();
    if (thrown) std::rethrow_exception(thrown);
}

void Caller::deliver(std::vector<Event>& events) {
    for (Caller* caller : shared_.callers_) {
        for (Event& event : events)
            if (std::ranges::find(caller->sequences_, event.id) != caller->sequences_.end())
                caller->events_.push_back(std::move(event));
        if (caller != this && caller->waiting_ && caller->has(caller->until_))
            caller->changed_.notify_one();
    }
}

}  // namespace llmsql
