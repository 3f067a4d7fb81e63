// SPDX-License-Identifier: MIT
// Who makes the next pass, and who is told what came of it. See caller.h.
#include "runtime/generate/caller.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "common/error.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

// Between questions whether a caller that sleeps is to end.
constexpr std::chrono::milliseconds kPatience{20};

// How long a call waits for a seat while no call works: those that rest may be about to go on.
constexpr std::chrono::seconds kGiveUp{5};

bool is_end(const Event& event) {
    return event.kind == Event::Kind::ended || event.kind == Event::Kind::failed;
}

}  // namespace

// Of places: each caller has one, whether it has come or has a seat, or as many as it has
// sequences.
size_t SharedScheduler::reserved() const {
    size_t count = std::max(seats_.size(), callers_.size());
    for (const Caller* caller : callers_)
        count += std::max<size_t>(1, caller->sequences_.size()) - 1;
    return count;
}

// To those that wait, the first to ask first.
void SharedScheduler::give_seats() {
    for (Waiting& each : waiting_) {
        if (each.seat.empty()) continue;  // has been given, but has not yet seen it
        if (reserved() >= places_) break;
        seats_.splice(seats_.end(), each.seat);
        worked_ = std::chrono::steady_clock::now();
        seated_.notify_all();
    }
}

// Whether the calling thread, which waits for a seat, may get one.
bool SharedScheduler::may_come_free() const {
    const auto waits = [&](std::thread::id thread) {
        return std::ranges::any_of(
            waiting_, [&](const Waiting& each) { return each.by == thread && !each.seat.empty(); });
    };
    bool others = false;
    for (const Taken& each : seats_) {
        if (each.by == std::this_thread::get_id()) continue;
        others = true;
        if (each.working && !waits(each.by)) return true;
    }
    return others && std::chrono::steady_clock::now() - worked_ < kGiveUp;
}

Scheduler::Carried SharedScheduler::carried() const {
    const std::lock_guard lock(mutex_);
    return carried_;
}

// Whoever makes one pass after the other lets in those that wait here.
void SharedScheduler::wait_for_pass(std::unique_lock<std::mutex>& lock) {
    if (!making_) return;
    ++entering_;
    while (making_) passed_.wait(lock);
    if (--entering_ == 0) entered_.notify_all();
}

// Has one of those that wait make the next pass.
void SharedScheduler::wake_one() {
    for (Caller* caller : callers_)
        if (caller->waiting_ && !caller->has(caller->until_)) return caller->changed_.notify_one();
}

Seat::Seat(SharedScheduler& shared, const std::function<bool()>& interrupted) : shared_(shared) {
    std::list<SharedScheduler::Waiting> own(1);
    const auto waiting = own.begin();
    waiting->by = std::this_thread::get_id();
    waiting->seat.push_back({waiting->by});
    taken_ = waiting->seat.begin();
    std::unique_lock lock(shared_.mutex_);
    shared_.waiting_.splice(shared_.waiting_.end(), own);
    shared_.give_seats();
    std::exception_ptr thrown;
    try {
        while (!waiting->seat.empty()) {
            if (!shared_.may_come_free())
                fail(
                    "all {} of the plan are taken by calls that have not come to their end: end or "
                    "close one, or compile the plan with a larger --sequences",
                    counted(shared_.places_, "sequence"));
            shared_.seated_.wait_for(lock, kPatience);
            lock.unlock();  // the host's answer may take a while, and call us
            const bool ends = interrupted();
            lock.lock();
            if (ends) throw Interrupted();
        }
    } catch (...) {
        thrown = std::current_exception();
    }
    if (!lock.owns_lock()) lock.lock();
    const bool given = waiting->seat.empty();
    shared_.waiting_.erase(waiting);
    if (!thrown) return;
    if (given) shared_.seats_.erase(taken_);
    shared_.give_seats();
    std::rethrow_exception(thrown);
}

Seat::~Seat() {
    if (shared_.generation_ != fork_generation()) return;
    const std::lock_guard lock(shared_.mutex_);
    shared_.seats_.erase(taken_);
    shared_.worked_ = std::chrono::steady_clock::now();
    shared_.give_seats();
}

void Seat::set_working(bool working) {
    const std::lock_guard lock(shared_.mutex_);
    taken_->by = std::this_thread::get_id();
    taken_->working = working;
    shared_.worked_ = std::chrono::steady_clock::now();
}

Caller::Caller(SharedScheduler& shared, const Tokenizer* tokenizer, CallerOptions options)
    : shared_(shared), tokenizer_(tokenizer), options_(std::move(options)) {
    const std::lock_guard lock(shared_.mutex_);
    shared_.callers_.push_back(this);
}

Caller::~Caller() {
    if (shared_.generation_ != fork_generation()) return;
    const std::lock_guard lock(shared_.mutex_);
    shared_.callers_.remove(this);
    for (const SequenceId id : sequences_)
        if (shared_.making_)
            shared_.leaving_.push_back(id);  // by whoever makes the pass
        else
            shared_.scheduler_.remove(id);
    shared_.give_seats();
}

// Whoever waits for a seat goes before a caller's second sequence.
bool Caller::has_room() const {
    return sequences_.empty() || (shared_.waiting_.empty() && shared_.reserved() < shared_.places_);
}

SequenceId Caller::add(Request request) {
    sequences_.reserve(sequences_.size() + 1);
    shared_.leaving_.reserve(shared_.scheduler_.size() + 1);  // the destructor is to take no memory
    const SequenceId id = shared_.scheduler_.arrive(tokenizer_, std::move(request));
    sequences_.push_back(id);
    return id;
}

SequenceId Caller::arrive(Request request) {
    return shared_.between_passes([&](Scheduler&) { return add(std::move(request)); });
}

std::optional<SequenceId> Caller::arrive_if_room(Request& request) {
    return shared_.between_passes([&](Scheduler&) {
        return has_room() ? std::optional(add(std::move(request))) : std::nullopt;
    });
}

void Caller::remove(SequenceId id) {
    shared_.between_passes([&](Scheduler& scheduler) {
        std::erase(sequences_, id);
        std::erase_if(events_, [&](const Event& event) { return event.id == id; });
        scheduler.remove(id);
        shared_.give_seats();
    });
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
            const auto all = [&](auto is) {
                return std::ranges::all_of(
                    sequences_, [&](SequenceId id) { return is(shared_.scheduler_.at(id)); });
            };
            if (all([](const Sequence& sequence) { return sequence.ended(); })) break;
            if (all([](const Sequence& sequence) { return !sequence.wants_rows(); })) {
                if (!events_.empty()) break;         // until these are taken
                changed_.wait_for(lock, kPatience);  // for a place that others have
                continue;
            }
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
    shared_.carried_ = scheduler.carried();
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
