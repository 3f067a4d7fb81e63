// SPDX-License-Identifier: MIT
// What a model thinks, told apart from what it answers; and which forms of calls it writes.
//
// Marks are recognised by their tokens' ids, before anything is hidden, where the vocabulary has
// them as tokens of their own; else by their text, if the chat template writes them, at the
// beginning of an answer. The ways of marking:
//
//     <think>…</think> and its kin   a row of a table (answer_form.cpp); a template may have opened
//                                    it already, at the end of what the model reads
//     gpt-oss's channels             <|channel|>analysis<|message|>…<|end|><|start|>assistant
//                                    <|channel|>final<|message|>…: what is in the channel final is
//                                    the answer, what is addressed (to=functions.f) a call
//     sequences                      marks that are usual by themselves, and words: Kimi K3's
//                                    <|open|>think<|sep|>…<|close|>think<|sep|><|open|>response<|sep|>…,
//                                    Solar's <|think|>…<|end|><|begin|>assistant<|content|>…; as
//                                    the chat template writes them
//     calls                          tool_calls.h; they stand in the answer's text, marks and all
//
// Behind a thought the answer may stand in marks of its own, <response>…</response> (Granite 3.3)
// or <answer>…</answer> (Hunyuan), which are left out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/tokenizer.h"
#include "runtime/text/tool_calls.h"

namespace llmsql {

/// What a chat template writes round a thought: `open` and `close` where these two marks stand
/// nowhere else; otherwise `opening`, all that is `between` thought and answer, and what is
/// `behind` the answer.
struct ThoughtMarks {
    std::string open, close;
    std::string opening, between, behind;
};

/// Immutable, so that threads may share one.
class AnswerForm {
  public:
    /// What marks the model knows, by its vocabulary and its chat template's text, and by what that
    /// writes.
    AnswerForm(const Tokenizer& tokenizer, std::string_view chat_template,
               const ThoughtMarks& written = {});

    struct Thinking {
        std::string open, close;
        std::string label;                     // behind `open`, on a line of its own
        std::optional<int32_t> opens, closes;  // absent: known by their text
    };
    const std::vector<Thinking>& thinking() const { return thinking_; }

    struct Channels {
        int32_t start, channel, message, end;
        std::optional<int32_t> constrain, call;
    };
    const std::optional<Channels>& channels() const { return channels_; }

    /// Bytes, and tokens: 256 and their id.
    using Units = std::u32string;
    struct Sequences {
        Units open, between, behind;
        Units answer;  // what may stand before an answer that was not thought about; may be empty
    };
    const std::optional<Sequences>& sequences() const { return sequences_; }
    /// Whether a token is a mark in these sequences.
    bool is_unit(int32_t token) const { return units_.contains(token); }

    /// Marks of answers behind a thought, known by their text: open, close.
    using Wrap = std::pair<std::string_view, std::string_view>;
    std::span<const Wrap> wraps() const { return wraps_; }

    /// Control tokens that are shown, as they mark calls.
    bool shows(int32_t token) const { return shown_.contains(token); }
    std::span<const ToolForm* const> tool_forms() const { return tools_; }
    /// Of these, the marks before calls that are control tokens, or made of them.
    std::span<const std::string_view> token_marks() const { return token_marks_; }
    /// Whether a message's content has its calls, too: the template would leave them out.
    bool keeps_calls() const { return keeps_calls_; }
    void set_keeps_calls(bool keeps) { keeps_calls_ = keeps; }

    /// Whether it knows of thinking.
    bool thinks() const { return channels_ || sequences_ || !thinking_.empty(); }

  private:
    Units units_of(std::string_view text, const Tokenizer& tokenizer);

    std::vector<Thinking> thinking_;
    std::optional<Channels> channels_;
    std::optional<Sequences> sequences_;
    std::set<int32_t> units_;
    std::vector<Wrap> wraps_;
    std::vector<const ToolForm*> tools_;
    std::set<int32_t> shown_;
    std::vector<std::string_view> token_marks_;
    bool keeps_calls_ = false;
};

/// A piece of an answer: what was thought, then what was answered.
struct Spoken {
    std::string thinking;
    std::string text;
    std::vector<TokenMarks> marks = {};  // at the answer's end: those of calls in all of its text
};

/// What the tokens of one answer say, in bytes: those of a character may come apart.
class AnswerParts {
  public:
    /// Without a form all that is shown is text.
    explicit AnswerParts(std::shared_ptr<const AnswerForm> form) : form_(std::move(form)) {}

    /// What the model has read before the answer: a template may have begun to think for it.
    void begin(std::span<const int32_t> prompt, const Tokenizer& tokenizer);

    /// Spaces around what is thought belong to neither.
    Spoken push(int32_t token, const Tokenizer& tokenizer);
    /// The end: what was held back.
    Spoken finish();

  private:
    enum class State { start, answer, thinking, head, between, behind };

    void think(std::string_view bytes, Spoken& said);
    void wrapped(std::string_view bytes, Spoken& said);
    void answer(std::string_view bytes, Spoken& said);
    void enter(size_t which);
    void leave();
    void take_start(std::string_view bytes, Spoken& said);
    void take_thought(std::string_view bytes, Spoken& said);
    bool take_channel(int32_t token, const Tokenizer& tokenizer, Spoken& said);
    void open_message(Spoken& said);
    void take_unit(char32_t unit, Spoken& said);
    void push_units(int32_t token, const Tokenizer& tokenizer, Spoken& said);
    std::vector<TokenMarks> marks() const;

    std::shared_ptr<const AnswerForm> form_;
    State state_ = State::start;
    size_t which_ = 0;         // of form_->thinking()
    std::string held_;         // bytes that may be a mark's beginning, or a head
    AnswerForm::Units units_;  // what may be a sequence's beginning
    size_t given_ = 0;         // of units_: what the model has read
    enum class Wrapped { no, may_open, open, closed };
    Wrapped wrapped_ = Wrapped::no;
    std::string_view wrap_close_;  // of the wrap that is open
    std::string wrap_held_;        // bytes that may be a mark of it
    std::string spaces_;           // at the end of what was thought so far
    bool labeled_ = false;         // a label may come
    bool thought_ = false;         // since thinking was entered
    bool thought_before_ = false;  // anything at all
    bool answered_ = false;        // anything at all
    bool blank_ = false;           // spaces are left out until something else comes
    bool parted_ = false;          // a line is between what was said and what follows
    std::string text_;            // all that was answered, where there may be marks that are tokens
    std::vector<size_t> tokens_;  // where in it these stand, in rising order
    bool calling_ = false;        // the message is a call
};

}  // namespace llmsql
