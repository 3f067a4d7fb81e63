// SPDX-License-Identifier: MIT
// What is picked, and what ends a text. See sequence.h.
#include "runtime/generate/sequence.h"

#include <algorithm>
#include <random>

#include "common/error.h"
#include "runtime/generate/score.h"

namespace llmsql {
namespace {

/// `seed`, or one from the system where it is negative.
uint64_t seed_or_random(int64_t seed) {
    if (seed >= 0) return static_cast<uint64_t>(seed);
    std::random_device random;
    return (static_cast<uint64_t>(random()) << 32) | random();
}

}  // namespace

size_t keep_of(const GenerateOptions& options, size_t prompt) {
    if (!options.keep) return 0;
    return *options.keep < 0 ? prompt : static_cast<size_t>(*options.keep);
}

std::set<int32_t> end_tokens(Program& program, const Tokenizer& tokenizer) {
    std::set<int32_t> ends(tokenizer.ends().begin(), tokenizer.ends().end());
    for (const std::string& piece : program.chat().stop_pieces()) {
        const auto token = tokenizer.find_piece(piece);
        if (!token) fail("the plan stops at '{}', which is no token of this model", piece);
        ends.insert(*token);
    }
    return ends;
}

void require_context(const Program& program, int tokens) {
    if (tokens > program.context())
        fail(
            "option 'context': {}; the plan's context is {}, llmsqlc --context {} makes a larger "
            "one",
            counted(static_cast<uint64_t>(tokens), "token"), program.context(), tokens);
}

ContextLimit context_of(const Program& program, const GenerateOptions& options) {
    const int context = options.context.value_or(program.context());
    require_context(program, context);
    return {static_cast<size_t>(context), static_cast<size_t>(program.context())};
}

size_t batch_of(const Program& program, const GenerateOptions& options) {
    return static_cast<size_t>(std::min(options.batch.value_or(program.chunk()), program.chunk()));
}

size_t drafts_of(const Program& program, const GenerateOptions& options) {
    const int drafts = options.drafts.value_or(program.drafts());
    if (drafts > program.drafts())
        fail(
            "option 'drafts': {}; the plan has room for {}, llmsqlc --drafts {} makes one for more",
            counted(static_cast<uint64_t>(drafts), "token"), program.drafts(), drafts);
    return static_cast<size_t>(drafts);
}

Sampler make_sampler(const GenerateOptions& options, const std::set<int32_t>& ends) {
    return {options.sampler, seed_or_random(options.seed),
            options.ignore_end ? std::vector<int32_t>(ends.begin(), ends.end())
                               : std::vector<int32_t>()};
}

Sequence::Sequence(const Program& program, const Tokenizer* tokenizer,
                   const std::set<int32_t>& ends, Request request)
    : request_(std::move(request)),
      ends_(ends),
      sampler_(make_sampler(request_.options, ends)),
      text_(request_.options.stops, request_.form) {
    check_options(request_.options);
    context_ = context_of(program, request_.options).tokens;
    batch_ = batch_of(program, request_.options);
    drafts_ = drafts_of(program, request_.options);
    const auto& resumed = request_.resumed;
    tokens_ = resumed ? resumed->tokens : std::move(request_.tokens);
    const size_t most = context_ + (resumed ? 1 : 0);
    if (tokens_.empty() || tokens_.size() > most)
        fail("a text of {} for a context of {}", counted(tokens_.size(), "token"), context_);
    keep_ = resumed ? static_cast<size_t>(std::max<int64_t>(0, resumed->keep))
                    : keep_of(request_.options, tokens_.size());
    if (request_.random) sampler_.set_state(*request_.random);
    if (request_.form && tokenizer) {
        // Of an answer that goes on, its own tokens are no part of what was read before it: all
        // that is there of a long one, perhaps.
        const size_t own = resumed ? std::min(resumed->answer.size(), tokens_.size()) : 0;
        text_.begin(std::span(tokens_).first(tokens_.size() - own), *tokenizer);
    }
    if (resumed) {
        sampler_.set_state(resumed->random);
        answer_ = resumed->answer;
        for (const int32_t token : answer_) {
            const Spoken said = text_.push(token, *tokenizer);
            shown_before_.thinking += said.thinking;
            shown_before_.text += said.text;
        }
        end_if_due();
    }
}

AnswerState Sequence::state() const {
    return {tokens_, answer_, static_cast<int64_t>(keep_), sampler_.state()};
}

// The last token is computed in any case, for its logits.
size_t Sequence::most_held() const {
    const size_t most = tokens_.size() - 1;
    return request_.rows ? std::min(most, request_.rows->from) : most;
}

bool Sequence::gives_row(size_t position) const {
    const auto& rows = request_.rows;
    return rows && position >= std::max(rows->from, next_row_) && position < rows->to;
}

bool Sequence::wants_row(size_t position) const {
    if (gives_row(position)) return true;
    return request_.answered && position + 1 == tokens_.size() &&
           !(request_.options.predict == 0 && answer_.empty());
}

void Sequence::end(Ending ending) {
    ended_ = true;
    ending_ = ending;
}

// Forgets the older half of what comes after the first keep_ tokens, to go on with the token picked
// last. False if there is nothing to forget.
bool Sequence::make_room() {
    const size_t full = tokens_.size() - 1;
    if (!request_.options.keep || full < keep_ + 2) return false;
    const size_t forget = (full - keep_ + 1) / 2;
    const auto first = tokens_.begin() + static_cast<ptrdiff_t>(keep_);
    tokens_.erase(first, first + static_cast<ptrdiff_t>(forget));
    ++forgotten_;
    return true;
}

// Guesses that a pass may check now: as many tokens as may come, each of which has a place.
size_t Sequence::most_drafts() const {
    if (!request_.answered || undrafted_) return 0;
    const size_t count = answer_.size();
    size_t most = std::min(drafts_, batch_ - 1);
    most = std::min(most, context_ - std::min(context_, tokens_.size()));
    if (request_.options.predict >= 0) {
        const auto all = static_cast<size_t>(request_.options.predict);
        most = std::min(most, all - std::min(all, count + 1));
    }
    return most;
}

// Made when it is first asked for, then with what others have said beside its own text.
Drafter& Sequence::drafter(std::span<const int32_t> others) {
    if (!drafter_) {
        auto drafter = std::make_unique<TextDrafter>(context_);
        drafter->read(others.last(std::min(others.size(), context_ / 4)));
        drafter->read(tokens_);
        drafter_ = std::move(drafter);
    }
    return *drafter_;
}

// Ends what is at its end, or makes room for the token picked last.
void Sequence::end_if_due() {
    const auto count = static_cast<int64_t>(answer_.size());
    if (text_.stopped()) return end(Ending::stop_text);
    if (request_.options.predict >= 0 && count >= request_.options.predict && count > 0)
        return end(Ending::limit);
    if (tokens_.size() > context_ && !make_room()) end(Ending::context_full);
}

std::optional<Picked> Sequence::pick(std::span<const float> logits, const Tokenizer& tokenizer,
                                     Workers* workers) {
    const int32_t token = sampler_.sample(logits, tokens_, workers);
    answer_.push_back(token);
    if (!request_.options.ignore_end && ends_.contains(token)) {
        end(Ending::end_token);
        return std::nullopt;
    }
    tokens_.push_back(token);
    if (drafter_) drafter_->picked(token);
    Spoken said = text_.push(token, tokenizer);
    Picked picked{
        .token = token, .text = std::move(said.text), .thinking = std::move(said.thinking)};
    if (request_.logprobs) picked.logprob = log_probability(logits, token);
    end_if_due();
    return picked;
}

}  // namespace llmsql
