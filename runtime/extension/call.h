// SPDX-License-Identifier: MIT
// What the extension's functions and tables have in common: arguments, errors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "runtime/extension/host.h"
#include "runtime/generate/call_options.h"
#include "sqlite/callbacks.h"

namespace llmsql {

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

/// What is wrong with a row's own text, and which it is.
class RowError : public Error {
  public:
    using Error::Error;
};

/// Throws an Error's RowError, which quotes the value, called `name`.
[[noreturn]] void fail_for_row(const Error& error, sqlite3_value* value, const char* name);

/// What `read` returns, which takes the text of a row; its Error becomes a RowError.
template<class Read>
auto of_row(sqlite3_value* value, const char* name, Read read) {
    try {
        return read();
    } catch (const Error& error) {
        fail_for_row(error, value, name);
    }
}

/// A text argument; fails on NULL and other types, naming the argument.
std::string text_argument(sqlite3_value* value, const char* name);

/// The options argument, which may be NULL or (a null pointer) absent.
CallOptions options_argument(Call call, sqlite3_value* value);

// functions.cpp, stream_table.cpp, batch_table.cpp, tool_calls_table.cpp, by_hand.cpp,
// reference.cpp: each registers its own. Fail if SQLite refuses.
void register_functions(const std::shared_ptr<Host>& host);
void register_stream(const std::shared_ptr<Host>& host);
void register_batch(const std::shared_ptr<Host>& host);
void register_tool_calls(const std::shared_ptr<Host>& host);
void register_by_hand(const std::shared_ptr<Host>& host);
void register_reference(const std::shared_ptr<Host>& host);

}  // namespace llmsql
