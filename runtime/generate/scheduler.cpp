// SPDX-License-Identifier: MIT
// Who gets which rows of a pass, and what comes of it. See scheduler.h.
#include "runtime/generate/scheduler.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

// Beside running answers, prompts get this part of a pass's rows, and as many at least: a long
// prompt then takes a few passes more, and the others' tokens come that much sooner.
constexpr size_t kPromptShare = 2, kLeastPromptRows = 32;

// Of answers that have ended, tokens that are remembered; and of the text before each.
constexpr size_t kMostSaid = 2048, kLeadIn = 8;

// Tokens of a common beginning from which on copying their keys and values is worth it.
constexpr size_t kWorthCopying = 32;

// Before the end of what is read of a prompt, where a snapshot is kept: templates end a question in
// words that the next one's history does not have there ("<think>"). And the least tokens from one
// snapshot to the next.
constexpr size_t kBeforeEnd = 16, kSnapshotEvery = 32;

size_t common_beginning(std::span<const int32_t> a, std::span<const int32_t> b) {
    const auto [differs, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
    return static_cast<size_t>(differs - a.begin());
}

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

}  // namespace

Scheduler::Scheduler(Program& program, std::set<int32_t> ends, Clock clock)
    : program_(program),
      ends_(std::move(ends)),
      clock_(clock ? std::move(clock) : Clock(seconds_now)),
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
    program_.cut(static_cast<int>(to), place);
    sequence.held_ = static_cast<size_t>(program_.rewind(static_cast<int>(to), place));
    sequence.known_ = to;
    sequence.told_ = false;
    places_[static_cast<size_t>(place)].tokens.assign(
        sequence.tokens_.begin(),
        sequence.tokens_.begin() + static_cast<ptrdiff_t>(sequence.held_));
    if (sequence.held_ + 1 < sequence.tokens_.size()) sequence.read_ = false;
}

void Scheduler::restored(SequenceId id, size_t held, size_t known) {
    Sequence& sequence = at(id);
    rewind(sequence, std::min(held, sequence.most_held()));
    sequence.known_ = std::max(sequence.known_, std::min(known, sequence.most_held()));
}

