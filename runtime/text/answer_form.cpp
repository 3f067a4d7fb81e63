// SPDX-License-Identifier: MIT
// The marks of thinking, and their automaton. See answer_form.h.
#include "runtime/text/answer_form.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr struct {
    std::string_view open, close, label;
} kThinking[] = {
    {"<think>", "</think>", ""},                     // DeepSeek, Qwen3, GLM, SmolLM3, …
    {"[THINK]", "[/THINK]", ""},                     // Mistral
    {"<|channel>", "<channel|>", "thought"},         // Gemma 4
    {"<|START_THINKING|>", "<|END_THINKING|>", ""},  // Command
    {"<seed:think>", "</seed:think>", ""},           // Seed-OSS
    {"<mm:think>", "</mm:think>", ""},               // MiniMax M3
    {"<|inner_prefix|>", "<|inner_suffix|>", ""},    // Apertus
    {"\xe2\x97\x81think\xe2\x96\xb7", "\xe2\x97\x81/think\xe2\x96\xb7", ""},  // Kimi
    {"<thinking>", "</thinking>", ""},                                        // Apriel
    {"<thought>", "</thought>", ""},                                          // EXAONE Deep
    {"<reasoning>", "</reasoning>", ""},
};

// Around answers behind a thought.
constexpr AnswerForm::Wrap kWraps[] = {{"<response>", "</response>"}, {"<answer>", "</answer>"}};

constexpr char32_t kTokens = 256;  // units from here on are tokens

constexpr size_t kLongestHead = 300;  // bytes of a message's head; more is a text
constexpr size_t kTail = 24;          // tokens at whose end a template may have begun to think

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::string_view without_leading_space(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    return text;
}

std::string_view without_trailing_space(std::string_view text) {
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

/// Bytes at the end of `text` that `mark` begins with.
size_t begun(std::string_view text, std::string_view mark) {
    for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n)
        if (mark.starts_with(text.substr(text.size() - n))) return n;
    return 0;
}

}  // namespace

AnswerForm::AnswerForm(const Tokenizer& tokenizer, std::string_view chat_template,
                       const ThoughtMarks& own) {
    const auto written = [&](std::string_view mark) {
        return chat_template.find(mark) != std::string_view::npos;
    };
    for (const auto& [open, close, label] : kThinking) {
        const auto opens = tokenizer.find_special(open), closes = tokenizer.find_special(close);
        if ((opens && closes) || (written(open) && written(close)))
            thinking_.push_back({std::string(open), std::string(close), std::string(label),
                                 opens && closes ? opens : std::nullopt,
                                 opens && closes ? closes : std::nullopt});
    }
    const bool alone = own.opening.empty();
    if (alone && !own.open.empty() &&
        std::ranges::find(thinking_, own.open, &Thinking::open) == thinking_.end()) {
        const auto opens = tokenizer.find_special(own.open),
                   closes = tokenizer.find_special(own.close);
        const bool by_ids = opens && closes;
        thinking_.push_back({own.open, own.close, "", by_ids ? opens : std::nullopt,
                             by_ids ? closes : std::nullopt});
    }
    for (const auto& [open, close] : kWraps) {
        // Named together, or taken apart by the template: not what tools answer in, for instance.
        const bool apart = written(fmt::format("split('{}')", open)) ||
                           written(fmt::format("split(\"{}\")", open)) ||
                           written(fmt::format("'{}' in", open)) ||
                           written(fmt::format("\"{}\" in", open));
        if (written(fmt::format("{}{}", open, close)) || apart) wraps_.emplace_back(open, close);
    }
    const auto start = tokenizer.find_special("<|start|>"),
               channel = tokenizer.find_special("<|channel|>"),
               message = tokenizer.find_special("<|message|>"),
               end = tokenizer.find_special("<|end|>");
    if (start && channel && message && end)
        channels_ = {*start,
                     *channel,
                     *message,
                     *end,
                     tokenizer.find_special("<|constrain|>"),
                     tokenizer.find_special("<|call|>")};

    if (!alone && !channels_ && thinking_.empty()) {
        Sequences found{units_of(own.opening, tokenizer),
                        units_of(own.between, tokenizer),
                        units_of(own.behind, tokenizer),
                        {}};
        // Where an answer's head begins as a thought's does, it may stand there instead.
        const size_t head = found.between.rfind(found.open[0]);
        if (head != Units::npos) found.answer = found.between.substr(head);
        sequences_ = std::move(found);
    }

    const auto show = [&](std::string_view mark) {
        if (const auto token = mark.empty() ? std::nullopt : tokenizer.find_special(mark))
            shown_.insert(*token);
    };
    for (const ToolForm& form : llmsql::tool_forms()) {
        const bool of_channels = form.open.find("to=") != std::string_view::npos;
        const bool whole = form.open.empty();
        const bool used = of_channels ? channels_.has_value()
                          : whole     ? written("func_name1(") ||
                                        ((written("\"parameters\"") || written("\"arguments\"")) &&
                                         written("\"name\"") && written("tool_call"))
                                  : tokenizer.find_special(form.open) || written(form.open);
        if (!used) continue;
        // Where a template names marks, JSON in an answer is JSON.
        if (whole && std::ranges::any_of(tools_, [](const ToolForm* other) {
                return other->open != "<|python_tag|>" && other->open != "<function=";
            }))
            continue;
        tools_.push_back(&form);
        const auto open = whole ? std::nullopt : tokenizer.find_special(form.open);
        if (of_channels || (open && tokenizer.is_control(*open))) token_marks_.push_back(form.open);
        if (of_channels) continue;
        show(form.open);
        show(form.close);
    }
    if (!tools_.empty())
        for (const std::string_view mark : tool_marks()) show(mark);
}

