// SPDX-License-Identifier: MIT
// JSON: read as the values that templates are given, and written as Python's json.dumps does.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/error.h"
#include "jinja/builtins.h"
#include "jinja/template.h"

namespace llmsql::jinja {
namespace {

constexpr int kDeepestJson = 200;

class Reader {
  public:
    Reader(std::string_view json, bool foreign, std::string_view what)
        : json_(json), mark_(foreign ? kForeign : 0), what_(what) {}

    Value run() {
        Value value = any();
        spaces();
        if (at_ != json_.size()) wrong("something after its end");
        return value;
    }

  private:
    [[noreturn]] void wrong(std::string_view why) const {
        fail("{} is not valid JSON: at byte {}: {}", what_, at_ + 1, why);
    }

    void spaces() {
        while (at_ < json_.size() &&
               std::string_view(" \t\n\r").find(json_[at_]) != std::string_view::npos)
            ++at_;
    }
    bool skip(char c) {
        spaces();
        if (at_ == json_.size() || json_[at_] != c) return false;
        ++at_;
        return true;
    }
    bool skip_word(std::string_view word) {
        if (json_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Value any() {
        Meter::step();
        spaces();
        if (at_ == json_.size()) wrong("it ends too early");
        if (++depth_ > kDeepestJson)
            wrong(fmt::format("nested deeper than {} levels", kDeepestJson));
        Value value = of_kind();
        --depth_;
        return value;
    }

    Value of_kind() {
        const char c = json_[at_];
        if (c == '"') return text();
        if (skip_word("true")) return Value::of(true);
        if (skip_word("false")) return Value::of(false);
        if (skip_word("null")) return None{};
        if (skip('[')) {
            Values items;
            if (skip(']')) return List();
            do items.push_back(any());
            while (skip(','));
            if (!skip(']')) wrong("',' or ']' expected");
            return List(std::move(items));
        }
        if (skip('{')) {
            Map map;
            if (skip('}')) return map;
            do {
                spaces();
                if (at_ == json_.size() || json_[at_] != '"') wrong("a name in quotes expected");
                Value name = text();
                if (!skip(':')) wrong("':' expected");
                map.set(std::move(name), any());
            } while (skip(','));
            if (!skip('}')) wrong("',' or '}' expected");
            return map;
        }
        return number();
    }

    Value number() {
        const size_t from = at_;
        const auto digits = [&] {
            const size_t first = at_;
            while (at_ < json_.size() && json_[at_] >= '0' && json_[at_] <= '9') ++at_;
            if (at_ == first) wrong("a value expected");
        };
        if (json_[at_] == '-') ++at_;
        const size_t first = at_;
        digits();
        if (json_[first] == '0' && at_ > first + 1) wrong("a number may not begin with 0");
        bool real = false;
        if (at_ < json_.size() && json_[at_] == '.') {
            ++at_;
            real = true;
            digits();
        }
        if (at_ < json_.size() && (json_[at_] | 0x20) == 'e') {
            ++at_;
            real = true;
            if (at_ < json_.size() && (json_[at_] == '+' || json_[at_] == '-')) ++at_;
            digits();
        }
        const std::string number(json_.substr(from, at_ - from));
        if (real) return Value::of(std::strtod(number.c_str(), nullptr));
        int64_t whole = 0;
        if (std::from_chars(number.data(), number.data() + number.size(), whole).ec != std::errc())
            wrong("a number does not fit in 64 bits");
        return Value::of(whole);
    }

    Char unit() {
        Char code = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            const char c = at_ < json_.size() ? json_[at_] : '"';
            const char low = static_cast<char>(c | 0x20);
            if (c >= '0' && c <= '9')
                code = code * 16 + static_cast<Char>(c - '0');
            else if (low >= 'a' && low <= 'f')
                code = code * 16 + static_cast<Char>(low - 'a' + 10);
            else
                wrong("\\u needs four hexadecimal digits");
        }
        return code;
    }

    Value text() {
        ++at_;
        std::string bytes;
        while (true) {
            if (at_ == json_.size()) wrong("a text without end");
            const char c = json_[at_++];
            if (c == '"') return Value(chars_of(bytes, mark_));
            if (static_cast<unsigned char>(c) < 0x20) wrong("a control character in a text");
            if (c != '\\') {
                bytes += c;
                continue;
            }
            const char escape = at_ < json_.size() ? json_[at_++] : ' ';
            constexpr std::string_view kShort = "\"\\/bfnrt", kMeans = "\"\\/\b\f\n\r\t";
            if (const size_t i = kShort.find(escape); i != std::string_view::npos) {
                bytes += kMeans[i];
                continue;
            }
            if (escape != 'u') wrong("an unknown escape");
            Char code = unit();
            if (code >= 0xd800 && code < 0xdc00 && json_.substr(at_, 2) == "\\u") {
                const size_t before = at_;
                at_ += 2;
                const Char low = unit();
                if (low >= 0xdc00 && low < 0xe000)
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                else
                    at_ = before;
            }
            append_bytes(bytes, code >= 0xd800 && code < 0xe000 ? Char{0xfffd} : code);
        }
    }

    std::string_view json_;
    Char mark_;
    std::string_view what_;
    size_t at_ = 0;
    int depth_ = 0;
};

class Writer {
  public:
    Writer(bool ascii, const Value& indent, const Value& separators, bool sort)
        : ascii_(ascii), sort_(sort), lines_(!indent.is_none() && !indent.missing()) {
        if (lines_) {
            if (indent.text()) {
                indent_ = indent.text()->chars;
            } else {
                require_defined(indent);
                const auto width = indent.integer();
                if (!width)
                    fail("tojson: indent must be a number or a text, not '{}'", indent.type_name());
                if (*width > 1000) fail("tojson: indent is larger than 1000");
                indent_ = Chars(static_cast<size_t>(std::max<int64_t>(0, *width)), U' ' | kForeign);
            }
        }
        between_ = chars_of(lines_ ? "," : ", ", kForeign);
        colon_ = chars_of(": ", kForeign);
        if (!separators.missing() && !separators.is_none()) {
            const Values both = values_of(separators);
            if (both.size() != 2 || !both[0].text() || !both[1].text())
                fail("tojson: separators must be two texts");
            between_ = both[0].text()->chars;
            colon_ = both[1].text()->chars;
        }
    }

