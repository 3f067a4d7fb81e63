// SPDX-License-Identifier: MIT
// The table of forms, and their readers. See tool_calls.h.
#include "runtime/text/tool_calls.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDeepest = 64;      // lists and objects within each other
constexpr size_t kMostCalls = 1000;  // of one answer
constexpr size_t kMostTries = 4;     // ends of a body that are tried
constexpr size_t kLongestName = 256;

constexpr std::string_view kSpace = " \t\r\n";

std::string too_many() {
    return fmt::format("more than {} calls in one answer: from here on they are not read",
                       kMostCalls);
}

std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool skip(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

void skip_space(std::string_view& text) {
    text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
}

/// What stands before `mark`, which goes with it; nothing, and `text` as it was, without one.
std::optional<std::string_view> take_until(std::string_view& text, std::string_view mark) {
    const size_t at = text.find(mark);
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view before = text.substr(0, at);
    text.remove_prefix(at + mark.size());
    return before;
}

std::string text_of(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// ---- JSON
// ----------------------------------------------------------------------------------------

[[noreturn]] void given_twice(std::string_view key) {
    fail("'{}' is given twice", printable(key));
}

/// Discarded where it is no JSON. Fails where an object has a key twice: which one counts is
/// another thing to every reader, so that what was checked need not be what is run.
Json parse_json(std::string_view text) {
    std::vector<std::set<std::string>> open;  // the keys of the objects that have not ended
    const auto once = [&](int, Json::parse_event_t event, const Json& value) {
        if (event == Json::parse_event_t::object_start)
            open.emplace_back();
        else if (event == Json::parse_event_t::object_end)
            open.pop_back();
        else if (event == Json::parse_event_t::key &&
                 !open.back().insert(value.get<std::string>()).second)
            given_twice(value.get<std::string>());
        return true;
    };
    return Json::parse(text, once, false);
}

/// An object's next member. Fails where there is one of that name.
void add_member(Json& object, std::string key, Json value) {
    if (object.contains(key)) given_twice(key);
    object[std::move(key)] = std::move(value);
}

Json take_python_value(std::string_view& text, size_t depth);

/// Whether it may be a value as Python writes it, where JSON would not be.
bool may_be_python(std::string_view text) {
    for (const std::string_view sign : {"'", "True", "False", "None"})
        if (text.find(sign) != std::string_view::npos) return true;
    return false;
}

Json take_strict_json(std::string_view& text, size_t deepest) {
    skip_space(text);
    size_t depth = 0, at = 0;
    bool in_text = false;
    const bool nested = text.starts_with('{') || text.starts_with('[');
    if (!nested) fail("no JSON object stands where one is wanted");
    for (; at < text.size(); ++at) {
        const char c = text[at];
        if (in_text) {
            if (c == '\\')
                ++at;
            else if (c == '"')
                in_text = false;
        } else if (c == '"') {
            in_text = true;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest) fail("the JSON is nested deeper than {} times", deepest);
        } else if ((c == '}' || c == ']') && --depth == 0) {
            break;
        }
    }
    if (at >= text.size()) fail("the JSON does not come to its end");
    Json json = parse_json(text.substr(0, at + 1));
    if (json.is_discarded()) fail("what is in braces is no JSON");
    text.remove_prefix(at + 1);
    return json;
}

/// The value that `text` begins with, in JSON or as Python writes it; the rest stays. Fails where
/// there is none, one too deep, or one with a key twice.
Json take_json(std::string_view& text, size_t deepest = kDeepest) {
    try {
        return take_strict_json(text, deepest);
    } catch (const Error&) {
        if (!text.starts_with('{') && !text.starts_with('[')) throw;
        if (!may_be_python(text)) throw;
        std::string_view rest = text;
        Json value;
        try {
            value = take_python_value(rest, 1);
        } catch (const Error&) {
            rest = {};
        }
        if (rest.data() == nullptr) throw;
        text = rest;
        return value;
    }
}

/// What is written without quotes: a number, true, a list, in JSON or as Python has them; or else a
/// text.
Json loose_value(std::string_view written) {
    const std::string_view text = trimmed(written);
    if (text == "True") return true;
    if (text == "False") return false;
    if (text == "None") return nullptr;
    const bool perhaps =
        !text.empty() && text.size() < 4096
            ? std::string_view("{[-0123456789tfn").find(text[0]) != std::string_view::npos
            : text.starts_with('{') || text.starts_with('[');
    if (perhaps && (text[0] == '{' || text[0] == '[')) {
        std::string_view rest = text;
        try {
            Json json = take_json(rest);
            if (trimmed(rest).empty()) return json;
        } catch (const Error&) {
        }
    } else if (perhaps) {
        Json json = Json::parse(text, nullptr, false);
        if (!json.is_discarded()) return json;
    }
    return std::string(written);
}

/// A parameter's value that is written without quotes.
Json value_of(const ToolReading& into, std::string_view tool, std::string_view parameter,
              std::string_view written) {
    using Type = ToolTypes::Type;
    const Type type = into.types ? into.types->of(tool, parameter) : Type::unknown;
    if (type == Type::unknown) return loose_value(written);
    const std::string_view word = trimmed(written);
    if (type == Type::text_or_null && (word == "null" || word == "None")) return nullptr;
    return std::string(written);
}

void check_name(std::string_view name) {
    if (name.empty()) fail("the call names no function");
    if (name.size() > kLongestName) fail("the function's name is {} bytes long", name.size());
    for (const char c : name)
        if (static_cast<unsigned char>(c) <= ' ' || c == '<' || c == '>' || c == '"' || c == '{')
            fail("'{}' is no name of a function", printable(name));
}

void add(ToolReading& into, std::string_view name, const Json& arguments, std::string id = {}) {
    check_name(name);
    if (!arguments.is_object()) fail("the arguments of {} are no JSON object", printable(name));
    into.calls.push_back({std::string(name), text_of(arguments), std::move(id), {}, {}});
}

const Json* first_of(const Json& object, std::initializer_list<const char*> names) {
    for (const char* name : names)
        if (const auto found = object.find(name); found != object.end()) return &*found;
    return nullptr;
}

void add_json_call(ToolReading& into, const Json& given) {
    if (!given.is_object()) fail("a call must be a JSON object");
    const Json* object = &given;
    const Json* id = first_of(given, {"id", "tool_call_id", "call_id"});
    // OpenAI's: {"type": "function", "function": {"name": …}}.
    if (const Json* inner = first_of(given, {"function"}); inner && inner->is_object())
        object = inner;
    const Json* name = first_of(*object, {"name", "tool_name", "function"});
    const Json* arguments = first_of(*object, {"arguments", "parameters", "args"});
    const std::string call_id = id && id->is_string() ? id->get<std::string>() : std::string();
    if (!name && object->size() == 1 && object->begin()->is_object())  // {"f": {"x": 1}}
        return add(into, object->begin().key(), *object->begin(), call_id);
    if (!name || !name->is_string()) fail("the call names no function");
    Json given_as_text;
    if (arguments && arguments->is_string()) {
        const auto inside = arguments->get<std::string>();
        std::string_view rest = inside;
        skip_space(rest);
        given_as_text = rest.empty() ? Json::object() : take_json(rest);
        if (!trimmed(rest).empty()) fail("behind the arguments stands something else");
        arguments = &given_as_text;
    }
    add(into, name->get<std::string>(),
        !arguments || arguments->is_null() ? Json::object() : *arguments, call_id);
}

/// Objects, or arrays of them, one after the other.
void read_json(std::string_view body, ToolReading& into) {
    while (!trimmed(body).empty()) {
        const Json json = take_json(body);
        if (json.is_array())
            for (const Json& each : json) add_json_call(into, each);
        else
            add_json_call(into, json);
        skip_space(body);
        if (!body.empty() && (body[0] == ';' || body[0] == ',')) body.remove_prefix(1);
    }
}

// ---- Python's calls: [get_weather(city="Paris", days=2)]
// -----------------------------------------

bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || static_cast<unsigned char>(c) >= 0x80;
}

