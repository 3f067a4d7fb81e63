// SPDX-License-Identifier: MIT
// Who gets which rows of a pass, and what comes of it. See scheduler.h.
#include "runtime/generate/scheduler.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

// Beside running answers, prompts get this part of a pass's rows, and as many at least: a long
// prompt then takes a few passes more, and the others' tokens come that much sooner.
constexpr size_t kPromptShare = 2, kLeastPromptRows = 32;

// Tokens of a common beginning from which on copying their keys and values is worth it.
constexpr size_t kWorthCopying = 32;

size_t common_beginning(std::span<const int32_t> a, std::span<const int32_t> b) {
    const auto [differs, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    return static_cast<size_t>(differs - a.begin());
}

}  // namespace

Scheduler::Scheduler(Program& program, std::set<int32_t> ends)
    : program_(program),
      ends_(std::move(ends)),
      places_(static_cast<size_t>(std::clamp(program.sequences(), 1, program.chunk()))) {}

size_t Scheduler::free_places() const {
    return static_cast<size_t>(
        std::ranges::count_if(places_, [](const Place& place) { return !place.taken; }));
}

SequenceId Scheduler::arrive(const Tokenizer* tokenizer, Request request) {
    auto sequence = std::make_unique<Sequence>(program_, tokenizer, ends_, std::move(request));
    const SequenceId id = next_++;
    sequences_.emplace(id, std::move(sequence));
    place_waiting();
    return id;
}

SequenceId Scheduler::fork(const Tokenizer* tokenizer, SequenceId of,
                           const GenerateOptions& options) {
    Request request;
    request.tokens = at(of).tokens();
    request.options = options;
    return arrive(tokenizer, std::move(request));
}

void Scheduler::remove(SequenceId id) {
    const auto found = sequences_.find(id);
    if (found == sequences_.end()) return;
    if (const auto place = found->second->place_)
        places_[static_cast<size_t>(*place)].taken = false;
    sequences_.erase(found);
    place_waiting();
}

void Scheduler::place_waiting() {
    for (auto& [id, sequence] : sequences_)
        if (!sequence->place_) {
            if (free_places() == 0) return;
            place(*sequence, choose_place(*sequence));
        }
}

// The free place that holds most of its beginning; but what others may begin with is not given up
// for less than half of it while there is another: one that was never used, or that was left
// longest ago.
size_t Scheduler::choose_place(const Sequence& sequence) const {
    std::optional<size_t> best, oldest;
    size_t most = 0;
    for (size_t at = 0; at < places_.size(); ++at) {
        const Place& place = places_[at];
        if (place.taken) continue;
        if (!oldest || place.used < places_[*oldest].used) oldest = at;
        const size_t common = common_beginning(place.tokens, sequence.tokens_);
        if (common > most && 2 * common >= place.tokens.size()) {
            best = at;
            most = common;
        }
    }
    return best.value_or(*oldest);
}

void Scheduler::place(Sequence& sequence, size_t at) {
    Place& place = places_[at];
    place.taken = true;
    place.used = ++time_;
    sequence.place_ = static_cast<int>(at);
    rewind(sequence,
           std::min(common_beginning(place.tokens, sequence.tokens_), sequence.most_held()));
    share_beginning(sequence);
}

// Has the cache hold no more than the first `to` of its tokens: as many as it then holds.
void Scheduler::rewind(Sequence& sequence, size_t to) {
    const int place = *sequence.place_;
    sequence.held_ = static_cast<size_t>(program_.rewind(static_cast<int>(to), place));
    places_[static_cast<size_t>(place)].tokens.assign(
        sequence.tokens_.begin(),
        sequence.tokens_.begin() + static_cast<ptrdiff_t>(sequence.held_));
    if (sequence.held_ + 1 < sequence.tokens_.size()) sequence.read_ = false;
}

void Scheduler::restored(SequenceId id, size_t held) {
    Sequence& sequence = at(id);
    rewind(sequence, std::min(held, sequence.most_held()));
}

// Copies what another place holds of its beginning beyond what its own does.
void Scheduler::share_beginning(Sequence& sequence) {
    if (!program_.remembers()) return;
    const int to = *sequence.place_;
    size_t most = 0;
    int from = 0;
    for (size_t at = 0; at < places_.size(); ++at) {
        const size_t common =
            std::min(common_beginning(places_[at].tokens, sequence.tokens_), sequence.most_held());
        if (static_cast<int>(at) != to && common > most) {
            most = common;
            from = static_cast<int>(at);
        }
    }
    if (most < sequence.held_ + kWorthCopying) return;
    // Not where a window, or a recurrent state, has gone on.
    if (program_.copy(from, to, static_cast<int>(most))) rewind(sequence, most);
}

