// SPDX-License-Identifier: MIT
// Prompts in, answers out. See batch.h.
#include "runtime/generate/batch.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace llmsql {

Batch::Batch(SharedScheduler& shared, const Tokenizer* tokenizer, const GenerateOptions& options,
             int most, NextPrompt prompts, CallerOptions how,
             std::shared_ptr<const AnswerForm> form)
    : caller_(shared, tokenizer, std::move(how)),
      options_(options),
      form_(std::move(form)),
      most_(static_cast<size_t>(std::max(1, most))),
      prompts_(std::move(prompts)) {
    check_options(options);
    caller_.with_scheduler([&](Scheduler& scheduler) {
        options_ = with_model_sampling(options, scheduler.program().sampling());
        context_of(scheduler.program(), options);  // fails if it is too large
        drafts_of(scheduler.program(), options);
        most_ = std::min(most_, scheduler.places());
    });
}

std::optional<BatchAnswer> Batch::next() {
    while (true) {
        if (const auto ready = answers_.find(given_); ready != answers_.end()) {
            BatchAnswer answer = std::move(ready->second);
            answers_.erase(ready);
            ++given_;
            return answer;
        }
        take_prompts();
        if (texts_.empty() && answers_.empty()) return std::nullopt;
        if (texts_.empty()) continue;
        const std::vector<Event> events = caller_.wait(Caller::Until::an_end);
        for (const Event& event : events) note(event);
        if (events.empty() || caller_.interrupted()) {
            interrupted_ = true;
            return std::nullopt;
        }
    }
}

void Batch::take_prompts() {
    // What is answered out of turn waits in memory: not more of it than a few times what is on its
    // way at once.
    while (texts_.size() < most_ && taken_ - given_ < 4 * static_cast<int64_t>(most_)) {
        if (!next_) {
            if (last_taken_) return;
            auto tokens = prompts_();
            last_taken_ = !tokens;
            if (!tokens || tokens->empty()) return;
            next_.emplace().tokens = std::move(*tokens);
            next_->options = options_;
            next_->form = form_;
        }
        const auto id = caller_.arrive_if_room(*next_);
        if (!id) return;
        texts_[*id].number = taken_++;
        next_.reset();
    }
}

void Batch::note(const Event& event) {
    Text& text = texts_.at(event.id);
    if (event.kind == Event::Kind::failed) std::rethrow_exception(event.error);
    text.answer.text += event.text;
    text.answer.thinking += event.picked.thinking + event.thinking;
    if (event.kind != Event::Kind::ended) return;
    text.answer.marks = event.marks;
    caller_.with_scheduler([&](Scheduler& scheduler) {
        const Sequence& sequence = scheduler.at(event.id);
        text.answer.ending = sequence.ending();
        text.answer.tokens = static_cast<int64_t>(sequence.answer().size());
    });
    caller_.remove(event.id);
    answers_.emplace(text.number, std::move(text.answer));
    texts_.erase(event.id);
}

}  // namespace llmsql
