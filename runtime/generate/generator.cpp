// SPDX-License-Identifier: MIT
// One sequence of a scheduler. See generator.h.
#include "runtime/generate/generator.h"

#include <utility>

#include "common/error.h"

namespace llmsql {

Generator::Generator(SharedScheduler& shared, const Tokenizer* tokenizer,
                     const GenerateOptions& options, CallerOptions how)
    : caller_(shared, tokenizer, std::move(how)) {
    set_options(options);
}

void Generator::set_options(const GenerateOptions& options) {
    check_options(options);
    context_ = caller_.with_scheduler([&](Scheduler& scheduler) {
        options_ = with_model_sampling(options, scheduler.program().sampling());
        drafts_of(scheduler.program(), options);  // fails if they are too many
        return context_of(scheduler.program(), options);
    });
    random_.reset();
}

void Generator::begin(std::span<const int32_t> tokens, bool tells_passes) {
    Request request;
    request.tokens.assign(tokens.begin(), tokens.end());
    request.tells_passes = tells_passes;
    arrive(std::move(request));
}

std::string Generator::resume(const AnswerState& state, bool tells_passes) {
    Request request;
    request.resumed = state;
    request.tells_passes = tells_passes;
    arrive(std::move(request));
    return with_sequence([&](Scheduler&, Sequence& sequence) {
        ended_ = sequence.ended();
        ending_ = sequence.ending();
        thought_ = sequence.shown_before().thinking;
        return sequence.shown_before().text;
    });
}

void Generator::arrive(Request request) {
    if (id_) {
        // Random numbers go on from text to text.
        random_ = with_sequence([](Scheduler&, Sequence& last) { return last.state().random; });
        caller_.remove(*id_);
        id_.reset();
    }
    request.options = options_;
    request.random = random_;
    request.logprobs = logprobs_;
    request.form = form_;
    picked_.clear();
    last_.clear();
    last_thought_.clear();
    thought_.clear();
    marks_.clear();
    taken_ = 0;
    ended_ = false;
    id_ = caller_.arrive(std::move(request));
}

bool Generator::pass(Caller::Until until) {
    if (ended_ || (until == Caller::Until::something && is_ready())) return true;
    const std::vector<Event> events = caller_.wait(until);
    for (const Event& event : events) {
        if (event.kind == Event::Kind::failed) {
            ended_ = true;
            ending_ = Ending::interrupted;
            std::rethrow_exception(event.error);
        }
        if (event.kind == Event::Kind::picked) picked_.push_back(event.picked);
        if (event.kind == Event::Kind::ended) {
            ended_ = true;
            last_ = event.text;
            last_thought_ = event.thinking;
            marks_ = event.marks;
        }
    }
    if (ended_)
        ending_ = with_sequence([](Scheduler&, Sequence& sequence) { return sequence.ending(); });
    if (!events.empty()) return true;
    ended_ = true;
    ending_ = Ending::interrupted;
    return false;
}

bool Generator::prefill(std::span<const int32_t> tokens) {
    begin(tokens);
    return pass();
}

std::optional<Picked> Generator::next() {
    while (!is_ready())
        if (!pass()) break;
    if (picked_.empty()) return std::nullopt;
    Picked picked = std::move(picked_.front());
    picked_.pop_front();
    ++taken_;
    thought_ += picked.thinking;
    return picked;
}

std::string Generator::rest() {
    while (!ended_ && pass(Caller::Until::an_end)) {
    }
    std::string text;
    while (const auto picked = next()) text += picked->text;
    return text + finish();
}

std::string Generator::finish() {
    if (id_ && ending_ == Ending::interrupted)
        with_sequence([&](Scheduler&, Sequence& sequence) {
            const Spoken said = sequence.finish();
            last_ += said.text;
            last_thought_ += said.thinking;
            marks_ = said.marks;
        });
    thought_ += std::exchange(last_thought_, {});
    return std::exchange(last_, {});
}

size_t Generator::computed() {
    if (!id_) return 0;
    return with_sequence([](Scheduler&, Sequence& sequence) { return sequence.computed(); });
}

AnswerState Generator::state() {
    return with_sequence([](Scheduler&, Sequence& sequence) { return sequence.state(); });
}

AnswerState Generator::state_before(std::span<const int32_t> tokens) {
    if (id_)
        random_ = with_sequence([](Scheduler&, Sequence& last) { return last.state().random; });
    else if (!random_)
        random_ = caller_.with_scheduler(
            [&](Scheduler& scheduler) { return make_sampler(options_, scheduler.ends()).state(); });
    return {.tokens = {tokens.begin(), tokens.end()},
            .answer = {},
            .keep = static_cast<int64_t>(keep_of(options_, tokens.size())),
            .random = *random_};
}

}  // namespace llmsql
