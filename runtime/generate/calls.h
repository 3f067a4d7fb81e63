// SPDX-License-Identifier: MIT
// What calls of a host do with a model, by whichever door they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/generate/call_options.h"
#include "runtime/generate/open_model.h"

namespace llmsql {

/// The whole answer to a prompt. Throws Interrupted (sqlite/callbacks.h). `form`: see Request.
Spoken answer_to(OpenModel& model, std::span<const int32_t> tokens, const GenerateOptions& options,
                 std::shared_ptr<const AnswerForm> form = nullptr);

/// An answer as a call is to return it: the text; what was thought before it, in <think> and
/// </think>, with option `thinking`; or, with `message`, as a conversation in JSON has it, with
/// reasoning_content and tool_calls. `conversation`: the JSON that it answers, whose tools tell
/// which arguments are texts; without one, those that are among the options' variables do.
std::string returned(const Spoken& answer, const CallOptions& options, OpenModel& model,
                     std::string_view conversation = {});

/// An answer with what was thought before it as one text.
std::string with_thinking(const Spoken& answer);
/// As a message: {"role": "assistant", "content": …}. Calls become tool_calls; what looks like one
/// and cannot be read stays in the content, and is told of in malformed_tool_calls. So do calls
/// that the model's template would leave out.
std::string message_json(const Spoken& answer, const AnswerForm& form, const ToolTypes& types = {});

/// A conversation in memory: what has been said, and answered.
class Conversation {
  public:
    /// Fails on option `system` where it has begun without.
    void check(const CallOptions& options) const;

    /// What the model is to read before it answers a message. Fails on one that cannot be taken.
    std::vector<int32_t> read(OpenModel& model, const std::string& message,
                              const CallOptions& options) const;

    /// The answer to a message that reads as `tokens`; both are of the conversation then. Throws
    /// Interrupted.
    Spoken answer(OpenModel& model, const std::string& message, std::span<const int32_t> tokens,
                  const CallOptions& options);

  private:
    std::vector<ChatMessage> with(const std::string& message, const CallOptions& options) const;

    std::vector<ChatMessage> messages_;
};

/// A text whose probability is asked for: its tokens after those of option `given`, or of the start
/// of a text, and the first that counts. A text's very first token has no probability where the
/// model has no token for the start.
struct Scored {
    std::vector<int32_t> tokens;
    size_t first = 1;
};
Scored scored_text(OpenModel& model, const std::string& text, const CallOptions& options);

/// The natural logarithm of its probability. Throws Interrupted.
double log_probability_of(OpenModel& model, const Scored& scored);

/// The text of token ids, a JSON array.
std::string detokenize(OpenModel& model, std::string_view tokens);

/// Fails where that is no JSON array of ids.
void check_ids(std::string_view tokens);

/// A JSON object: model, plan, sizes, threads, what passes have carried.
std::string describe(OpenModel& model, const char* version);

}  // namespace llmsql