std::string_view take_name(std::string_view& text) {
    skip_space(text);
    size_t end = 0;
    while (end < text.size() && is_name_byte(text[end])) ++end;
    const std::string_view name = text.substr(0, end);
    text.remove_prefix(end);
    return name;
}

void append_utf8(std::string& to, uint32_t code) {
    if (code < 0x80) {
        to += static_cast<char>(code);
    } else if (code < 0x800) {
        to += static_cast<char>(0xc0 | (code >> 6));
        to += static_cast<char>(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        to += static_cast<char>(0xe0 | (code >> 12));
        to += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
        to += static_cast<char>(0x80 | (code & 0x3f));
    } else {
        to += static_cast<char>(0xf0 | (code >> 18));
        to += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
        to += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
        to += static_cast<char>(0x80 | (code & 0x3f));
    }
}

std::string take_python_text(std::string_view& text) {
    const char quote = text[0];
    std::string made;
    size_t at = 1;
    uint32_t high = 0;  // the first half of a character in two
    const auto hex = [&](size_t digits) {
        uint32_t code = 0;
        if (at + digits >= text.size()) fail("a text does not come to its end");
        for (size_t i = 0; i < digits; ++i) {
            const char c = text[++at];
            const int value = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (value < 0) fail("a text has an escape that is none");
            code = code * 16 + static_cast<uint32_t>(value);
        }
        const uint32_t before = std::exchange(high, 0);
        if (before != 0 && code >= 0xdc00 && code < 0xe000) {
            made.resize(made.size() - 3);  // U+FFFD, which stands for the first half
            code = 0x10000 + ((before - 0xd800) << 10) + (code - 0xdc00);
        } else if (code >= 0xd800 && code < 0xdc00) {
            high = code;
        }
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) code = 0xfffd;
        append_utf8(made, code);
    };
    for (; at < text.size() && text[at] != quote; ++at) {
        if (text[at] != '\\' || at + 1 >= text.size() || text[at + 1] != 'u') high = 0;
        if (text[at] != '\\') {
            made += text[at];
            continue;
        }
        if (++at >= text.size()) break;
        switch (text[at]) {
            case 'n':
                made += '\n';
                break;
            case 't':
                made += '\t';
                break;
            case 'r':
                made += '\r';
                break;
            case 'x':
                hex(2);
                break;
            case 'u':
                hex(4);
                break;
            case 'U':
                hex(8);
                break;
            case 'b':
                made += '\b';
                break;
            case 'f':
                made += '\f';
                break;
            case '\\':
            case '\'':
            case '"':
            case '/':
                made += text[at];
                break;
            default:
                (made += '\\') += text[at];
        }
    }
    if (at >= text.size()) fail("a text does not come to its end");
    text.remove_prefix(at + 1);
    return made;
}

