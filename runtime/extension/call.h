// SPDX-License-Identifier: MIT
// What the extension's functions and tables have in common: arguments, options, errors.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "runtime/extension/host.h"
#include "runtime/generate/options.h"
#include "sqlite/callbacks.h"

namespace llmsql {

/// The functions and tables that take options.
enum class Call { generate, stream, batch, chat, logprob, load };
const char* name_of(Call call);

/// Has a call of the extension under way while it lives. Fails where too many are, one in the other
/// on this thread's stack, as where llm_batch's query calls llm_batch; and in a process forked from
/// the one that opened the connection.
class Entered {
  public:
    explicit Entered(const Host& host);
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;
    ~Entered();
};

/// What becomes of a row whose text cannot be taken.
enum class OnError {
    fail,    // the statement ends with an error that says which it is
    null,    // NULL
    column,  // of llm_batch: NULL, and what is wrong in its column `error`
};

/// What is wrong with a row's own text, and which it is.
class RowError : public Error {
  public:
    using Error::Error;
};

/// Calls `read`, which takes the text of a row; an Error becomes a RowError that quotes the value.
std::vector<int32_t> tokens_of_row(sqlite3_value* value, const char* name,
                                   const std::function<std::vector<int32_t>()>& read);

/// The options of a call, from a JSON object.
struct CallOptions {
    CallOptions() { generate.predict = kMostTokens; }

    GenerateOptions generate;
    ModelChoice choice;
    bool chat = false;                  // the prompt is a message, put into the chat template
    std::optional<std::string> system;  // with it: the system message
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

/// A text argument; fails on NULL and other types, naming the argument.
std::string text_argument(sqlite3_value* value, const char* name);

/// The options argument, which may be NULL or (a null pointer) absent.
CallOptions options_argument(Call call, sqlite3_value* value);

/// Fails on options that do not go together, or not with the model: what is wrong with all rows.
void check_options(const CallOptions& options, const OpenModel& model);

/// The tokens of a prompt: as it is, or as the message of a conversation.
std::vector<int32_t> prompt_tokens(OpenModel& model, const std::string& prompt,
                                   const CallOptions& options);

// functions.cpp, stream_table.cpp, batch_table.cpp, by_hand.cpp, reference.cpp: each registers its
// own. Fail if SQLite refuses.
void register_functions(const std::shared_ptr<Host>& host);
void register_stream(const std::shared_ptr<Host>& host);
void register_batch(const std::shared_ptr<Host>& host);
void register_by_hand(const std::shared_ptr<Host>& host);
void register_reference(const std::shared_ptr<Host>& host);

}  // namespace llmsql