/// Marks that are tokens as those.
AnswerForm::Units AnswerForm::units_of(std::string_view text, const Tokenizer& tokenizer) {
    Units units;
    while (!text.empty()) {
        const char close = text.front() == '<' ? '>' : ']';
        const size_t end =
            text.front() == '<' || text.front() == '[' ? text.find(close) : std::string_view::npos;
        const auto token = end == std::string_view::npos
                               ? std::nullopt
                               : tokenizer.find_special(text.substr(0, end + 1));
        if (token) {
            units_.insert(*token);
            units += kTokens + static_cast<char32_t>(*token);
        } else {
            units += static_cast<uint8_t>(text.front());
        }
        text.remove_prefix(token ? end + 1 : 1);
    }
    return units;
}

void AnswerParts::begin(std::span<const int32_t> prompt, const Tokenizer& tokenizer) {
    if (!form_) return;
    const auto tail = prompt.last(std::min(prompt.size(), kTail));
    if (const auto& channels = form_->channels()) {
        state_ = State::head;
        for (size_t i = tail.size(); i-- > 0;)
            if (tail[i] == channels->start) {
                for (const int32_t token : tail.subspan(i)) push(token, tokenizer);
                break;
            }
        if (held_ == "assistant") held_.clear();
        return;
    }
    if (const auto& sequences = form_->sequences()) {
        AnswerForm::Units read;
        for (const int32_t token : tail) {
            if (form_->is_unit(token))
                read += kTokens + static_cast<char32_t>(token);
            else
                for (const char c : tokenizer.text_of(token)) read += static_cast<uint8_t>(c);
        }
        while (!read.empty() && read.back() < kTokens && is_space(static_cast<char>(read.back())))
            read.pop_back();
        if (read.ends_with(sequences->open)) {
            state_ = State::thinking;
            thought_ = false;
            return;
        }
        for (size_t n = std::min(read.size(), sequences->open.size() - 1); n > 0; --n)
            if (sequences->open.starts_with(read.substr(read.size() - n))) {
                units_ = read.substr(read.size() - n);
                break;
            }
        given_ = units_.size();
        return;
    }
    std::string text;
    for (const int32_t token : tail) text += tokenizer.text_of(token);
    const std::string_view end = without_trailing_space(text);
    for (size_t i = 0; i < form_->thinking().size(); ++i) {
        const auto& marks = form_->thinking()[i];
        if (end.ends_with(marks.close) && !form_->wraps().empty()) wrapped_ = Wrapped::may_open;
        if (!end.ends_with(marks.open) && !end.ends_with(marks.open + marks.label)) continue;
        enter(i);
        labeled_ = labeled_ && end.ends_with(marks.open);
        return;
    }
}

