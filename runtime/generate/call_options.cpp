// SPDX-License-Identifier: MIT
// Reading options from JSON. See call_options.h.
#include "runtime/generate/call_options.h"

#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "common/error.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

using Json = nlohmann::json;

[[noreturn]] void wrong(const std::string& name, const char* wanted) {
    fail("option '{}': {} is wanted", name, wanted);
}

std::string called(const std::string& name) {
    return "option '" + name + "'";
}

int64_t integer(const std::string& name, const Json& value, const Whole& range) {
    return number_of(called(name), value.dump(), range);
}

bool truth(const std::string& name, const Json& value) {
    if (!value.is_boolean()) wrong(name, "true or false");
    return value.get<bool>();
}

std::string text(const std::string& name, const Json& value) {
    if (!value.is_string()) wrong(name, "a string");
    return value.get<std::string>();
}

std::string file(const std::string& name, const Json& value) {
    std::string path = text(name, value);
    if (path.empty()) wrong(name, "a file");
    return path;
}

std::vector<std::string> stops(const std::string& name, const Json& value) {
    std::vector<std::string> all;
    for (const Json& each : value.is_array() ? value : Json::array({value})) {
        if (!each.is_string() || each == "")
            wrong(name, "a text that is not empty, or an array of such,");
        all.push_back(each.get<std::string>());
    }
    return all;
}

OnError on_error(const std::string& name, const Json& value) {
    constexpr std::array<std::pair<const char*, OnError>, 3> kWays{
        {{"fail", OnError::fail}, {"null", OnError::null}, {"column", OnError::column}}};
    for (const auto& [way, meaning] : kWays)
        if (value == way) return meaning;
    wrong(name, "\"fail\", \"null\" or, of llm_batch, \"column\"");
}

using Name = const std::string&;
using Value = const Json&;

// An option: the calls that take it, and how its value is read.
struct Option {
    const char* name;
    unsigned calls;
    void (*set)(CallOptions& to, Name name, Value value);
};

constexpr unsigned bit(Call call) {
    return 1u << static_cast<unsigned>(call);
}
constexpr unsigned kPrompts = bit(Call::generate) | bit(Call::stream) | bit(Call::batch);
constexpr unsigned kAnswers = kPrompts | bit(Call::chat);
constexpr unsigned kWhole = kAnswers & ~bit(Call::stream);  // answers in one piece
constexpr unsigned kAll = kAnswers | bit(Call::logprob);
constexpr unsigned kLoading = kAll | bit(Call::load);

constexpr Option kOptions[] = {
    {"stop", kAnswers,
     [](CallOptions& to, Name name, Value value) { to.generate.stops = stops(name, value); }},
    {"ignore_eos", kAnswers,
     [](CallOptions& to, Name name, Value value) { to.generate.ignore_end = truth(name, value); }},
    {"chat", kPrompts,
     [](CallOptions& to, Name name, Value value) { to.chat = truth(name, value); }},
    {"system", kAnswers,
     [](CallOptions& to, Name name, Value value) { to.system = text(name, value); }},
    {"thinking", kWhole,
     [](CallOptions& to, Name name, Value value) { to.thinking = truth(name, value); }},
    {"message", kWhole,
     [](CallOptions& to, Name name, Value value) { to.message = truth(name, value); }},
    {"variables", kAnswers,
     [](CallOptions& to, Name name, Value value) {
         if (!value.is_object()) wrong(name, "an object of the chat template's variables");
         to.variables = value.dump();
     }},
    {"given", bit(Call::logprob),
     [](CallOptions& to, Name name, Value value) { to.given = text(name, value); }},
    {"sessions", bit(Call::chat),
     [](CallOptions& to, Name name, Value value) { to.sessions = file(name, value); }},
    {"together", bit(Call::batch),
     [](CallOptions& to, Name name, Value value) {
         to.together = static_cast<int>(integer(name, value, {1, 1024}));
     }},
    {"on_error", kAll,
     [](CallOptions& to, Name name, Value value) { to.on_error = on_error(name, value); }},
    {"model", kAll,
     [](CallOptions& to, Name name, Value value) { to.choice.model = text(name, value); }},
    {"plan", kAll,
     [](CallOptions& to, Name name, Value value) { to.choice.plan = text(name, value); }},
    {"threads", kLoading,
     [](CallOptions& to, Name name, Value value) {
         to.choice.threads = static_cast<int>(integer(name, value, {0, kThreadCounts.most}));
     }},
};

