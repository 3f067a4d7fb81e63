// What the extension's functions and tables have in common: arguments, options, errors.
#pragma once

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/extension/host.h"
#include "runtime/generate/options.h"

namespace llmsql {

/// The options of a call, from a JSON object.
struct CallOptions {
    CallOptions() { generate.predict = kMostTokens; }

    GenerateOptions generate;
    ModelChoice choice;
    bool chat = false;                  // the prompt is a message, put into the chat template
    std::optional<std::string> system;  // with it: the system message
    std::optional<std::string> given;   // of llm_logprob: the text before
    int together = kTogether;           // of llm_batch: most texts at a time
    std::string sessions;               // of llm_chat: the file; empty: the connection's memory

    static constexpr int64_t kMostTokens = 256;
    static constexpr int kTogether = 8;
};

/// Empty text: the defaults. Fails on what is no JSON object, an unknown name, or a value of the
/// wrong type, naming it.
CallOptions parse_call_options(std::string_view json);

/// A text argument; fails on NULL and other types, naming the argument.
std::string text_argument(sqlite3_value* value, const char* name);

/// The options argument, which may be NULL.
CallOptions options_argument(sqlite3_value* value);

/// The tokens of a prompt: as it is, or as the message of a conversation.
std::vector<int32_t> prompt_tokens(OpenModel& model, const std::string& prompt,
                                   const CallOptions& options);

/// Runs `body`; an exception becomes the error of a function's call. None gets out.
template<class Body>
void guard_function(sqlite3_context* context, Body body) noexcept {
    try {
        body();
    } catch (const Interrupted&) {
        sqlite3_result_error_code(context, SQLITE_INTERRUPT);
    } catch (const std::bad_alloc&) {
        sqlite3_result_error_nomem(context);
    } catch (const std::exception& error) {
        sqlite3_result_error(context, error.what(), -1);
    } catch (...) {
        sqlite3_result_error(context, "unknown error", -1);
    }
}

/// The same for a table's method: returns its result code, and leaves the text in `message`.
template<class Body>
int guard_method(char** message, Body body) noexcept {
    const auto explain = [&](const char* text) {
        sqlite3_free(*message);
        *message = sqlite3_mprintf("%s", text);
        return SQLITE_ERROR;
    };
    try {
        return body();
    } catch (const Interrupted&) {
        return SQLITE_INTERRUPT;
    } catch (const std::bad_alloc&) {
        return SQLITE_NOMEM;
    } catch (const std::exception& error) {
        return explain(error.what());
    } catch (...) {
        return explain("unknown error");
    }
}

/// Hands a text to SQLite.
void result_text(sqlite3_context* context, std::string_view text);

// functions.cpp, stream_table.cpp, batch_table.cpp, by_hand.cpp, reference.cpp: each registers its
// own. Fail if SQLite refuses.
void register_functions(const std::shared_ptr<Host>& host);
void register_stream(const std::shared_ptr<Host>& host);
void register_batch(const std::shared_ptr<Host>& host);
void register_by_hand(const std::shared_ptr<Host>& host);
void register_reference(const std::shared_ptr<Host>& host);

}  // namespace llmsql