void AnswerParts::enter(size_t which) {
    state_ = State::thinking;
    which_ = which;
    held_.clear();
    spaces_.clear();
    thought_ = false;
    labeled_ = !form_->thinking().empty() && !form_->thinking()[which].label.empty();
}

void AnswerParts::leave() {
    if (!form_->wraps().empty()) wrapped_ = Wrapped::may_open;
    state_ = State::answer;
    held_.clear();
    spaces_.clear();
    blank_ = true;
}

void AnswerParts::think(std::string_view bytes, Spoken& said) {
    if (!thought_) bytes = without_leading_space(bytes);
    const std::string_view kept = without_trailing_space(bytes);
    if (!kept.empty()) {
        if (!thought_ && thought_before_) said.thinking += "\n\n";
        said.thinking += std::exchange(spaces_, {});
        said.thinking += kept;
        thought_ = thought_before_ = true;
    }
    spaces_ += bytes.substr(kept.size());
}

/// What may stand in marks of answers, without them.
void AnswerParts::answer(std::string_view bytes, Spoken& said) {
    if (wrapped_ == Wrapped::no) return wrapped(bytes, said);
    wrap_held_ += bytes;
    if (wrapped_ == Wrapped::closed) {  // spaces behind the mark go with it
        if (without_leading_space(wrap_held_).empty()) return;
        wrapped_ = Wrapped::no;
        return wrapped(std::exchange(wrap_held_, {}), said);
    }
    if (wrapped_ == Wrapped::may_open) {
        const std::string_view text = without_leading_space(wrap_held_);
        for (const auto& [open, close] : form_->wraps()) {
            if (text.starts_with(open)) {
                wrapped_ = Wrapped::open;
                wrap_close_ = close;
                blank_ = true;
                const std::string rest(text.substr(open.size()));
                wrap_held_.clear();
                return answer(rest, said);
            }
            if (open.starts_with(text)) return;
        }
        wrapped_ = Wrapped::no;
        return wrapped(std::exchange(wrap_held_, {}), said);
    }
    const size_t end = wrap_held_.find(wrap_close_);
    if (end == std::string::npos) {
        // Spaces before the mark go with it.
        const size_t mark = begun(wrap_held_, wrap_close_);
        const std::string_view sure = without_trailing_space(
            std::string_view(wrap_held_).substr(0, wrap_held_.size() - mark));
        wrapped(sure, said);
        wrap_held_.erase(0, sure.size());
        return;
    }
    wrapped(without_trailing_space(std::string_view(wrap_held_).substr(0, end)), said);
    const std::string rest = wrap_held_.substr(end + wrap_close_.size());
    wrap_held_.clear();
    wrapped_ = Wrapped::closed;
    answer(rest, said);
}

void AnswerParts::wrapped(std::string_view bytes, Spoken& said) {
    if (blank_) bytes = without_leading_space(bytes);
    if (bytes.empty()) return;
    if (std::exchange(parted_, false) && answered_) {
        said.text += "\n\n";
        text_ += "\n\n";
    }
    blank_ = false;
    answered_ = true;
    said.text += bytes;
    if (!form_->token_marks().empty()) text_ += bytes;
}

Spoken AnswerParts::push(int32_t token, const Tokenizer& tokenizer) {
    Spoken said;
    if (!form_) return {{}, tokenizer.shown_text(token)};
    if (form_->sequences()) {
        push_units(token, tokenizer, said);
        return said;
    }
    if (form_->channels() && take_channel(token, tokenizer, said)) return said;
    const auto& all = form_->thinking();
    if (state_ == State::thinking && !form_->channels()) {
        if (all[which_].closes == token) {
            leave();
            return said;
        }
        take_thought(tokenizer.shown_text(token), said);
        return said;
    }
    for (size_t i = 0; i < all.size(); ++i)
        if (all[i].opens == token) {
            if (state_ == State::start && !without_leading_space(held_).empty())
                answer(held_, said);
            enter(i);
            return said;
        }
    if (form_->shows(token) && state_ != State::thinking)
        tokens_.push_back(text_.size() + held_.size() + wrap_held_.size());
    const std::string bytes =
        form_->shows(token) ? tokenizer.text_of(token) : tokenizer.shown_text(token);
    if (state_ == State::start)
        take_start(bytes, said);
    else if (state_ == State::thinking)
        think(bytes, said);
    else
        answer(bytes, said);
    return said;
}