// Copies what another place holds of its beginning beyond what its own does.
void Scheduler::share_beginning(Sequence& sequence) {
    if (!program_.remembers()) return;
    const int to = *sequence.place_;
    size_t most = 0;
    int from = 0;
    for (size_t at = 0; at < places_.size(); ++at) {
        if (static_cast<int>(at) == to) continue;
        const size_t common =
            std::min(common_beginning(places_[at].tokens, sequence.tokens_), sequence.most_held());
        // Less, or nothing, where a window or a recurrent state has gone on.
        const auto held =
            static_cast<size_t>(program_.rewind(static_cast<int>(common), static_cast<int>(at)));
        if (held > most) {
            most = held;
            from = static_cast<int>(at);
        }
    }
    if (most < sequence.held_ + kWorthCopying) return;
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

// Where all are running answers: of what they guess, as many as are worth it, the likeliest first.
void Scheduler::add_drafts(std::span<Part> parts) {
    struct Guess {
        double gain;  // tokens to be expected of it
        size_t part;
    };
    std::vector<Guess> guesses;
    std::vector<std::vector<Draft>> drafts(parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
        Sequence& sequence = *parts[i].sequence;
        if (!sequence.is_running() || sequence.alone_) return;
        const size_t most = sequence.most_drafts();
        if (sequence.drafts_ == 0 || !sequence.request_.answered) continue;
        sequence.drafter(said_).propose(most, drafts[i]);
        double gain = 1;
        for (const Draft& draft : drafts[i]) guesses.push_back({gain *= draft.chance, i});
    }
    if (guesses.empty()) return;
    std::ranges::stable_sort(guesses, std::greater<>(), &Guess::gain);
    std::vector<double> gains;
    const size_t room = static_cast<size_t>(program_.chunk()) - parts.size();
    for (const Guess& guess : guesses)
        if (gains.size() < room) gains.push_back(guess.gain);
    const size_t count = costs_.worth_checking(parts.size(), gains);
    for (const Guess& guess : std::span(guesses).first(count)) ++parts[guess.part].count;
    for (size_t i = 0; i < parts.size(); ++i) {
        Part& part = parts[i];
        part.drafted = part.count > 1;
        if (!part.drafted) continue;
        part.forgotten = part.sequence->forgotten_;
        auto& checked = part.sequence->checked_;
        checked.assign(1, part.sequence->tokens_.back());
        for (const Draft& draft : std::span(drafts[i]).first(part.count - 1))
            checked.push_back(draft.token);
    }
}

// Where a pass is to leave a snapshot of the recurrent states; 0: nowhere. Of guesses it is not
// known which rows will count, so it is before them.
size_t Scheduler::snapshot_in(const Part& part) const {
    const RecurrentStates* const states = program_.states();
    if (!states || states->most_snapshots() == 0) return 0;
    const Sequence& sequence = *part.sequence;
    const size_t end = part.first + part.count;
    const bool running = sequence.is_running();
    const size_t at = running ? part.first : std::max(part.first, end - std::min(end, kBeforeEnd));
    const auto last = static_cast<size_t>(
        states->last_snapshot(*sequence.place_, static_cast<int64_t>(part.first)));
    const bool question = !running && end == sequence.tokens_.size();
    return question || at >= last + kSnapshotEvery ? at : 0;
}

void Scheduler::step(const Tokenizer* tokenizer, std::vector<Event>& events) {
    place_waiting();
    for (auto& [id, sequence] : sequences_)
        if (sequence->wants_rows() && !sequence->read_) share_beginning(*sequence);
    std::vector<Part> parts = plan_pass();
    if (parts.empty()) return;
    add_drafts(parts);
    const double start = clock_();
    size_t rows = 0;
    bool running = true;
    std::vector<Run> runs;
    for (const Part& part : parts) {
        const Sequence& sequence = *part.sequence;
        runs.push_back({part.drafted ? std::span(sequence.checked_)
                                     : std::span(sequence.tokens_).subspan(part.first, part.count),
                        static_cast<int>(part.first), *sequence.place_, part.drafted,
                        static_cast<int>(snapshot_in(part)), !sequence.is_running()});
        rows += part.count;
        running = running && sequence.is_running();
    }
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
        cut_drafts(parts);
    } catch (const Error&) {
        return fall_back(parts, events);
    } catch (...) {
        for (const Part& part : parts) rewind_unused(*part.sequence, part.first);
        throw;
    }
    if (running) costs_.note(rows, clock_() - start);
    for (const Part& part : parts) {
        Sequence& sequence = *part.sequence;
        if (sequence.ended_) continue;
        if (sequence.unread() == 0) {  // nothing is picked
            sequence.end(Ending::limit);
            tell_end(part.id, sequence, events);
        }
    }
}

// Guesses that were wrong were rows of the pass, but are none of the text.
void Scheduler::cut_drafts(std::span<const Part> parts) {
    for (const Part& part : parts) {
        Sequence& sequence = *part.sequence;
        if (!part.drafted || sequence.forgotten_ != part.forgotten) continue;
        if (!program_.cut(static_cast<int>(sequence.held_), *sequence.place_))
            rewind(sequence, sequence.held_);
    }
}