Json take_python_value(std::string_view& text, size_t depth) {
    if (depth > kDeepest) fail("values are nested deeper than {} times", kDeepest);
    skip_space(text);
    if (text.empty()) fail("a value is missing");
    const char first = text[0];
    if (first == '"' || first == '\'') return take_python_text(text);
    auto next = [&, one = false](char end) mutable {
        skip_space(text);
        if (std::exchange(one, true) && !text.empty() && text[0] != end) {
            if (!skip(text, ",")) fail("values are not parted by commas");
            skip_space(text);
        }
        return !text.empty() && text[0] != end;
    };
    if (first == '[' || first == '(') {
        const char end = first == '[' ? ']' : ')';
        text.remove_prefix(1);
        Json list = Json::array();
        while (next(end)) list.push_back(take_python_value(text, depth + 1));
        if (text.empty()) fail("a list does not come to its end");
        text.remove_prefix(1);
        return list;
    }
    if (first == '{') {
        text.remove_prefix(1);
        Json object = Json::object();
        while (next('}')) {
            if (text[0] != '"' && text[0] != '\'') fail("a key is no text");
            const std::string key = take_python_text(text);
            skip_space(text);
            if (!skip(text, ":")) fail("a key has no value");
            add_member(object, key, take_python_value(text, depth + 1));
        }
        if (text.empty()) fail("an object does not come to its end");
        text.remove_prefix(1);
        return object;
    }
    size_t end = 0;
    while (end < text.size() && (is_name_byte(text[end]) || text[end] == '+')) ++end;
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(end);
    if (word == "True" || word == "true") return true;
    if (word == "False" || word == "false") return false;
    if (word == "None" || word == "null") return nullptr;
    Json number = Json::parse(word, nullptr, false);
    if (!number.is_number()) fail("'{}' is no value", printable(word.substr(0, 40)));
    return number;
}

/// f(a="b"), g(); in brackets or not.
void read_python(std::string_view body, ToolReading& into) {
    body = trimmed(body);
    if (body.starts_with('[') && body.ends_with(']')) body = body.substr(1, body.size() - 2);
    while (!trimmed(body).empty()) {
        const std::string_view name = take_name(body);
        if (!skip(body, "(")) fail("'{}' is not called", printable(name));
        Json arguments = Json::object();
        while (true) {
            skip_space(body);
            if (body.empty()) fail("the call of {} does not come to its end", printable(name));
            if (skip(body, ")")) break;
            const std::string key(take_name(body));
            skip_space(body);
            if (key.empty() || !skip(body, "="))
                fail("an argument of {} has no name", printable(name));
            add_member(arguments, key, take_python_value(body, 1));
            skip_space(body);
            if (!skip(body, ",") && !body.starts_with(')'))
                fail("the arguments of {} are not parted by commas", printable(name));
        }
        // Llama's tools of its own: brave_search.call(query="…").
        add(into, name.ends_with(".call") ? name.substr(0, name.size() - 5) : name, arguments);
        skip_space(body);
        if (!body.empty() && (body[0] == ',' || body[0] == ';')) body.remove_prefix(1);
    }
}

// ---- XML-like forms
// ------------------------------------------------------------------------------

std::string_view without_line_ends(std::string_view text) {
    if (!skip(text, "\r\n")) skip(text, "\n");
    if (text.ends_with('\n')) text.remove_suffix(1);
    if (text.ends_with('\r')) text.remove_suffix(1);
    return text;
}

/// NAME>…<parameter=KEY>VALUE</parameter>…</function>, and more functions.
void read_xml(std::string_view body, ToolReading& into) {
    constexpr std::string_view kFunction = "<function=", kEnd = "</function>",
                               kParameter = "<parameter=", kParameterEnd = "</parameter>";
    skip_space(body);
    skip(body, kFunction);
    while (true) {
        const auto name = take_until(body, ">");
        if (!name) fail("the call names no function");
        Json arguments = Json::object();
        skip_space(body);
        if (body.starts_with('{')) {  // Llama 3.1's: JSON in the tag
            arguments = take_json(body);
            skip_space(body);
        }
        while (skip(body, kParameter)) {
            const auto key = take_until(body, ">");
            if (!key) fail("a parameter has no name");
            const size_t end = std::min({body.find(kParameterEnd), body.find("\n<parameter="),
                                         body.find(kEnd), body.size()});
            const std::string_view value = body.substr(0, end);
            body.remove_prefix(end);
            skip(body, kParameterEnd);
            const std::string parameter(trimmed(*key));
            add_member(arguments, parameter,
                       value_of(into, trimmed(*name), parameter, without_line_ends(value)));
            skip_space(body);
        }
        skip(body, kEnd);
        add(into, trimmed(*name), arguments);
        skip_space(body);
        if (body.empty()) return;
        if (!skip(body, kFunction)) fail("behind the parameters stands something else");
    }
}

/// A value as XML writes it: in CDATA, or as it is.
Json xml_value(const ToolReading& into, std::string_view tool, std::string_view parameter,
               std::string_view value) {
    std::string_view inside = trimmed(value);
    constexpr std::string_view kData = "<![CDATA[", kDataEnd = "]]>";
    if (skip(inside, kData) && inside.ends_with(kDataEnd)) {
        inside.remove_suffix(kDataEnd.size());
        return std::string(inside);
    }
    return value_of(into, tool, parameter, without_line_ends(value));
}

