// SPDX-License-Identifier: MIT
// From JSON to a template's variables. See conversation.h.
#include "jinja/conversation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "common/error.h"

namespace llmsql::jinja {
namespace {

// A template may make a mark of a role: '<|' + role + '|>'. Whoever gives another one gives a text.
constexpr std::array<std::string_view, 14> kRoles{
    "system",    "user",    "assistant",       "tool",          "developer",
    "function",  "ipython", "model",           "tool_response", "observation",
    "tool_call", "context", "available_tools", "documents"};

constexpr std::array<std::string_view, 3> kThought{"reasoning_content", "thinking", "reasoning"};

Value trusted_role(const Value& role) {
    if (!role.text()) return role;
    const std::string name = bytes_of(role.text()->chars);
    return std::ranges::find(kRoles, name) == kRoles.end() ? role : Value(chars_of(name));
}

Value message(const Value& given) {
    if (!given.map()) fail("a message must be an object with role and content");
    Value thought;
    for (const std::string_view name : kThought)
        if (const Value* found = given.map()->find(name);
            found && !found->is_none() && thought.missing())
            thought = *found;
    Map message;
    if (!thought.missing()) message.set(Value(chars_of("thinking")), thought);
    // What programs that list all keys write for one that is not there; but templates ask whether
    // content is none, as it is of an answer that only calls tools.
    for (const auto& [name, value] : given.map()->items)
        if (!value.is_none() || equals(name.text()->chars, "content"))
            message.set(name, equals(name.text()->chars, "role") ? trusted_role(value) : value);
    if (!thought.missing()) message.set(Value(chars_of("reasoning_content")), thought);
    return message;
}

void add(Map& to, const Value& from, std::string_view what) {
    if (!from.map()) fail("{} must be an object", what);
    for (const auto& [name, value] : from.map()->items)
        if (!equals(name.text()->chars, "messages")) to.set(name, value);
}

}  // namespace

Value conversation(std::string_view messages, std::string_view given, std::string_view own) {
    Map variables;
    if (!own.empty())
        add(variables, value_of_json(own, false, "the template's own variables"),
            "the template's own variables");
    for (const char* absent : {"tools", "documents"})
        variables.set(Value(chars_of(absent)), None{});
    variables.set(Value(chars_of("add_generation_prompt")), Value::of(true));
    if (!given.empty())
        add(variables, value_of_json(given, true, "the variables"), "the variables");
    Value list = value_of_json(messages, true, "the conversation");
    if (list.map()) {
        add(variables, list, "the conversation");
        const Value* found = list.map()->find("messages");
        if (!found) fail("the conversation has no 'messages'");
        list = Value(*found);
    }
    if (!list.list())
        fail("the conversation must be a list of messages, or an object that has 'messages'");
    Values chat;
    for (const Value& each : list.list()->items) chat.push_back(message(each));
    variables.set(Value(chars_of("messages")), Value(List(std::move(chat))));
    return variables;
}

std::string json_text(std::string_view bytes) {
    std::string text = "\"";
    for (const char c : bytes) {
        if (c == '"' || c == '\\')
            (text += '\\') += c;
        else if (static_cast<unsigned char>(c) < 0x20)
            text += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
            text += c;
    }
    return text + "\"";
}

namespace {

std::string written(std::tm* (*broken_down)(const std::time_t*, std::tm*)) {
    const std::time_t now = std::time(nullptr);
    std::tm time{};
    broken_down(&now, &time);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", time.tm_year + 1900, time.tm_mon + 1,
                       time.tm_mday, time.tm_hour, time.tm_min, time.tm_sec);
}

}  // namespace

std::string local_time() {
    return written(localtime_r);
}

std::string utc_time() {
    return written(gmtime_r);
}

}  // namespace llmsql::jinja
