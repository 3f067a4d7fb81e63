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
      text_(request_.options.stops) {
    check_options(request_.options);
    context_ = context_of(program, request_.options).tokens;
    batch_ = batch_of(program, request_.options);
    const auto& resumed = request_.resumed;
    tokens_ = resumed ? resumed->tokens : std::move(request_.tokens);
    const size_t most = context_ + (resumed ? 1 : 0);
    if (tokens_.empty() || tokens_.size() > most)
        fail("a text of {} for a context of {}", counted(tokens_.size(), "token"), context_);
    keep_ = resumed ? static_cast<size_t>(std::max<int64_t>(0, resumed->keep))
                    : keep_of(request_.options, tokens_.size());
    if (request_.random) sampler_.set_state(*request_.random);
    if (resumed) {
        sampler_.set_state(resumed->random);
        answer_ = resumed->answer;
        for (const int32_t token : answer_)
            shown_before_ += text_.push(tokenizer->shown_text(token));
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
    Picked picked{token, text_.push(tokenizer.shown_text(token))};
    if (request_.logprobs) picked.logprob = log_probability(logits, token);
    end_if_due();
    return picked;
}

}  // namespace llmsql
