// SPDX-License-Identifier: MIT
// CallOptions: what a call of a host is to do, as a JSON object says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/generate/open_model.h"
#include "runtime/generate/options.h"

namespace llmsql {

/// The functions and tables that take options.
enum class Call { generate, stream, batch, chat, logprob, load };
const char* name_of(Call call);

/// What becomes of a row whose text cannot be taken.
enum class OnError {
    fail,    // the statement ends with an error that says which it is
    null,    // NULL
    column,  // of llm_batch: NULL, and what is wrong in its column `error`
};

/// The options of a call, from a JSON object.
struct CallOptions {
    CallOptions() { generate.predict = kMostTokens; }

    GenerateOptions generate;
    ModelChoice choice;
    bool chat = false;                  // the prompt is a message, put into the chat template
    std::optional<std::string> system;  // with it: the system message
    bool thinking = false;              // what was thought stands before the answer
    bool message = false;               // the answer as a message in JSON
    std::string variables;              // of the chat template: a JSON object; empty: none
    std::optional<std::string> given;   // of llm_logprob: the text before
    int together = kTogether;           // of llm_batch: most texts at a time
    OnError on_error = OnError::fail;
    std::string sessions;  // of llm_chat: the file; empty: the connection's memory

    static constexpr int64_t kMostTokens = 256;
    static constexpr int kTogether = 8;
};

/// Empty text: the defaults. Fails on anything that is not a JSON object, a name that the call does
/// not know or that is given twice, or a value of the wrong type, naming it.
CallOptions parse_call_options(Call call, std::string_view json);

/// Fails on options that do not go together, or not with the model: what is wrong with all rows.
void check_options(const CallOptions& options, OpenModel& model);

/// The tokens of a prompt: as it is, or as the message of a conversation.
std::vector<int32_t> prompt_tokens(OpenModel& model, const std::string& prompt,
                                   const CallOptions& options);

}  // namespace llmsql