    Chars run(const Value& value) {
        write(value, 0);
        return std::move(out_);
    }

  private:
    void put(std::string_view ascii) { out_ += chars_of(ascii, kForeign); }

    void line(int depth) {
        if (!lines_) return;
        put("\n");
        for (int i = 0; i < depth; ++i) {
            Meter::allow(out_.size() + indent_.size(), sizeof(Char));
            out_ += indent_;
        }
    }

    void text(const Chars& text) {
        put("\"");
        Meter::allow(out_.size() + text.size(), sizeof(Char));
        for (const Char c : text) {
            const Char code = plain(c);
            const auto escaped = [&](std::string_view ascii) {
                out_ += chars_of(ascii, mark_of(c));
            };
            if (code == U'"')
                escaped("\\\"");
            else if (code == U'\\')
                escaped("\\\\");
            else if (code == U'\n')
                escaped("\\n");
            else if (code == U'\r')
                escaped("\\r");
            else if (code == U'\t')
                escaped("\\t");
            else if (code == U'\b')
                escaped("\\b");
            else if (code == U'\f')
                escaped("\\f");
            else if (code < 0x20)
                escaped(fmt::format("\\u{:04x}", static_cast<uint32_t>(code)));
            else if (!ascii_ || code < 0x7f)
                out_ += c;
            else if (code >= kRawByte)
                escaped(fmt::format("\\udc{:02x}", static_cast<uint32_t>(code - kRawByte)));
            else if (code < 0x10000)
                escaped(fmt::format("\\u{:04x}", static_cast<uint32_t>(code)));
            else
                escaped(fmt::format("\\u{:04x}\\u{:04x}",
                                    static_cast<uint32_t>(0xd800 + ((code - 0x10000) >> 10)),
                                    static_cast<uint32_t>(0xdc00 + (code & 0x3ff))));
        }
        put("\"");
    }

    static Chars number(double real) {
        if (std::isnan(real)) return chars_of("NaN", kForeign);
        if (std::isinf(real)) return chars_of(real < 0 ? "-Infinity" : "Infinity", kForeign);
        return chars_of(repr(real), kForeign);
    }

    Chars name_of(const Value& key) const {
        if (key.text()) return key.text()->chars;
        if (key.is_none()) return chars_of("null", kForeign);
        if (key.boolean()) return chars_of(*key.boolean() ? "true" : "false", kForeign);
        if (key.real()) return number(*key.real());
        if (key.integer()) return chars_of(std::to_string(*key.integer()), kForeign);
        fail("keys must be str, int, float, bool or None, not {}", key.type_name());
    }

    void write(const Value& value, int depth) {
        Meter::step();
        if (value.text()) return text(value.text()->chars);
        if (value.is_none()) return put("null");
        if (value.boolean()) return put(*value.boolean() ? "true" : "false");
        if (value.real()) {
            out_ += number(*value.real());
            return;
        }
        if (value.integer()) return put(std::to_string(*value.integer()));
        if (const List* list = value.list()) {
            if (list->items.empty()) return put("[]");
            put("[");
            bool first = true;
            for (const Value& item : list->items) {
                if (!std::exchange(first, false)) out_ += between_;
                line(depth + 1);
                write(item, depth + 1);
            }
            line(depth);
            return put("]");
        }
        if (!value.map()) fail("Object of type {} is not JSON serializable", value.type_name());
        const auto& all = value.map()->items;
        if (all.empty()) return put("{}");
        std::vector<const std::pair<Value, Value>*> items;
        for (const auto& item : all) items.push_back(&item);
        if (sort_)
            std::ranges::stable_sort(
                items, [](const auto* a, const auto* b) { return less(a->first, b->first); });
        put("{");
        bool first = true;
        for (const auto* item : items) {
            if (!std::exchange(first, false)) out_ += between_;
            line(depth + 1);
            text(name_of(item->first));
            out_ += colon_;
            write(item->second, depth + 1);
        }
        line(depth);
        put("}");
    }

    bool ascii_, sort_, lines_;
    Chars indent_, between_, colon_, out_;
};

}  // namespace

Value value_of_json(std::string_view json, bool foreign, std::string_view what) {
    return Reader(json, foreign, what).run();
}

Chars to_json(const Value& value, bool ascii, const Value& indent, const Value& separators,
              bool sort_keys) {
    return Writer(ascii, indent, separators, sort_keys).run(value);
}

}  // namespace llmsql::jinja
