// SPDX-License-Identifier: MIT
// Calls of tools in what a model has said, in the forms in which models write them.
//
// HOW IT WORKS. A form is a row of a table (tool_calls.cpp): the mark before a call, the one behind
// it, and a reader of what stands between. All marks are looked for from left to right; what a
// reader takes becomes calls and leaves the text, what it does not take stays there, with what is
// wrong. A mark behind a call may stand in a text of the call, too: a body that cannot be read is
// tried up to the next such marks, a few. So all is linear in the text, and nesting is bounded.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmsql {

/// One call, or (with an error) what looks like one and cannot be read.
struct ToolCall {
    std::string name;
    std::string arguments;  // a JSON object
    std::string id;         // as the model gave it; empty: it gave none
    std::string error;      // what is wrong with it; empty: nothing
    std::string text;       // of one with an error: as it stands in the answer
};

struct ToolCalls {
    std::string content;          // the answer without its calls; what is malformed is there
    std::vector<ToolCall> calls;  // in their order
};

/// Which parameters of tools are texts, by the tools' JSON schemas: what XML-like forms do not
/// tell.
class ToolTypes {
  public:
    ToolTypes() = default;
    /// Of a JSON array of tools as in OpenAI's API, or of a conversation, an object that has them
    /// as `tools`; what is neither says nothing. Each tool's `function` may stand there itself.
    explicit ToolTypes(std::string_view json);

    enum class Type { unknown, text, text_or_null };
    Type of(std::string_view tool, std::string_view parameter) const;

  private:
    std::map<std::pair<std::string, std::string>, Type, std::less<>> types_;
};

/// What a reader has read, and what is known of the tools.
struct ToolReading {
    std::vector<ToolCall> calls;
    const ToolTypes* types = nullptr;
};

/// A form of calls.
struct ToolForm {
    std::string_view open;   // empty: the whole answer is calls
    std::string_view close;  // empty: to the next `open`, or the end
    void (*read)(std::string_view body, ToolReading& into);  // fails on what it is not
};

/// All that are known.
std::span<const ToolForm> tool_forms();
/// Marks that stand around or within calls: with the forms' own all that may be a control token.
std::span<const std::string_view> tool_marks();

/// A mark before calls that is a control token, and, each time that it stands in a text, whether it
/// was that token, not a text that spells it.
struct TokenMarks {
    std::string_view mark;
    std::vector<bool> is_token;
};

/// The calls of one of `forms` in a text. Never fails but for lack of memory. Of marks in `marks`
/// those count that are tokens.
ToolCalls read_tool_calls(std::string_view text, std::span<const ToolForm* const> forms,
                          std::span<const TokenMarks> marks = {}, const ToolTypes& types = {});
/// Of any form; a thought that the text begins with (<think>…</think>) is passed over.
ToolCalls read_tool_calls(std::string_view text, const ToolTypes& types = {});

/// The calls of an answer in either form: a text, or a message in JSON ({"role": …}) with
/// tool_calls and malformed_tool_calls, as a conversation has it.
ToolCalls calls_of_answer(std::string_view answer, const ToolTypes& types = {});

/// What a call that has no id is to have: nine letters and digits, as Mistral's templates want
/// them, that depend on the answer and the call's number alone.
std::string made_call_id(std::string_view answer, size_t number);

}  // namespace llmsql
