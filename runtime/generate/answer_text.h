// SPDX-License-Identifier: MIT
// AnswerText: the text of picked tokens on its way out: stop texts are cut off, characters stay
// whole. TokenText: that of a form, where what is thought is told apart.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/utf8.h"
#include "runtime/text/answer_form.h"
#include "runtime/text/stop_filter.h"

namespace llmsql {

class AnswerText {
  public:
    explicit AnswerText(const std::vector<std::string>& stops) : stops_(stops) {}

    /// What can be shown after these bytes.
    std::string push(std::string_view bytes) { return characters_.push(stops_.push(bytes)); }
    /// The rest, at the end.
    std::string finish() {
        std::string rest = characters_.push(stops_.finish());
        return rest + characters_.finish();
    }
    bool stopped() const { return stops_.stopped(); }

  private:
    StopFilter stops_;
    Utf8Stream characters_;
};

/// Stop texts are looked for in the answer, not in what is thought.
class TokenText {
  public:
    TokenText(const std::vector<std::string>& stops, std::shared_ptr<const AnswerForm> form)
        : parts_(std::move(form)), text_(stops) {}

    /// See AnswerParts.
    void begin(std::span<const int32_t> prompt, const Tokenizer& tokenizer) {
        parts_.begin(prompt, tokenizer);
    }
    /// What can be shown after this token.
    Spoken push(int32_t token, const Tokenizer& tokenizer) {
        const Spoken said = parts_.push(token, tokenizer);
        return {thought_.push(said.thinking), text_.push(said.text)};
    }
    /// The rest, at the end.
    Spoken finish() {
        const Spoken said = parts_.finish();
        Spoken last{thought_.push(said.thinking), text_.push(said.text), said.marks};
        last.thinking += thought_.finish();
        last.text += text_.finish();
        return last;
    }
    bool stopped() const { return text_.stopped(); }

  private:
    AnswerParts parts_;
    AnswerText text_;
    Utf8Stream thought_;
};

}  // namespace llmsql