// Spaces, and what may be a mark that is known by its text.
void AnswerParts::take_start(std::string_view bytes, Spoken& said) {
    held_ += bytes;
    const std::string_view text = without_leading_space(held_);
    if (text.empty()) return;
    for (size_t i = 0; i < form_->thinking().size(); ++i) {
        const auto& marks = form_->thinking()[i];
        if (marks.opens) continue;
        if (text.starts_with(marks.open)) {
            const std::string rest(text.substr(marks.open.size()));
            enter(i);
            take_thought(rest, said);
            return;
        }
        if (marks.open.starts_with(text)) return;
    }
    state_ = State::answer;
    answer(std::exchange(held_, {}), said);
}

void AnswerParts::take_thought(std::string_view bytes, Spoken& said) {
    const auto& marks = form_->thinking()[which_];
    if (labeled_) {
        held_ += bytes;
        std::string line = marks.label + "\n";
        if (held_.size() < line.size() && line.starts_with(held_)) return;
        labeled_ = false;
        const std::string rest =
            held_.starts_with(line) ? held_.substr(line.size()) : std::exchange(held_, {});
        held_.clear();
        return take_thought(rest, said);
    }
    if (marks.closes) return think(bytes, said);
    held_ += bytes;
    const size_t end = held_.find(marks.close);
    if (end == std::string::npos) {
        const size_t kept = begun(held_, marks.close);
        think(std::string_view(held_).substr(0, held_.size() - kept), said);
        held_.erase(0, held_.size() - kept);
        return;
    }
    think(std::string_view(held_).substr(0, end), said);
    const std::string rest = held_.substr(end + marks.close.size());
    leave();
    answer(rest, said);
}

// A token of gpt-oss's, or of a message's head. False: it is what a message says.
bool AnswerParts::take_channel(int32_t token, const Tokenizer& tokenizer, Spoken& said) {
    const auto& marks = *form_->channels();
    const bool ends = token == marks.end || token == marks.start || token == marks.call ||
                      (token == marks.channel && state_ != State::head);
    if (ends) {
        if (std::exchange(calling_, false)) answer("<|call|>", said);
        leave();
        state_ = State::head;
    }
    if (token == marks.end || token == marks.start || token == marks.call) return true;
    if (token == marks.message) {
        if (state_ == State::head) open_message(said);
        return true;
    }
    if (state_ != State::head) return false;
    held_ += tokenizer.text_of(token);
    if (held_.size() > kLongestHead) {
        state_ = State::answer;
        answer(std::exchange(held_, {}), said);
    }
    return true;
}

// "assistant to=functions.f<|channel|>commentary <|constrain|>json", in one order or another.
void AnswerParts::open_message(Spoken& said) {
    constexpr std::string_view kTo = "to=", kChannel = "<|channel|>";
    const std::string head = std::exchange(held_, {});
    const auto word = [&](std::string_view before) -> std::string_view {
        const size_t at = head.find(before);
        if (at == std::string::npos) return {};
        const std::string_view rest = std::string_view(head).substr(at + before.size());
        return rest.substr(0, rest.find_first_of(" \n<"));
    };
    const std::string_view to = word(kTo), channel = word(kChannel);
    thought_ = false;
    spaces_.clear();
    parted_ = true;
    if (!to.empty() && to != "user" && to != "assistant") {
        state_ = State::answer;
        calling_ = true;
        if (std::exchange(parted_, false) && answered_) {
            said.text += "\n\n";
            text_ += "\n\n";
        }
        tokens_.push_back(text_.size());
        answer(fmt::format("<|channel|>commentary to={} <|constrain|>json<|message|>", to), said);
        return;
    }
    state_ = channel == "analysis" ? State::thinking : State::answer;
    labeled_ = false;
}

