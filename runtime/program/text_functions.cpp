// The functions, as SQLite documents them for text (sqlite.org/lang_corefunc.html). See
// text_functions.h.
#include "runtime/program/text_functions.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "runtime/storage/sqlite_callbacks.h"

namespace llmsql {
namespace {

// Of what is searched for, in bytes. Templates search for a mark or two.
constexpr size_t kLongest = 1000;

std::optional<std::string_view> text_of(sqlite3_value* value) {
    if (sqlite3_value_type(value) == SQLITE_NULL) return std::nullopt;
    return text_of_value(value);
}

std::optional<std::string_view> short_text_of(sqlite3_value* value, const char* function) {
    const auto text = text_of(value);
    if (text && text->size() > kLongest)
        fail("{}: argument 2 is {} bytes long, in a plan it may be {}", function, text->size(),
             kLongest);
    return text;
}

bool is_character_start(char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

// instr(x, y): the character, from 1, at which y begins in x, or 0.
void instr(sqlite3_context* context, sqlite3_value** values) {
    const auto x = text_of(values[0]), y = short_text_of(values[1], "instr");
    if (!x || !y) return;
    const size_t at = x->find(*y);
    int64_t character = 0;
    if (at != std::string_view::npos) {
        character = 1;
        for (const char c : x->substr(0, at)) character += is_character_start(c) ? 1 : 0;
    }
    sqlite3_result_int64(context, character);
}

// replace(x, y, z): x with z for each y.
void replace(sqlite3_context* context, sqlite3_value** values) {
    const auto x = text_of(values[0]), y = short_text_of(values[1], "replace"),
               z = text_of(values[2]);
    if (!x || !y) return;
    if (y->empty()) return sqlite3_result_value(context, values[0]);
    if (!z) return;
    const auto most = static_cast<size_t>(
        sqlite3_limit(sqlite3_context_db_handle(context), SQLITE_LIMIT_LENGTH, -1));
    std::string out;
    size_t done = 0;
    for (size_t at; (at = x->find(*y, done)) != std::string_view::npos; done = at + y->size()) {
        out += x->substr(done, at - done);
        out += *z;
        if (out.size() > most) return sqlite3_result_error_toobig(context);
    }
    out += x->substr(done);
    result_text(context, out);
}

// trim(x[, y]): x without characters of y (a space if absent) at the chosen ends.
template<bool left, bool right>
void trim(sqlite3_context* context, sqlite3_value** values, bool has_set) {
    const auto x = text_of(values[0]);
    const auto set = has_set ? short_text_of(values[1], "trim") : std::string_view(" ");
    if (!x || !set) return;
    std::vector<std::string_view> characters;
    for (size_t at = 0; at < set->size();) {
        size_t end = at + 1;
        while (end < set->size() && !is_character_start((*set)[end])) ++end;
        characters.push_back(set->substr(at, end - at));
        at = end;
    }
    std::string_view rest = *x;
    const auto cut = [&](auto has, auto remove) {
        for (bool again = true; again;) {
            again = false;
            for (const std::string_view character : characters)
                if (has(character)) {
                    remove(character.size());
                    again = true;
                    break;
                }
        }
    };
    if constexpr (left)
        cut([&](std::string_view c) { return rest.starts_with(c); },
            [&](size_t bytes) { rest.remove_prefix(bytes); });
    if constexpr (right)
        cut([&](std::string_view c) { return rest.ends_with(c); },
            [&](size_t bytes) { rest.remove_suffix(bytes); });
    result_text(context, rest);
}

template<auto function>
void call(sqlite3_context* context, int, sqlite3_value** values) {
    guard_function(context, [&] { function(context, values); });
}

template<bool left, bool right>
void call_trim(sqlite3_context* context, int count, sqlite3_value** values) {
    guard_function(context, [&] { trim<left, right>(context, values, count > 1); });
}

}  // namespace

void register_text_functions(sqlite3* db) {
    const struct {
        const char* name;
        int arguments;
        void (*function)(sqlite3_context*, int, sqlite3_value**);
    } kFunctions[] = {
        {"instr", 2, call<instr>},
        {"replace", 3, call<replace>},
        {"trim", 1, call_trim<true, true>},
        {"trim", 2, call_trim<true, true>},
        {"ltrim", 1, call_trim<true, false>},
        {"ltrim", 2, call_trim<true, false>},
        {"rtrim", 1, call_trim<false, true>},
        {"rtrim", 2, call_trim<false, true>},
    };
    for (const auto& each : kFunctions)
        if (sqlite3_create_function_v2(db, each.name, each.arguments,
                                       SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr, each.function,
                                       nullptr, nullptr, nullptr) != SQLITE_OK)
            fail("cannot register {}: {}", each.name, sqlite3_errmsg(db));
}

}  // namespace llmsql