// Whether a sequence that came before is reading a beginning that the two have in common: that is
// to be computed once.
bool Scheduler::waits_for_another(SequenceId id, const Sequence& sequence) const {
    if (!program_.remembers() || sequence.alone_) return false;
    for (const auto& [other_id, other] : sequences_) {
        if (other_id == id) break;
        if (!other->wants_rows() || other->read_ || other->alone_) continue;
        const size_t common = std::min(common_beginning(other->tokens_, sequence.tokens_),
                                       std::min(other->most_held(), sequence.most_held()));
        if (common >= sequence.held_ + kWorthCopying && other->held_ < common) return true;
    }
    return false;
}

// Rows after which another that waits can begin with what the sequence then holds, where that can
// be had of its end alone: so many rows at most are computed at once.
size_t Scheduler::rows_for_others(SequenceId id, const Sequence& sequence) const {
    size_t rows = sequence.unread();
    if (!program_.remembers_ends_only()) return rows;
    for (const auto& [other_id, other] : sequences_) {
        if (other_id <= id || !other->wants_rows() || other->read_ || other->alone_) continue;
        const size_t common = std::min(common_beginning(other->tokens_, sequence.tokens_),
                                       std::min(other->most_held(), sequence.most_held()));
        if (common > sequence.held_ && common >= other->held_ + kWorthCopying)
            rows = std::min(rows, common - sequence.held_);
    }
    return rows;
}

bool Scheduler::is_busy() const {
    return std::ranges::any_of(sequences_,
                               [](const auto& entry) { return entry.second->wants_rows(); });
}

// Running answers come first, so that their logits are rows beside each other; prompts share what
// room there is, the shortest first, so that none waits for a long one.
std::vector<Scheduler::Part> Scheduler::plan_pass() const {
    std::vector<Part> parts, prompts;
    for (const auto& [id, sequence] : sequences_) {
        if (!sequence->wants_rows()) continue;
        const Part part{id, sequence.get(), sequence->held_, sequence->unread()};
        if (sequence->alone_)
            return {{id, part.sequence, part.first, std::min(part.count, sequence->batch_)}};
        if (sequence->is_running())
            parts.push_back(part);
        else if (!waits_for_another(id, *sequence))
            prompts.push_back(part);
    }
    std::ranges::stable_sort(prompts, {}, [](const Part& part) { return part.count; });
    const auto chunk = static_cast<size_t>(program_.chunk());
    size_t room = chunk - parts.size();
    if (!parts.empty()) room = std::min(room, std::max(chunk / kPromptShare, kLeastPromptRows));
    room = std::max(room, prompts.size());
    for (size_t i = 0; i < prompts.size(); ++i) {
        Part& part = prompts[i];
        // Each gets as much, and what the shorter ones leave goes to the longer.
        const size_t share = room / (prompts.size() - i);
        part.count = std::min(
            {part.count, share, part.sequence->batch_, rows_for_others(part.id, *part.sequence)});
        room -= part.count;
        parts.push_back(part);
    }
    return parts;
}

void Scheduler::step(const Tokenizer* tokenizer, std::vector<Event>& events) {
    place_waiting();
    for (auto& [id, sequence] : sequences_)
        if (sequence->wants_rows() && !sequence->read_) share_beginning(*sequence);
    const std::vector<Part> parts = plan_pass();
    if (parts.empty()) return;
    std::vector<Run> runs;
    for (const Part& part : parts)
        runs.push_back({std::span(part.sequence->tokens_).subspan(part.first, part.count),
                        static_cast<int>(part.first), *part.sequence->place_});
    try {
        program_.forward(runs);
    } catch (const Error&) {
        return fall_back(parts, events);
    } catch (...) {
        for (const Part& part : parts) rewind_unused(*part.sequence, part.first);
        throw;
    }
    ++carried_.passes;
    const std::vector<Wanted> wanted = note_pass(parts, events);
    try {
        use_logits(parts, wanted, tokenizer, events);
    } catch (const Error&) {
        return fall_back(parts, events);
    } catch (...) {
        for (const Part& part : parts) rewind_unused(*part.sequence, part.first);
        throw;
    }
    for (const Part& part : parts) {
        Sequence& sequence = *part.sequence;
        if (sequence.ended_) continue;
        if (sequence.unread() == 0) {  // nothing is picked
            sequence.end(Ending::limit);
            tell_end(part.id, sequence, events);
        }
    }
}

