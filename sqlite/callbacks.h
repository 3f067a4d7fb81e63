// SPDX-License-Identifier: MIT
// What SQLite calls of ours: no exception may pass through its frames, so each callback runs its
// body in one of these guards; and the texts that values hold.
#pragma once

#include <exception>
#include <new>
#include <string_view>

#include "sqlite/api.h"

namespace llmsql {

/// Thrown where the host has interrupted: a call ends with SQLITE_INTERRUPT.
class Interrupted : public std::exception {};

/// Runs `body`; an exception becomes the error of a function's call.
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

/// Runs `body`, a table's method, and returns its result code; an exception's text is left in
/// `message`.
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

/// A value as text, which is not NULL; valid as long as SQLite says for sqlite3_value_text().
inline std::string_view text_of_value(sqlite3_value* value) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
    if (!text) throw std::bad_alloc();
    return {text, static_cast<size_t>(sqlite3_value_bytes(value))};
}

/// Hands a text to SQLite, which copies it.
inline void result_text(sqlite3_context* context, std::string_view text) {
    sqlite3_result_text64(context, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

}  // namespace llmsql