// A pass has failed, or the logits of one: each gets one of its own, or ends if it had that. What
// fails by a guess is nothing to the text.
void Scheduler::fall_back(std::span<const Part> parts, std::vector<Event>& events) {
    if (parts.size() == 1 && parts[0].drafted) {
        rewind_unused(*parts[0].sequence, parts[0].first);
        parts[0].sequence->undrafted_ = true;
        return;
    }
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

// What one text has answered the next may answer too: rows of a table that are asked the same.
void Scheduler::remember_answer(const Sequence& sequence) {
    if (sequence.drafts_ == 0 || sequence.answer_.empty()) return;
    const auto& tokens = sequence.tokens_;
    const size_t count = std::min({tokens.size(), sequence.answer_.size() + kLeadIn, kMostSaid});
    if (said_.size() + count > kMostSaid)
        said_.erase(said_.begin(),
                    said_.begin() + static_cast<ptrdiff_t>(said_.size() + count - kMostSaid));
    said_.insert(said_.end(), tokens.end() - static_cast<ptrdiff_t>(count), tokens.end());
}

void Scheduler::tell_end(SequenceId id, Sequence& sequence, std::vector<Event>& events) {
    Spoken last = sequence.finish();
    events.push_back({.id = id,
                      .kind = Event::Kind::ended,
                      .text = std::move(last.text),
                      .thinking = std::move(last.thinking),
                      .marks = std::move(last.marks)});
    remember_answer(sequence);
}

void Scheduler::note_reread(Sequence& sequence, size_t first, size_t count) {
    if (first >= sequence.known_ || !program_.remembers_ends_only()) return;
    carried_.reread += std::min(sequence.known_ - first, count);
    if (std::exchange(sequence.told_, true)) return;
    ++(first > 0 ? carried_.from_snapshot : carried_.from_start);
}

// What the cache now holds, and the rows whose logits are wanted. Guesses are not counted among
// what it holds before they are tokens.
std::vector<Scheduler::Wanted> Scheduler::note_pass(std::span<const Part> parts,
                                                    std::vector<Event>& events) {
    std::vector<Wanted> wanted;
    int row = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
        const Part& part = parts[i];
        Sequence& sequence = *part.sequence;
        const size_t count = part.drafted ? 1 : part.count, drafts = part.count - count;
        note_reread(sequence, part.first, count);
        sequence.held_ += count;
        sequence.alone_ = sequence.undrafted_ = false;
        sequence.drafted_ += drafts;
        if (!sequence.begun_) sequence.computed_ += count;
        if (sequence.unread() == 0) sequence.read_ = sequence.begun_ = true;
        auto& tokens = places_[static_cast<size_t>(*sequence.place_)].tokens;
        const auto from = sequence.tokens_.begin() + static_cast<ptrdiff_t>(part.first);
        tokens.insert(tokens.end(), from, from + static_cast<ptrdiff_t>(count));
        for (size_t n = 0; n < part.count; ++n, ++row)
            if (n >= count || sequence.wants_row(part.first + n))
                wanted.push_back({row, i, part.first + n});
        if (sequence.request_.tells_passes)
            events.push_back({.id = part.id, .kind = Event::Kind::passed});
        carried_.rows += part.count;
        carried_.drafted += drafts;
    }
    return wanted;
}

// Whether the row at `position` may still be of the text: it is what is picked that decides it.
bool Scheduler::may_come(const Part& part, size_t position) const {
    const Sequence& sequence = *part.sequence;
    const size_t n = position - part.first;
    if (!part.drafted || n == 0) return true;
    if (sequence.ended_ || sequence.forgotten_ != part.forgotten) return false;
    const size_t picked = sequence.tokens_.size() - 1 - part.first;
    return picked == 0 || sequence.tokens_.back() == sequence.checked_[picked];
}

// Whether the row at `position` is of the text: if it was a guess, it is a token from now on.
bool Scheduler::take_draft(const Part& part, size_t position) {
    Sequence& sequence = *part.sequence;
    if (!part.drafted || position == part.first) return true;
    if (!may_come(part, position) || sequence.tokens_.size() != position + 1) return false;
    places_[static_cast<size_t>(*sequence.place_)].tokens.push_back(sequence.tokens_.back());
    ++sequence.held_;
    ++sequence.accepted_;
    ++carried_.accepted;
    return true;
}

// As many rows beside each other as the plan gives at once.
void Scheduler::use_logits(std::span<const Part> parts, std::span<const Wanted> wanted,
                           const Tokenizer* tokenizer, std::vector<Event>& events) {
    const auto may_come = [&](size_t at) {
        return this->may_come(parts[wanted[at].part], wanted[at].position);
    };
    for (size_t at = 0; at < wanted.size();) {
        if (!may_come(at)) {
            ++at;
            continue;
        }
        size_t count = 1;
        while (at + count < wanted.size() && count < static_cast<size_t>(program_.logits_rows()) &&
               wanted[at + count].row == wanted[at].row + static_cast<int>(count) &&
               may_come(at + count))
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
    if (sequence.ended_ || !take_draft(part, position)) return;
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
