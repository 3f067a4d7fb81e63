// SPDX-License-Identifier: MIT
// Arguments of calls. See call.h.
#include "runtime/extension/call.h"

#include "common/error.h"

namespace llmsql {
namespace {

// Each takes some kilobytes of the stack, SQLite's own frames included; hosts' threads have as few
// as 256.
constexpr int kMostNested = 4;
thread_local int nested = 0;

// A value as it would be written in SQL, cut short.
std::string quoted(sqlite3_value* value) {
    constexpr size_t kMost = 60;
    switch (sqlite3_value_type(value)) {
        case SQLITE_NULL:
            return "is NULL";
        case SQLITE_INTEGER:
        case SQLITE_FLOAT: {
            sqlite3_value* const copy = sqlite3_value_dup(value);  // a value stays what it was
            if (!copy) throw std::bad_alloc();
            const std::string number(text_of_value(copy));
            sqlite3_value_free(copy);
            return "is the number " + number;
        }
        case SQLITE_BLOB:
            return "is a BLOB of " +
                   counted(static_cast<uint64_t>(sqlite3_value_bytes(value)), "byte");
        default:
            break;
    }
    const std::string_view text = text_of_value(value);
    if (text.size() <= kMost) return fmt::format("is '{}'", text);
    size_t end = kMost;  // not within a character
    while (end > kMost - 3 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    return fmt::format("begins '{}'", text.substr(0, end));
}

}  // namespace

Entered::Entered(const Host& host) {
    host.require_own_process();
    if (nested == kMostNested)
        fail("calls of llm_ functions within each other's queries: more than {}", kMostNested);
    ++nested;
}

Entered::~Entered() {
    --nested;
}

void fail_for_row(const Error& error, sqlite3_value* value, const char* name) {
    // What is empty needs no showing.
    if (sqlite3_value_type(value) == SQLITE_TEXT && text_of_value(value).empty())
        throw RowError(error.what());
    throw RowError(one_line(fmt::format("{}; {} {}", error.what(), name, quoted(value))));
}

std::string text_argument(sqlite3_value* value, const char* name) {
    if (sqlite3_value_type(value) != SQLITE_TEXT) fail("{} must be text", name);
    return std::string(text_of_value(value));
}

CallOptions options_argument(Call call, sqlite3_value* value) {
    if (!value || sqlite3_value_type(value) == SQLITE_NULL) return {};
    return parse_call_options(call, text_argument(value, "options"));
}

}  // namespace llmsql