// A pass has failed, or the logits of one: each gets one of its own, or ends if it had that.
void Scheduler::fall_back(std::span<const Part> parts, std::vector<Event>& events) {
    if (parts.size() == 1) return fail(parts[0], events);
    for (const Part& part : parts) {
        rewind_unused(*part.sequence, part.first);
        part.sequence->alone_ = !part.sequence->ended_;
    }
}

// After a pass of it that began at `first` and failed, or whose logits did: back as far as what has
// not been used of it.
void Scheduler::rewind_unused(Sequence& sequence, size_t first) {
    if (sequence.ended_) return;
    size_t to = sequence.held_;
    if (sequence.request_.rows) to = std::clamp(sequence.next_row_, std::min(first, to), to);
    rewind(sequence, std::min(to, sequence.tokens_.size() - 1));
}

void Scheduler::fail(const Part& part, std::vector<Event>& events) {
    part.sequence->end(Ending::interrupted);
    events.push_back(
        {.id = part.id, .kind = Event::Kind::failed, .error = std::current_exception()});
}

void Scheduler::tell_end(SequenceId id, Sequence& sequence, std::vector<Event>& events) {
    events.push_back({.id = id, .kind = Event::Kind::ended, .text = sequence.finish()});
}

// What the cache now holds, and the rows whose logits are wanted.
std::vector<Scheduler::Wanted> Scheduler::note_pass(std::span<const Part> parts,
                                                    std::vector<Event>& events) {
    std::vector<Wanted> wanted;
    int row = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
        const auto& [id, sequence, first, count] = parts[i];
        sequence->held_ += count;
        sequence->alone_ = false;
        if (!sequence->begun_) sequence->computed_ += count;
        if (sequence->unread() == 0) sequence->read_ = sequence->begun_ = true;
        auto& tokens = places_[static_cast<size_t>(*sequence->place_)].tokens;
        const auto from = sequence->tokens_.begin() + static_cast<ptrdiff_t>(first);
        tokens.insert(tokens.end(), from, from + static_cast<ptrdiff_t>(count));
        for (size_t n = 0; n < count; ++n, ++row)
            if (sequence->wants_row(first + n)) wanted.push_back({row, i, first + n});
        if (sequence->request_.tells_passes)
            events.push_back({.id = id, .kind = Event::Kind::passed});
        carried_.rows += count;
    }
    return wanted;
}

// As many rows beside each other as the plan gives at once.
void Scheduler::use_logits(std::span<const Part> parts, std::span<const Wanted> wanted,
                           const Tokenizer* tokenizer, std::vector<Event>& events) {
    for (size_t at = 0; at < wanted.size();) {
        size_t count = 1;
        while (at + count < wanted.size() && count < static_cast<size_t>(program_.logits_rows()) &&
               wanted[at + count].row == wanted[at].row + static_cast<int>(count))
            ++count;
        const Logits logits = program_.logits(wanted[at].row, static_cast<int>(count));
        for (size_t i = 0; i < count; ++i)
            use_row(parts[wanted[at + i].part], wanted[at + i].position,
                    logits.row(static_cast<int>(i)), tokenizer, events);
        at += count;
    }
}

void Scheduler::use_row(const Part& part, size_t position, std::span<const float> logits,
                        const Tokenizer* tokenizer, std::vector<Event>& events) {
    Sequence& sequence = *part.sequence;
    if (sequence.ended_) return;
    try {
        if (sequence.gives_row(position)) {
            sequence.next_row_ = position + 1;
            sequence.request_.rows->take(position, logits);
        }
        if (!sequence.request_.answered || position + 1 != sequence.tokens_.size()) return;
        const uint64_t forgotten = sequence.forgotten_;
        std::optional<Picked> picked;
        program_.with_idle_workers(
            [&](Workers* workers) { picked = sequence.pick(logits, *tokenizer, workers); });
        if (picked)
            events.push_back({.id = part.id,
                              .kind = Event::Kind::picked,
                              .text = picked->text,
                              .picked = *picked});
        if (sequence.forgotten_ != forgotten) rewind(sequence, sequence.keep_);
        if (sequence.ended_) tell_end(part.id, sequence, events);
    } catch (...) {
        fail(part, events);
    }
}

}  // namespace llmsql
