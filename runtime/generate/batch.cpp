// SPDX-License-Identifier: MIT
// Passes over several texts. See batch.h.
#include "runtime/generate/batch.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace llmsql {

Batch::Batch(Program& program, Tokenizer& tokenizer, const GenerateOptions& options, int most,
             NextPrompt prompts, std::function<bool()> interrupted)
    : program_(program),
      tokenizer_(tokenizer),
      options_(options),
      prompts_(std::move(prompts)),
      interrupted_(std::move(interrupted)),
      ends_(end_tokens(program, tokenizer)) {
    check_options(options);
    if (options.keep) fail("option 'keep': texts of a batch end when their context is full");
    context_ = static_cast<size_t>(context_of(program, options));
    batch_ = batch_of(program, options);
    texts_.resize(static_cast<size_t>(
        std::clamp(std::min(program.sequences(), most), 1, static_cast<int>(batch_))));
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
        if (std::ranges::none_of(texts_, &Text::busy) && answers_.empty()) return std::nullopt;
        if (std::ranges::none_of(texts_, &Text::busy)) continue;
        if (interrupted_()) {
            stopped_ = true;
            return std::nullopt;
        }
        pass();
    }
}

void Batch::take_prompts() {
    for (Text& text : texts_) {
        // What is answered out of turn waits in memory: not more of it than there are places.
        if (text.busy || last_taken_ || taken_ - given_ >= 4 * static_cast<int64_t>(texts_.size()))
            continue;
        auto tokens = prompts_();
        last_taken_ = !tokens;
        if (!tokens || tokens->empty()) return;
        text = Text();
        text.busy = true;
        text.number = taken_++;
        text.tokens = std::move(*tokens);
        text.sampler.emplace(make_sampler(options_, ends_));
        text.out.emplace(options_.stops);
        if (options_.predict == 0) end(text, Ending::limit);
    }
}

// Texts that need one token come first, so that their logits are rows beside each other; prompts
// share what room there is.
void Batch::pass() {
    std::vector<Text*> order;
    for (Text& text : texts_)
        if (text.busy) order.push_back(&text);
    std::ranges::stable_sort(order, {},
                             [](const Text* text) { return text->tokens.size() - text->held > 1; });
    std::vector<Run> runs;
    size_t room = batch_;
    for (size_t i = 0; i < order.size(); ++i) {
        const Text& text = *order[i];
        const size_t others = order.size() - i - 1;  // each is to get one token at least
        const size_t count = std::min(text.tokens.size() - text.held, room - others);
        runs.push_back({std::span(text.tokens).subspan(text.held, count),
                        static_cast<int>(text.held), static_cast<int>(&text - texts_.data())});
        room -= count;
    }
    program_.forward(runs);

    // Rows whose logits are wanted: the last of each text that is now held whole.
    std::vector<std::pair<int, Text*>> wanted;
    int row = 0;
    for (size_t i = 0; i < runs.size(); ++i) {
        row += static_cast<int>(runs[i].tokens.size());
        order[i]->held += runs[i].tokens.size();
        if (order[i]->held == order[i]->tokens.size()) wanted.emplace_back(row - 1, order[i]);
    }
    for (size_t at = 0; at < wanted.size();) {
        size_t count = 1;
        while (at + count < wanted.size() && count < static_cast<size_t>(program_.logits_rows()) &&
               wanted[at + count].first == wanted[at].first + static_cast<int>(count))
            ++count;
        const Logits logits = program_.logits(wanted[at].first, static_cast<int>(count));
        for (size_t i = 0; i < count; ++i)
            pick(*wanted[at + i].second, logits.row(static_cast<int>(i)));
        at += count;
    }
}

void Batch::pick(Text& text, std::span<const float> logits) {
    const int32_t token = text.sampler->sample(logits, text.tokens, &program_.workers());
    ++text.answer.tokens;
    if (!options_.ignore_end && ends_.contains(token)) return end(text, Ending::end_token);
    text.answer.text += text.out->push(tokenizer_.shown_text(token));
    if (text.out->stopped()) return end(text, Ending::stop_text);
    if (text.answer.tokens == options_.predict) return end(text, Ending::limit);
    if (text.tokens.size() == context_) return end(text, Ending::context_full);
    text.tokens.push_back(token);
}

void Batch::end(Text& text, Ending ending) {
    text.answer.text += text.out->finish();
    text.answer.ending = ending;
    answers_.emplace(text.number, std::move(text.answer));
    text = Text();
}

}  // namespace llmsql