// Of numbers, those that answers take; a pass's rows are the plan's.
bool is_number_of(Call call, const NumberOption& option) {
    return (kAnswers & bit(call)) && std::string_view(option.name) != "batch";
}

void set_option(CallOptions& to, Call call, Name name, Value value) {
    for (const NumberOption& option : number_options())
        if (option.name == name && is_number_of(call, option))
            return set_number(to.generate, option, called(name), value.dump());
    for (const Option& option : kOptions)
        if (option.name == name && (option.calls & bit(call))) return option.set(to, name, value);
    std::string names;
    for (const NumberOption& option : number_options())
        if (is_number_of(call, option))
            names += std::string(names.empty() ? "" : ", ") + option.name;
    for (const Option& option : kOptions)
        if (option.calls & bit(call)) names += std::string(names.empty() ? "" : ", ") + option.name;
    fail("{} has no option '{}': it takes {}", name_of(call), name, names);
}

// An object's values by name; fails if it has a name twice, which JSON allows.
Json parse_object(std::string_view json) {
    std::set<std::string> names;
    std::string last;
    const auto once = [&](int depth, Json::parse_event_t event, const Json& value) {
        if (depth != 1 || event != Json::parse_event_t::key) return true;
        last = value.get<std::string>();
        if (!names.insert(last).second) fail("option '{}' is given twice", last);
        return true;
    };
    Json object;
    std::string found;  // where the parser stopped: 1e999, or NaN
    try {
        object = Json::parse(json, once);
    } catch (const Json::exception& error) {
        const std::string_view says = error.what();
        for (const std::string_view before : {"last read: ", "number overflow parsing "})
            if (const size_t at = says.find(before); at != std::string_view::npos)
                found = ", at " + printable(says.substr(at + before.size(), 60));
    }
    if (!object.is_object())
        fail("the options must be a JSON object, as '{{\"temperature\": 0}}'{}",
             last.empty() ? "" : ": it is none after the key '" + last + "'" + found);
    return object;
}

}  // namespace

const char* name_of(Call call) {
    switch (call) {
        case Call::generate:
            return "llm_generate";
        case Call::stream:
            return "llm_stream";
        case Call::batch:
            return "llm_batch";
        case Call::chat:
            return "llm_chat";
        case Call::logprob:
            return "llm_logprob";
        case Call::load:
            return "llm_load";
    }
    return "";
}

CallOptions parse_call_options(Call call, std::string_view json) {
    CallOptions options;
    if (json.empty()) return options;
    const Json object = parse_object(json);
    for (const auto& [name, value] : object.items()) set_option(options, call, name, value);
    if (options.on_error == OnError::column && call != Call::batch)
        fail("option 'on_error': {} has no column for it: \"fail\" or \"null\" is wanted",
             name_of(call));
    return options;
}

void check_options(const CallOptions& options, OpenModel& model) {
    const std::pair<const char*, bool> chats[] = {{"system", options.system.has_value()},
                                                  {"variables", !options.variables.empty()},
                                                  {"thinking", options.thinking},
                                                  {"message", options.message}};
    for (const auto& [name, given] : chats)
        if (given && !options.chat) fail("option '{}' goes with 'chat'", name);
    if (options.chat) model.chat().require();
    if (options.generate.context) require_context(model.program(), *options.generate.context);
    drafts_of(model.program(), options.generate);
}

std::vector<int32_t> prompt_tokens(OpenModel& model, const std::string& prompt,
                                   const CallOptions& options) {
    const ContextLimit context = context_of(model.program(), options.generate);
    if (!options.chat) return text_prompt(model.tokenizer(), prompt, context);
    check_prompt(prompt, "the prompt");
    std::vector<ChatMessage> messages;
    if (options.system) messages.push_back({"system", *options.system});
    messages.push_back({"user", prompt});
    return chat_prompt(model.chat(), model.tokenizer(), messages, context, options.generate.keep,
                       options.variables);
}

}  // namespace llmsql