/// <invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke>, or function and param;
/// some have a word of their own before the tags' names, as <atem:invoke>.
void read_invoke(std::string_view body, ToolReading& into) {
    constexpr std::string_view kBefore[] = {"｜DSML｜", "atem:", "minimax:"};
    const auto tag = [&](std::string_view open, std::string_view name) {
        std::string_view rest = body;
        if (!skip(rest, open)) return false;
        for (const std::string_view before : kBefore) skip(rest, before);
        if (!skip(rest, name)) return false;
        body = rest;
        return true;
    };
    while (true) {
        skip_space(body);
        if (body.empty()) return;
        if (!tag("<", "invoke name=\"") && !tag("<", "function name=\""))
            fail("an <invoke name=\"…\"> is wanted");
        const auto name = take_until(body, "\"");
        if (!name || !take_until(body, ">")) fail("the call names no function");
        Json arguments = Json::object();
        skip_space(body);
        while (tag("<", "parameter name=\"") || tag("<", "param name=\"")) {
            const auto key = take_until(body, "\"");
            const auto more = key ? take_until(body, ">") : std::nullopt;
            if (!more) fail("a parameter has no name");
            // The end, which is none of the value: </parameter>, </param>, </｜DSML｜parameter>.
            const std::string_view whole = body;
            std::optional<std::string_view> value;
            for (size_t at = 0; !value && (at = whole.find("</", at)) != std::string_view::npos;
                 at += 2) {
                body = whole.substr(at);
                if (tag("</", "parameter>") || tag("</", "param>")) value = whole.substr(0, at);
            }
            if (!value) fail("a parameter does not come to its end");
            const bool is_text = more->find("string=\"true\"") != std::string_view::npos;
            add_member(arguments, std::string(*key),
                       is_text ? Json(std::string(*value)) : xml_value(into, *name, *key, *value));
            skip_space(body);
        }
        if (!tag("</", "invoke>") && !tag("</", "function>") && !body.empty())
            fail("the call of {} does not come to its end", printable(*name));
        add(into, *name, arguments);
    }
}

/// NAME">…: what stands behind <function name=".
void read_named(std::string_view body, ToolReading& into) {
    read_invoke("<function name=\"" + std::string(body), into);
}

/// NAME, and <arg_key>KEY</arg_key><arg_value>VALUE</arg_value>; some have a word of their own in
/// the tags' names, as <longcat_arg_key> or <arg_key:opensource>.
void read_arg_keys(std::string_view body, ToolReading& into) {
    std::string_view before, behind;
    for (const auto& [one, other] : std::initializer_list<std::array<std::string_view, 2>>{
             {"longcat_", ""}, {"", ":opensource"}})
        for (const std::string_view tag : {"arg_key", "tool_sep"})
            if (body.find(fmt::format("<{}{}{}>", one, tag, other)) != std::string_view::npos) {
                before = one;
                behind = other;
            }
    const auto named = [&](const char* open, const char* name) {
        return fmt::format("{}{}{}{}>", open, before, name, behind);
    };
    const std::string key_mark = named("<", "arg_key"), separator = named("<", "tool_sep"),
                      key_end = named("</", "arg_key"), value_mark = named("<", "arg_value"),
                      value_end = named("</", "arg_value");
    const size_t end = std::min({body.find(key_mark), body.find(separator), body.size()});
    const std::string_view name = trimmed(body.substr(0, end));
    body.remove_prefix(end);
    skip(body, separator);
    Json arguments = Json::object();
    skip_space(body);
    while (skip(body, key_mark)) {
        const auto key = take_until(body, key_end);
        skip_space(body);
        if (!key || !skip(body, value_mark)) fail("an argument has no value");
        const auto value = take_until(body, value_end);
        if (!value) fail("an argument does not come to its end");
        const std::string parameter(trimmed(*key));
        add_member(arguments, parameter, value_of(into, name, parameter, *value));
        skip_space(body);
    }
    if (!body.empty()) fail("behind the arguments stands something else");
    add(into, name, arguments);
}

// ---- Gemma's: call:NAME{city:<escape>Paris<escape>,days:2}
// ----------------------------------------

constexpr std::array<std::string_view, 2> kGemmaQuotes{"<|\"|>", "<escape>"};

std::optional<std::string> take_gemma_text(std::string_view& text) {
    for (const std::string_view quote : kGemmaQuotes)
        if (skip(text, quote)) {
            const auto inside = take_until(text, quote);
            if (!inside) fail("a text does not come to its end");
            return std::string(*inside);
        }
    if (text.starts_with('"')) return take_python_text(text);
    return std::nullopt;
}

