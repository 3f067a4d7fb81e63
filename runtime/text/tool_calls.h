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
#include <span>
#include <string>
#include <string_view>
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

/// A form of calls.
struct ToolForm {
    std::string_view open;   // empty: the whole answer is calls
    std::string_view close;  // empty: to the next `open`, or the end
    void (*read)(std::string_view body, std::vector<ToolCall>& calls);  // fails on what it is not
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
                          std::span<const TokenMarks> marks = {});
/// Of any form.
ToolCalls read_tool_calls(std::string_view text);

/// The calls of an answer in either form: a text, or a message in JSON ({"role": …}) with
/// tool_calls and malformed_tool_calls, as a conversation has it.
ToolCalls calls_of_answer(std::string_view answer);

/// What a call that has no id is to have: nine letters and digits, as Mistral's templates want
/// them, that depend on the answer and the call's number alone.
std::string made_call_id(std::string_view answer, size_t number);

}  // namespace llmsql
