// SPDX-License-Identifier: MIT
// Prefill, decode, and shifting a full context. See generator.h.
#include "runtime/generate/generator.h"

#include <algorithm>
#include <random>
#include <utility>

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

int context_of(const Program& program, const GenerateOptions& options) {
    const int context = options.context.value_or(program.context());
    require_context(program, context);
    return context;
}

size_t batch_of(const Program& program, const GenerateOptions& options) {
    return static_cast<size_t>(std::min(options.batch.value_or(program.chunk()), program.chunk()));
}

Sampler make_sampler(const GenerateOptions& options, const std::set<int32_t>& ends) {
    return {options.sampler, seed_or_random(options.seed),
            options.ignore_end ? std::vector<int32_t>(ends.begin(), ends.end())
                               : std::vector<int32_t>()};
}

Generator::Generator(Program& program, Tokenizer& tokenizer, const GenerateOptions& options,
                     std::function<bool()> interrupted)
    : program_(program),
      tokenizer_(tokenizer),
      interrupted_(std::move(interrupted)),
      ends_(end_tokens(program, tokenizer)) {
    set_options(options);
}

void Generator::set_options(const GenerateOptions& options) {
    check_options(options);
    context_ = context_of(program_, options);
    batch_ = batch_of(program_, options);
    options_ = options;
    sampler_.emplace(make_sampler(options, ends_));
}

bool Generator::prefill(std::span<const int32_t> tokens) {
    const auto [differs, unused] =
        std::mismatch(held_.begin(), held_.end(), tokens.begin(), tokens.end());
    auto same = static_cast<size_t>(differs - held_.begin());
    // The last token is computed in any case, for its logits.
    const size_t most = tokens.size() - 1;
    const auto rewind = [&](size_t to) {
        return static_cast<size_t>(program_.rewind(static_cast<int>(to)));
    };
    size_t held = rewind(std::min(same, most));
    held_.clear();  // should restoring fail, nothing can be said of what the cache holds
    if (store_ && held < most)
        held = rewind(std::min(store_->restore(program_, tokens, held), most));
    held_.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(held));
    const bool whole = extend(tokens.subspan(held));
    computed_ = held_.size() - held;
    keep_ = keep_of(tokens.size());
    text_ = AnswerText(options_.stops);
    answer_.clear();
    pending_.reset();
    ended_ = !whole;
    if (!whole) ending_ = Ending::interrupted;
    return whole;
}

/// How many of the first tokens stay when the context is full.
size_t Generator::keep_of(size_t prompt) const {
    if (!options_.keep) return 0;
    return *options_.keep < 0 ? prompt : static_cast<size_t>(*options_.keep);
}

/// Computes `tokens` after those held. False, with fewer of them held, if interrupted.
bool Generator::extend(std::span<const int32_t> tokens) {
    while (!tokens.empty()) {
        if (interrupted_()) return false;
        const auto pass = tokens.first(std::min(batch_, tokens.size()));
        program_.forward(pass, static_cast<int>(held_.size()));
        held_.insert(held_.end(), pass.begin(), pass.end());
        tokens = tokens.subspan(pass.size());
        if (tokens.empty()) logits_ = program_.logits(static_cast<int>(pass.size()) - 1, 1).row(0);
        if (store_) store_->extended(program_, held_);
    }
    return true;
}

/// Forgets the older half of what comes after the first keep_ tokens. False if there is nothing to
/// forget.
bool Generator::make_room() {
    if (held_.size() < keep_ + 2) return false;
    const size_t forget = (held_.size() - keep_ + 1) / 2;
    std::vector<int32_t> tokens(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(keep_));
    tokens.insert(tokens.end(), held_.begin() + static_cast<ptrdiff_t>(keep_ + forget),
                  held_.end());
    held_.resize(static_cast<size_t>(program_.rewind(static_cast<int>(keep_))));
    return extend(std::span(tokens).subspan(held_.size()));
}

void Generator::forget() {
    held_.clear();
    pending_.reset();
    stop(Ending::interrupted);
}

void Generator::stop(Ending ending) {
    ended_ = true;
    ending_ = ending;
}

std::optional<Picked> Generator::next() {
    if (ended_) return std::nullopt;
    const auto end = [&](Ending ending) {
        stop(ending);
        return std::nullopt;
    };
    if (options_.predict >= 0 && static_cast<int64_t>(answer_.size()) >= options_.predict)
        return end(Ending::limit);
    if (pending_) {
        if (held_.size() == static_cast<size_t>(context_) && !(options_.keep && make_room()))
            return end(interrupted_() ? Ending::interrupted : Ending::context_full);
        if (!extend(std::span(&*pending_, 1))) return end(Ending::interrupted);
        pending_.reset();
    } else if (interrupted_()) {
        return end(Ending::interrupted);
    }
    const int32_t token = sampler_->sample(logits_, held_, &program_.workers());
    answer_.push_back(token);
    if (!options_.ignore_end && ends_.contains(token)) return end(Ending::end_token);
    pending_ = token;
    Picked picked{token, take_text(token)};
    if (text_.stopped()) stop(Ending::stop_text);
    return picked;
}

std::string Generator::take_text(int32_t token) {
    return text_.push(tokenizer_.shown_text(token));
}

double Generator::logprob(int32_t token) const {
    return log_probability(logits_, token);
}

Generator::State Generator::state() const {
    State state{held_, answer_, static_cast<int64_t>(keep_), sampler_->state()};
    if (pending_) state.tokens.push_back(*pending_);
    return state;
}

Generator::State Generator::state_before(std::span<const int32_t> tokens) const {
    return {.tokens = {tokens.begin(), tokens.end()},
            .answer = {},
            .keep = static_cast<int64_t>(keep_of(tokens.size())),
            .random = sampler_->state()};
}

std::optional<std::string> Generator::resume(const State& state) {
    const auto most = static_cast<size_t>(context_);
    const std::span tokens(state.tokens);
    if (!prefill(tokens.first(std::min(tokens.size(), most)))) return std::nullopt;
    if (tokens.size() > most) pending_ = tokens.back();
    sampler_->set_state(state.random);
    keep_ = static_cast<size_t>(std::max<int64_t>(0, state.keep));
    answer_ = state.answer;
    std::string text;
    for (const int32_t token : answer_) text += take_text(token);
    if (text_.stopped()) stop(Ending::stop_text);
    return text;
}

}  // namespace llmsql