void AnswerParts::push_units(int32_t token, const Tokenizer& tokenizer, Spoken& said) {
    if (form_->is_unit(token)) {
        take_unit(kTokens + static_cast<char32_t>(token), said);
        return;
    }
    if (form_->shows(token) && (state_ == State::answer || state_ == State::behind))
        tokens_.push_back(text_.size() + wrap_held_.size());
    const std::string bytes =
        form_->shows(token) ? tokenizer.text_of(token) : tokenizer.shown_text(token);
    for (const char c : bytes) take_unit(static_cast<uint8_t>(c), said);
}

/// One more of an answer that sequences mark.
void AnswerParts::take_unit(char32_t unit, Spoken& said) {
    const auto& marks = *form_->sequences();
    const auto say = [&](char32_t one, auto how) {
        const char byte = static_cast<char>(one);
        if (one < kTokens) (this->*how)(std::string_view(&byte, 1), said);
    };
    switch (state_) {
        case State::thinking:
            if (unit != marks.between[0] && units_.empty()) {
                say(unit, &AnswerParts::think);
                return;
            }
            state_ = State::between;
            [[fallthrough]];
        case State::between:
            units_ += unit;
            // Where the marks are no tokens, what begins like them may be a thought.
            while (!units_.empty() && !marks.between.starts_with(units_) && units_[0] < kTokens) {
                say(units_[0], &AnswerParts::think);
                units_.erase(0, 1);
            }
            if (units_.empty()) {
                state_ = State::thinking;
            } else if (!marks.between.starts_with(units_)) {
                units_.clear();
                leave();
                take_unit(unit, said);
            } else if (units_ == marks.between) {
                units_.clear();
                leave();
            }
            return;
        case State::answer:
            if (marks.behind.empty() || marks.behind[0] < kTokens || unit != marks.behind[0]) {
                say(unit, &AnswerParts::answer);
                return;
            }
            state_ = State::behind;
            units_ = unit;
            return;
        case State::behind:
            units_ += unit;
            if (marks.behind.starts_with(units_)) return;
            units_.clear();
            state_ = State::answer;
            take_unit(unit, said);
            return;
        default: {
            units_ += unit;
            const auto is = [&](const AnswerForm::Units& mark) {
                return !mark.empty() && mark.starts_with(units_);
            };
            if (units_ == marks.open || units_ == marks.answer) {
                state_ = units_ == marks.open ? State::thinking : State::answer;
                thought_ = false;
                units_.clear();
            } else if (!is(marks.open) && !is(marks.answer)) {
                // What the model has read is not said again.
                const AnswerForm::Units held = std::exchange(units_, {}).substr(given_);
                state_ = State::answer;
                for (const char32_t one : held) take_unit(one, said);
            }
            return;
        }
    }
}

Spoken AnswerParts::finish() {
    Spoken said;
    if (!form_) return said;
    if (form_->sequences()) {
        const AnswerForm::Units held = std::exchange(units_, {});
        for (size_t i = state_ == State::start ? given_ : 0; i < held.size(); ++i) {
            const char byte = static_cast<char>(held[i]);
            if (held[i] >= kTokens) continue;
            if (state_ == State::start)
                answer(std::string_view(&byte, 1), said);
            else if (state_ == State::between && held[0] < kTokens)
                think(std::string_view(&byte, 1), said);
        }
    }
    const std::string held = std::exchange(held_, {});
    if (state_ == State::thinking)
        think(held, said);
    else if (state_ == State::start || (state_ == State::head && !answered_ && !thought_before_ &&
                                        held.find("<|") == std::string::npos))
        answer(held, said);
    // A mark of the answer that did not come.
    const std::string rest = std::exchange(wrap_held_, {});
    if (std::exchange(wrapped_, Wrapped::no) != Wrapped::closed) wrapped(rest, said);
    spaces_.clear();
    said.marks = marks();
    return said;
}

std::vector<TokenMarks> AnswerParts::marks() const {
    std::vector<TokenMarks> all;
    for (const std::string_view mark : form_->token_marks()) {
        TokenMarks& found = all.emplace_back(TokenMarks{mark, {}});
        for (size_t at = 0; (at = text_.find(mark, at)) != std::string::npos; ++at)
            found.is_token.push_back(std::ranges::binary_search(tokens_, at));
    }
    return all;
}

}  // namespace llmsql
