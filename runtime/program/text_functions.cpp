// SPDX-License-Identifier: MIT
// The functions, as SQLite documents them for text (sqlite.org/lang_corefunc.html). See
// text_functions.h.
#include "runtime/program/text_functions.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/error.h"
#include "sqlite/callbacks.h"

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

// Between two calls of `pulse`, in bytes looked at or written.
constexpr size_t kCharactersAtOnce = 64 << 10;

using Pulse = std::function<void()>;

bool is_character_start(char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

// Bytes of the first character, as SQLite takes text apart, valid UTF-8 or not.
size_t character_length(std::string_view text) {
    size_t end = 1;
    if (static_cast<unsigned char>(text[0]) >= 0xc0)
        while (end < text.size() && !is_character_start(text[end])) ++end;
    return end;
}

// Where `what`, which is short, begins in `text` from `at` on; npos if it does not.
size_t find(std::string_view text, std::string_view what, size_t at, const Pulse& pulse) {
    const size_t none = std::string_view::npos;
    for (; at + what.size() <= text.size(); at += kCharactersAtOnce) {
        const size_t found = text.substr(at, kCharactersAtOnce + what.size() - 1).find(what);
        if (found != none) return at + found;
        pulse();
    }
    return none;
}

// instr(x, y): the character (of two BLOBs, the byte), from 1, at which y begins in x, or 0.
void instr(sqlite3_context* context, sqlite3_value** values, int, const Pulse& pulse) {
    const bool bytes = sqlite3_value_type(values[0]) == SQLITE_BLOB &&
                       sqlite3_value_type(values[1]) == SQLITE_BLOB;
    const auto x = text_of(values[0]), y = short_text_of(values[1], "instr");
    if (!x || !y) return;
    size_t at = find(*x, *y, 0, pulse);
    while (!bytes && at != std::string_view::npos && at > 0 && !is_character_start((*x)[at]))
        at = find(*x, *y, at + 1, pulse);
    int64_t character = 0;
    if (at != std::string_view::npos) {
        character = 1;  // whatever stands first is one
        for (size_t i = 1; i <= at; ++i) character += bytes || is_character_start((*x)[i]) ? 1 : 0;
    }
    sqlite3_result_int64(context, character);
}

// replace(x, y, z): x with z for each y. Always text, as from SQLite 3.46 on; before, a number in
// which nothing is searched for stayed a number.
void replace(sqlite3_context* context, sqlite3_value** values, int, const Pulse& pulse) {
    const auto x = text_of(values[0]), y = short_text_of(values[1], "replace"),
               z = text_of(values[2]);
    if (!x || !y) return;
    if (y->empty() || y->front() == '\0') return result_text(context, *x);
    if (!z) return;
    const auto most = static_cast<size_t>(
        sqlite3_limit(sqlite3_context_db_handle(context), SQLITE_LIMIT_LENGTH, -1));
    std::string out;
    size_t done = 0, told = 0;
    for (size_t at; (at = find(*x, *y, done, pulse)) != std::string_view::npos;
         done = at + y->size()) {
        out += x->substr(done, at - done);
        out += *z;
        if (out.size() > most) return sqlite3_result_error_toobig(context);
        if (out.size() + at - told > kCharactersAtOnce) {
            pulse();
            told = out.size() + at;
        }
    }
    out += x->substr(done);
    result_text(context, out);
}

// The characters that trim() takes away, to be looked up by what they are.
class CharacterSet {
  public:
    explicit CharacterSet(std::string_view characters) {
        size_t index = 0;
        for (std::string_view rest = characters.substr(0, characters.find('\0')); !rest.empty();
             ++index) {
            const size_t length = character_length(rest);
            places_.emplace(rest.substr(0, length), index);
            if (std::ranges::find(lengths_, length) == lengths_.end()) lengths_.push_back(length);
            rest.remove_prefix(length);
        }
    }

    // Bytes of the first of them that stands at the end of a text of which `part` gives the last,
    // or first, so many bytes; 0 if none does. In valid UTF-8 there is one at most.
    template<class Part>
    size_t match(size_t size, Part part) const {
        size_t bytes = 0, best = 0;
        for (const size_t length : lengths_) {
            if (length > size) continue;
            const auto found = places_.find(part(length));
            if (found == places_.end() || (bytes > 0 && found->second > best)) continue;
            bytes = length;
            best = found->second;
        }
        return bytes;
    }

  private:
    std::unordered_map<std::string_view, size_t> places_;
    std::vector<size_t> lengths_;  // few: four, of valid UTF-8
};

// trim(x[, y]): x without characters of y (a space if absent) at the chosen ends.
template<bool left, bool right>
void trim(sqlite3_context* context, sqlite3_value** values, int count, const Pulse& pulse) {
    const auto x = text_of(values[0]);
    const auto set = count > 1 ? short_text_of(values[1], "trim") : std::string_view(" ");
    if (!x || !set) return;
    const CharacterSet characters(*set);
    std::string_view rest = *x;
    size_t steps = 0;
    const auto tell = [&] {
        if (++steps % kCharactersAtOnce == 0) pulse();
    };
    if constexpr (left)
        while (const size_t bytes =
                   characters.match(rest.size(), [&](size_t n) { return rest.substr(0, n); })) {
            rest.remove_prefix(bytes);
            tell();
        }
    if constexpr (right)
        while (const size_t bytes = characters.match(
                   rest.size(), [&](size_t n) { return rest.substr(rest.size() - n); })) {
            rest.remove_suffix(bytes);
            tell();
        }
    result_text(context, rest);
}

char folded(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_character(std::string_view a, std::string_view b) {
    return a.size() == b.size() && (a == b || (a.size() == 1 && folded(a[0]) == folded(b[0])));
}

// A pattern's next piece: a character, '_' or '%'; nothing if it ends in the escape character.
struct Piece {
    enum class Kind { character, any, some, broken } kind = Kind::character;
    std::string_view character;
    size_t length = 0;  // in the pattern
};

Piece next_piece(std::string_view pattern, std::string_view escape) {
    const size_t length = character_length(pattern);
    const std::string_view first = pattern.substr(0, length);
    if (!escape.empty() && first == escape) {
        pattern.remove_prefix(length);
        if (pattern.empty()) return {Piece::Kind::broken, {}, length};
        const size_t escaped = character_length(pattern);
        return {Piece::Kind::character, pattern.substr(0, escaped), length + escaped};
    }
    if (first == "%") return {Piece::Kind::some, first, length};
    if (first == "_") return {Piece::Kind::any, first, length};
    return {Piece::Kind::character, first, length};
}

// Whether a text is like a pattern. Where it is not, what the last '%' stands for becomes one
// character longer; those before it never need to change.
bool is_like(std::string_view text, std::string_view pattern, std::string_view escape,
             const Pulse& pulse) {
    std::optional<std::pair<std::string_view, std::string_view>> again;  // text, pattern behind '%'
    size_t steps = 0;
    while (true) {
        if (++steps % kCharactersAtOnce == 0) pulse();
        if (pattern.empty() && text.empty()) return true;
        bool goes_on = false;
        if (!pattern.empty()) {
            const Piece piece = next_piece(pattern, escape);
            if (piece.kind == Piece::Kind::some) {
                pattern.remove_prefix(piece.length);
                if (pattern.empty()) return true;
                again = {text, pattern};
                continue;
            }
            if (!text.empty() && piece.kind != Piece::Kind::broken) {
                const size_t length = character_length(text);
                if (piece.kind == Piece::Kind::any ||
                    same_character(text.substr(0, length), piece.character)) {
                    text.remove_prefix(length);
                    pattern.remove_prefix(piece.length);
                    goes_on = true;
                }
            }
        }
        if (goes_on) continue;
        if (!again || again->first.empty()) return false;
        again->first.remove_prefix(character_length(again->first));
        std::tie(text, pattern) = *again;
    }
}

// like(y, x[, e]): x LIKE y [ESCAPE e]. Of both only what is before a NUL counts. BLOBs are taken
// for texts, as SQLite does unless it is built not to.
void like(sqlite3_context* context, sqlite3_value** values, int count, const Pulse& pulse) {
    const auto before_nul = [](std::optional<std::string_view> text) {
        return text ? std::optional(text->substr(0, text->find('\0'))) : text;
    };
    const auto most = static_cast<size_t>(
        sqlite3_limit(sqlite3_context_db_handle(context), SQLITE_LIMIT_LIKE_PATTERN_LENGTH, -1));
    const auto pattern = text_of(values[0]);
    if (pattern && pattern->size() > std::min(most, kLongest))
        fail("LIKE or GLOB pattern too complex");
    std::string_view escape;
    if (count > 2) {
        const auto given = text_of(values[2]);
        if (!given) return;
        if (given->empty() || character_length(*given) != given->size())
            fail("ESCAPE expression must be a single character");
        escape = *given;
    }
    const auto text = text_of(values[1]);
    if (!text || !pattern) return;
    sqlite3_result_int(context,
                       is_like(*before_nul(text), *before_nul(pattern), escape, pulse) ? 1 : 0);
}

template<auto function>
void call(sqlite3_context* context, int count, sqlite3_value** values) {
    guard_function(context, [&] {
        function(context, values, count, *static_cast<const Pulse*>(sqlite3_user_data(context)));
    });
}

}  // namespace

void register_text_functions(sqlite3* db, std::function<void()> pulse) {
    const struct {
        const char* name;
        int arguments;
        void (*function)(sqlite3_context*, int, sqlite3_value**);
    } kFunctions[] = {
        {"instr", 2, call<instr>},
        {"replace", 3, call<replace>},
        {"trim", 1, call<trim<true, true>>},
        {"trim", 2, call<trim<true, true>>},
        {"ltrim", 1, call<trim<true, false>>},
        {"ltrim", 2, call<trim<true, false>>},
        {"rtrim", 1, call<trim<false, true>>},
        {"rtrim", 2, call<trim<false, true>>},
        {"like", 2, call<like>},
        {"like", 3, call<like>},
    };
    for (const auto& each : kFunctions)
        if (sqlite3_create_function_v2(
                db, each.name, each.arguments, SQLITE_UTF8 | SQLITE_DETERMINISTIC, new Pulse(pulse),
                each.function, nullptr, nullptr,
                [](void* held) { delete static_cast<Pulse*>(held); }) != SQLITE_OK)
            fail("cannot register {}: {}", each.name, sqlite3_errmsg(db));
}

}  // namespace llmsql