Json take_gemma_value(std::string_view& text, size_t depth) {
    if (depth > kDeepest) fail("values are nested deeper than {} times", kDeepest);
    skip_space(text);
    if (const auto quoted = take_gemma_text(text)) return *quoted;
    const auto next = [&](char end) {
        skip_space(text);
        if (skip(text, ",")) skip_space(text);
        return !text.empty() && text[0] != end;
    };
    if (skip(text, "[")) {
        Json list = Json::array();
        while (next(']')) {
            const size_t before = text.size();
            list.push_back(take_gemma_value(text, depth + 1));
            if (text.size() == before) fail("a value is missing");
        }
        if (!skip(text, "]")) fail("a list does not come to its end");
        return list;
    }
    if (skip(text, "{")) {
        Json object = Json::object();
        while (next('}')) {
            std::optional<std::string> key = take_gemma_text(text);
            if (!key) key = std::string(take_name(text));
            skip_space(text);
            if (key->empty() || !skip(text, ":")) fail("an argument has no name");
            add_member(object, *key, take_gemma_value(text, depth + 1));
        }
        if (!skip(text, "}")) fail("the arguments do not come to their end");
        return object;
    }
    const size_t end = std::min(text.find_first_of(",]}"), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(end);
    return loose_value(trimmed(word));
}

void read_gemma(std::string_view body, ToolReading& into) {
    skip_space(body);
    while (!body.empty()) {
        if (!skip(body, "call:")) fail("a call begins with call: and a name");
        const std::string_view name = take_name(body);
        skip_space(body);
        if (!body.starts_with('{')) fail("the call of {} has no arguments", printable(name));
        add(into, name, take_gemma_value(body, 1));
        skip_space(body);
    }
}

// ---- Names before JSON
// ---------------------------------------------------------------------------

void expect_end(std::string_view body) {
    if (!trimmed(body).empty()) fail("behind the arguments stands something else");
}

/// JSON with nothing behind it.
Json last_json(std::string_view body) {
    Json value = take_json(body);
    expect_end(body);
    return value;
}

/// NAME[CALL_ID]ID[ARGS]{…}, NAME[ARGS]{…} or NAME{…}; or a list in JSON.
void read_mistral(std::string_view body, ToolReading& into) {
    skip_space(body);
    if (body.starts_with('[') || body.starts_with('{')) return read_json(body, into);
    const size_t end = body.find_first_of("[{");
    if (end == std::string_view::npos) fail("a call has a name and arguments");
    const std::string_view name = trimmed(body.substr(0, end));
    body.remove_prefix(end);
    std::string id;
    if (skip(body, "[CALL_ID]")) {
        const size_t args = std::min(body.find('['), body.size());
        id = trimmed(body.substr(0, args));
        body.remove_prefix(args);
    }
    skip(body, "[ARGS]");
    const Json arguments = last_json(body);
    add(into, name, arguments, std::move(id));
}

/// NAME, and on the next line JSON, in a code block or not; `function` may stand on a line before.
void read_name_line(std::string_view body, ToolReading& into) {
    skip_space(body);
    skip(body, "function\n");
    const size_t end = std::min(body.find_first_of("\n`{"), body.size());
    const std::string_view name = trimmed(body.substr(0, end));
    body.remove_prefix(end);
    skip_space(body);
    skip(body, "```json");
    const Json arguments = take_json(body);
    skip_space(body);
    skip(body, "```");
    expect_end(body);
    add(into, name, arguments);
}

/// function<｜tool▁sep｜>NAME, JSON in a code block; or NAME<｜tool▁sep｜>{…}.
void read_deepseek(std::string_view body, ToolReading& into) {
    const auto before = take_until(body, "<｜tool▁sep｜>");
    if (!before) fail("<｜tool▁sep｜> is missing");
    const std::string_view name = trimmed(*before);
    if (name == "function") return read_name_line(body, into);
    Json arguments = take_json(body);
    skip_space(body);
    skip(body, "```");
    expect_end(body);
    add(into, name, arguments);
}

/// <|plugin|>{…}
void read_plugin(std::string_view body, ToolReading& into) {
    skip(body, "<|plugin|>");
    read_json(body, into);
}

/// functions.NAME:0<|tool_call_argument_begin|>{…}
void read_kimi(std::string_view body, ToolReading& into) {
    const auto before = take_until(body, "<|tool_call_argument_begin|>");
    if (!before) fail("<|tool_call_argument_begin|> is missing");
    const std::string_view id = trimmed(*before);
    std::string_view name = id.substr(0, id.rfind(':'));
    skip(name, "functions.");
    const Json arguments = last_json(body);
    add(into, name, arguments, std::string(id));
}

/// ID<|tool_call:name|>NAME<|tool_call:args|>{…}
void read_solar(std::string_view body, ToolReading& into) {
    const auto id = take_until(body, "<|tool_call:name|>");
    const auto name = id ? take_until(body, "<|tool_call:args|>") : std::nullopt;
    if (!name) fail("<|tool_call:name|> or <|tool_call:args|> is missing");
    const Json arguments = last_json(body);
    add(into, trimmed(*name), arguments, std::string(trimmed(*id)));
}

/// …{"name": …}]: what stands behind functools[.
void read_functools(std::string_view body, ToolReading& into) {
    read_json("[" + std::string(body), into);
}

/// functions.NAME, what else its head says, <|message|>{…}
void read_harmony(std::string_view body, ToolReading& into) {
    const auto head = take_until(body, "<|message|>");
    if (!head) fail("<|message|> is missing");
    std::string_view name = head->substr(0, head->find_first_of(" \n<"));
    skip(name, "functions.");
    const Json arguments = trimmed(body).empty() ? Json::object() : take_json(body);
    for (const char* end : {"<|end|>", "<|call|>"}) {
        skip_space(body);
        skip(body, end);
    }
    expect_end(body);
    add(into, name, arguments);
}

/// Whatever a body begins with says what it is.
void read_body(std::string_view body, ToolReading& into) {
    body = trimmed(body);
    if (body.empty()) fail("there is nothing in it");
    if (body.starts_with("<function=")) return read_xml(body, into);
    if (body.starts_with("<function name=")) return read_invoke(body, into);
    if (body.starts_with("<tool_call>")) {  // one or more in a tag of their own
        while (skip(body, "<tool_call>")) {
            const auto inside = take_until(body, "</tool_call>");
            if (!inside) fail("</tool_call> is missing");
            if (inside->find("<tool_call>") != std::string_view::npos)
                fail("a <tool_call> stands within another one");
            read_body(*inside, into);
            skip_space(body);
        }
        if (!body.empty()) fail("behind the calls stands something else");
        return;
    }
    if (body.starts_with("<invoke") || body.starts_with("<｜DSML｜"))
        return read_invoke(body, into);
    if (body.starts_with("call:")) return read_gemma(body, into);
    constexpr std::string_view kFence = "```";
    if (body.starts_with(kFence) && body.ends_with(kFence) && body.size() > 2 * kFence.size()) {
        const size_t line = std::min(body.find('\n'), body.size() - kFence.size());
        const std::string_view inside =
            trimmed(body.substr(line, body.size() - kFence.size() - line));
        if (inside.starts_with(kFence)) fail("a code block stands within another one");
        return read_body(inside, into);
    }
    if (body[0] == '{') return read_json(body, into);
    if (body[0] == '[') {
        const std::string_view inside = trimmed(body.substr(1));
        return inside.starts_with('{') || inside.starts_with(']') ? read_json(body, into)
                                                                  : read_python(body, into);
    }
    std::string_view rest = body;
    take_name(rest);
    if (rest.starts_with('(')) return read_python(body, into);
    skip_space(rest);
    if (rest.starts_with('{') || rest.starts_with("```")) return read_name_line(body, into);
    read_arg_keys(body, into);
}

/// An answer that is nothing but calls: in JSON (Llama 3, xLAM), or a list of Python's (Llama 4).
void read_whole(std::string_view body, ToolReading& into) {
    read_body(body, into);
}

constexpr ToolForm kForms[] = {
    {"<tool_call>", "</tool_call>", read_body},  // Hermes, Qwen, GLM, Granite 4, SmolLM3
    {"<tool_calls>", "</tool_calls>", read_body},
    {"<function_calls>", "</function_calls>", read_body},              // OLMo 3
    {"<longcat_tool_call>", "</longcat_tool_call>", read_body},        // LongCat
    {"<tool_call:opensource>", "</tool_call:opensource>", read_body},  // Hunyuan 3
    {"<function=", "</function>", read_xml},  // Qwen3-Coder without its tags, Llama 3.1's own
    {"<seed:tool_call>", "</seed:tool_call>", read_body},
    {"<minimax:tool_call>", "</minimax:tool_call>", read_invoke},
    {"<function name=\"", "</function>", read_named},  // MiniCPM
    {"<atem:function_calls>", "</atem:function_calls>", read_invoke},
    {"<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", read_invoke},          // DeepSeek V4
    {"<｜DSML｜function_calls>", "</｜DSML｜function_calls>", read_invoke},  // DeepSeek V3.2
    {"<TOOLCALL>", "</TOOLCALL>", read_body},                                // Nemotron
    {"[TOOL_CALLS]", "", read_mistral},
    {"<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", read_deepseek},
    {"<|tool_call_begin|>", "<|tool_call_end|>", read_kimi},
    {"<|tool_call_start|>", "<|tool_call_end|>", read_body},       // LFM2
    {"<|CALL_START|>", "<|CALL_END|>", read_name_line},            // Step
    {"<|action_start|>", "<|action_end|>", read_plugin},           // InternLM
    {"<|function_call|>", "", read_json},                          // GigaChat
    {"-> tool/function_call", "", read_json},                      // HyperCLOVA X
    {"<|tool_call>", "<tool_call|>", read_gemma},                  // Gemma 4
    {"<start_function_call>", "<end_function_call>", read_gemma},  // FunctionGemma
    {"```tool_code", "```", read_python},                          // Gemma 3
    {"<|START_ACTION|>", "<|END_ACTION|>", read_json},             // Command
    {"<|tools_prefix|>", "<|tools_suffix|>", read_json},           // Apertus
    {"<|tool_call|>", "<|/tool_call|>", read_body},                // Phi 4 mini, Granite 3
    {"<|tool_call:begin|>", "<|tool_call:end|>", read_solar},      // Solar
    {"functools[", "", read_functools},                            // Firefunction
    {"<|python_tag|>", "", read_body},                             // Llama 3
    {"<|python_start|>", "<|python_end|>", read_body},             // Llama 4
    {"<|python_start|><|python_end|>", "", read_json},             // as its template has it
    {"<|channel|>commentary to=", "<|call|>", read_harmony},       // gpt-oss
    {" to=functions.", "<|call|>", read_harmony},                  // as it may write it, too
    {"", "", read_whole},
};

constexpr std::string_view kMarks[] = {
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁sep｜>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_argument_begin|>",
    "[CALL_ID]",
    "[ARGS]",
    "<|\"|>",
    "<escape>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "</function>",
    "</parameter>",
    "<|plugin|>",
    "｜DSML｜",
};

// Of these, those that stand around calls, and go with them.
constexpr std::string_view kAround[] = {
    "<｜tool▁calls▁begin｜>",     "<｜tool▁calls▁end｜>",    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>", "<tool_calls:opensource>", "</tool_calls:opensource>"};

/// Where a mark stands next; looked for once, from left to right.
struct Finder {
    std::string_view mark;
    const TokenMarks* tokens = nullptr;  // null: a mark is one however it is spelled
    size_t at = 0, count = 0;            // which of those in the text it is
    bool known = false;

    size_t next(std::string_view text, size_t from) {
        if (!std::exchange(known, true)) at = text.find(mark);
        while (at != std::string_view::npos && (at < from || !counts())) {
            at = text.find(mark, at + 1);
            ++count;
        }
        return at;
    }
    bool counts() const {
        return !tokens || (count < tokens->is_token.size() && tokens->is_token[count]);
    }
};

/// Of a body that ends at `ends[i]`, the first that can be read: how many ends it took. Without
/// one, what is wrong with the first.
size_t try_ends(const ToolForm& form, std::string_view body, std::span<const size_t> ends,
                const ToolTypes& types, std::vector<ToolCall>& calls, std::string& error) {
    for (size_t i = 0; i < ends.size(); ++i) {
        ToolReading read{{}, &types};
        try {
            form.read(body.substr(0, ends[i]), read);
            if (calls.size() + read.calls.size() > kMostCalls) fail("{}", too_many());
            if (read.calls.empty()) fail("there is no call in it");
            calls.insert(calls.end(), std::make_move_iterator(read.calls.begin()),
                         std::make_move_iterator(read.calls.end()));
            return i + 1;
        } catch (const Error& failed) {
            if (i == 0) error = failed.what();
        }
    }
    return 0;
}

/// Whether a whole answer says that it is calls: in JSON.
bool looks_like_calls(std::string_view text) {
    std::string_view inside = text;
    if (skip(inside, "[")) skip_space(inside);
    return inside.starts_with('{') && text.find("\"name\"") != std::string_view::npos &&
           (text.find("\"parameters\"") != std::string_view::npos ||
            text.find("\"arguments\"") != std::string_view::npos);
}

/// Whether it may be a list of Python's calls, [f(x=1)]: if it is none, it is a text.
bool may_be_calls(std::string_view text) {
    if (!skip(text, "[") || !text.ends_with(")]")) return false;
    const std::string_view name = take_name(text);
    return !name.empty() && text.starts_with('(');
}

/// The length of a thought that an answer begins with, marks and all: what it says of calls calls
/// nothing. One that does not end is all of the answer.
size_t thought_length(std::string_view text) {
    const size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
    constexpr std::array<std::array<std::string_view, 2>, 2> kMarksOfThoughts{
        {{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}}};
    for (const auto& [open, close] : kMarksOfThoughts)
        if (text.substr(begin).starts_with(open)) {
            const size_t end = text.find(close, begin);
            return end == std::string_view::npos ? text.size() : end + close.size();
        }
    return 0;
}

ToolTypes::Type type_of(const Json& schema) {
    using Type = ToolTypes::Type;
    if (!schema.is_object()) return Type::unknown;
    const Json* given = first_of(schema, {"type"});
    const Json* either = first_of(schema, {"anyOf", "oneOf"});
    bool text = false, null = false, other = false;
    const auto take = [&](const Json& type) {
        const bool is_text = type == "string", is_null = type == "null";
        text |= is_text;
        null |= is_null;
        other |= !is_text && !is_null;
    };
    if (given) {
        for (const Json& each : given->is_array() ? *given : Json::array({*given})) take(each);
    } else if (either && either->is_array()) {
        for (const Json& each : *either) {
            const Json* type = each.is_object() ? first_of(each, {"type"}) : nullptr;
            take(type ? *type : Json());
        }
    }
    if (!text || other) return Type::unknown;
    return null ? Type::text_or_null : Type::text;
}

}  // namespace

ToolTypes::ToolTypes(std::string_view json) {
    constexpr int kDeepestTools = 200;
    const auto shallow = [](int depth, Json::parse_event_t, const Json&) {
        if (depth > kDeepestTools) fail("the tools are nested too deeply");
        return true;
    };
    Json given;
    try {
        given = Json::parse(json, shallow, false);
    } catch (const Error&) {
        return;
    }
    const Json* tools = given.is_object() ? first_of(given, {"tools"}) : &given;
    if (!tools || !tools->is_array()) return;
    for (const Json& each : *tools) {
        if (!each.is_object()) continue;
        const Json* function = first_of(each, {"function"});
        const Json& tool = function && function->is_object() ? *function : each;
        const Json* name = first_of(tool, {"name"});
        const Json* schema = first_of(tool, {"parameters"});
        const Json* properties =
            schema && schema->is_object() ? first_of(*schema, {"properties"}) : nullptr;
        if (!name || !name->is_string() || !properties || !properties->is_object()) continue;
        for (const auto& [parameter, its] : properties->items())
            if (const Type type = type_of(its); type != Type::unknown)
                types_.insert_or_assign({name->get<std::string>(), parameter}, type);
    }
}

ToolTypes::Type ToolTypes::of(std::string_view tool, std::string_view parameter) const {
    const auto found = types_.find({std::string(tool), std::string(parameter)});
    return found == types_.end() ? Type::unknown : found->second;
}

std::span<const ToolForm> tool_forms() {
    return kForms;
}

std::span<const std::string_view> tool_marks() {
    return kMarks;
}

ToolCalls read_tool_calls(std::string_view text, std::span<const ToolForm* const> forms,
                          std::span<const TokenMarks> marks, const ToolTypes& types) {
    ToolCalls found;
    std::vector<std::pair<const ToolForm*, Finder>> opens;
    std::vector<Finder> closes;
    bool whole = false;
    for (const ToolForm* form : forms) {
        if (form->open.empty()) {
            whole = true;
            continue;
        }
        const auto tokens = std::ranges::find(marks, form->open, &TokenMarks::mark);
        opens.push_back({form, {form->open, tokens == marks.end() ? nullptr : &*tokens}});
        closes.push_back({form->close.empty() ? form->open : form->close});
    }
    const auto malformed = [&](std::string_view what, std::string error) {
        if (found.calls.size() == kMostCalls) error = too_many();  // a last row, which says so
        if (found.calls.size() <= kMostCalls)
            found.calls.push_back({{}, {}, {}, std::move(error), std::string(what)});
    };
    size_t done = 0;
    while (done < text.size()) {
        size_t first = std::string_view::npos, which = 0;
        for (size_t i = 0; i < opens.size(); ++i) {
            const size_t at = opens[i].second.next(text, done);
            // At the same place the longer mark: <|tool_call|> is none of Gemma's.
            if (at < first || (at == first && at != std::string_view::npos &&
                               opens[i].first->open.size() > opens[which].first->open.size())) {
                first = at;
                which = i;
            }
        }
        if (first == std::string_view::npos) break;
        const ToolForm& form = *opens[which].first;
        found.content += text.substr(done, first - done);
        const size_t begin = first + form.open.size();
        const std::string_view body = text.substr(begin);
        std::array<size_t, kMostTries> ends{};
        size_t count = 0;
        const size_t end = closes[which].next(text, begin);
        for (size_t at = end; at != std::string_view::npos && count < ends.size();
             at = text.find(closes[which].mark, at + 1))
            ends[count++] = at - begin;
        if (count < ends.size() && (count == 0 || form.close.empty())) ends[count++] = body.size();
        std::string error;
        const size_t took =
            try_ends(form, body, std::span(ends).first(count), types, found.calls, error);
        const size_t last = begin + ends[took == 0 ? 0 : took - 1];
        done = std::min(text.size(), last + (last < text.size() ? form.close.size() : 0));
        const std::string_view all = text.substr(first, done - first);
        if (took == 0) {
            if (end == std::string_view::npos && !form.close.empty())
                error += fmt::format("; {} is missing", form.close);
            malformed(all, one_line(error));
            found.content += all;
            continue;
        }
    }
    found.content += text.substr(std::min(done, text.size()));
    if (const std::string_view body = trimmed(text);
        whole && found.calls.empty() && (looks_like_calls(body) || may_be_calls(body))) {
        std::string error;
        const size_t end = body.size();
        if (try_ends(kForms[std::size(kForms) - 1], body, std::span(&end, 1), types, found.calls,
                     error))
            found.content.clear();
        else if (looks_like_calls(body))
            malformed(body, one_line(error));
    }
    if (found.calls.empty()) return found;
    for (const std::string_view mark : kAround) {
        std::string kept;
        std::string_view rest = found.content;
        while (const auto before = take_until(rest, mark)) kept += *before;
        found.content = kept += rest;
    }
    found.content = std::string(trimmed(found.content));
    return found;
}

ToolCalls read_tool_calls(std::string_view text, const ToolTypes& types) {
    std::vector<const ToolForm*> all;
    for (const ToolForm& form : kForms) all.push_back(&form);
    const size_t answer = thought_length(text);
    ToolCalls found = read_tool_calls(text.substr(answer), all, {}, types);
    if (answer > 0) found.content.insert(0, text.substr(0, answer));
    return found;
}

ToolCalls calls_of_answer(std::string_view answer, const ToolTypes& types) {
    std::string_view rest = answer;
    Json message;
    try {
        if (trimmed(answer).starts_with('{')) message = take_json(rest, 2 * kDeepest);
    } catch (const Error&) {
    }
    if (!message.is_object() || !first_of(message, {"role", "tool_calls", "malformed_tool_calls"}))
        return read_tool_calls(answer, types);
    ToolCalls found;
    const auto each = [&](const char* key, const auto& take) {
        const Json* list = first_of(message, {key});
        if (!list || !list->is_array()) return;
        for (const Json& one : *list)
            if (found.calls.size() < kMostCalls)
                take(one);
            else if (found.calls.size() == kMostCalls)
                found.calls.push_back({{}, {}, {}, too_many(), text_of(one)});
    };
    if (const Json* content = first_of(message, {"content"}); content && content->is_string())
        found.content = content->get<std::string>();
    each("tool_calls", [&](const Json& one) {
        try {
            ToolReading read;
            add_json_call(read, one);
            found.calls.push_back(std::move(read.calls.front()));
        } catch (const Error& error) {
            found.calls.push_back({{}, {}, {}, one_line(error.what()), text_of(one)});
        }
    });
    each("malformed_tool_calls", [&](const Json& one) {
        const auto text = [&](const char* key) {
            const Json* value = one.is_object() ? first_of(one, {key}) : nullptr;
            return value && value->is_string() ? value->get<std::string>() : std::string();
        };
        found.calls.push_back({{}, {}, {}, text("error"), text("text")});
    });
    return found;
}

std::string made_call_id(std::string_view answer, size_t number) {
    uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    const auto mix = [&](unsigned char byte) {
        hash ^= byte;
        hash *= 0x100000001b3u;
    };
    for (const char c : answer) mix(static_cast<unsigned char>(c));
    for (size_t n = number + 1; n > 0; n >>= 8) mix(static_cast<unsigned char>(n));
    std::string id;
    for (int i = 0; i < 9; ++i, hash /= 36) id += "0123456789abcdefghijklmnopqrstuvwxyz"[hash % 36];
    return id;
}

}  // namespace llmsql
