// SPDX-License-Identifier: MIT
// Arguments and options of calls. See call.h.
#include "runtime/extension/call.h"

#include <nlohmann/json.hpp>

#include <array>
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

std::vector<std::string> texts(const std::string& name, const Json& value) {
    if (value.is_string()) return {value.get<std::string>()};
    if (!value.is_array()) wrong(name, "a string or an array of strings");
    std::vector<std::string> all;
    for (const Json& each : value) all.push_back(text(name, each));
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
constexpr unsigned kAll = kAnswers | bit(Call::logprob);
constexpr unsigned kLoading = kAll | bit(Call::load);

constexpr Option kOptions[] = {
    {"stop", kAnswers,
     [](CallOptions& to, Name name, Value value) { to.generate.stops = texts(name, value); }},
    {"ignore_eos", kAnswers,
     [](CallOptions& to, Name name, Value value) { to.generate.ignore_end = truth(name, value); }},
    {"chat", kPrompts,
     [](CallOptions& to, Name name, Value value) { to.chat = truth(name, value); }},
    {"system", kAnswers,
     [](CallOptions& to, Name name, Value value) { to.system = text(name, value); }},
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
    Json object = Json::parse(json, once, false);
    if (!object.is_object())
        fail("the options must be a JSON object, as '{{\"temperature\": 0}}'{}",
             last.empty() ? "" : ": it is none after the key '" + last + "'");
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

std::vector<int32_t> tokens_of_row(sqlite3_value* value, const char* name,
                                   const std::function<std::vector<int32_t>()>& read) {
    try {
        return read();
    } catch (const Error& error) {
        // What is empty needs no showing.
        if (sqlite3_value_type(value) == SQLITE_TEXT && text_of_value(value).empty())
            throw RowError(error.what());
        throw RowError(one_line(fmt::format("{}; {} {}", error.what(), name, quoted(value))));
    }
}

std::string text_argument(sqlite3_value* value, const char* name) {
    if (sqlite3_value_type(value) != SQLITE_TEXT) fail("{} must be text", name);
    return std::string(text_of_value(value));
}

CallOptions options_argument(Call call, sqlite3_value* value) {
    if (!value || sqlite3_value_type(value) == SQLITE_NULL) return {};
    return parse_call_options(call, text_argument(value, "options"));
}

void check_options(const CallOptions& options, const OpenModel& model) {
    if (options.system && !options.chat) fail("option 'system' goes with 'chat'");
    if (options.chat) model.program.chat().require();
    if (options.generate.context) require_context(model.program, *options.generate.context);
}

std::vector<int32_t> prompt_tokens(OpenModel& model, const std::string& prompt,
                                   const CallOptions& options) {
    const int context = options.generate.context.value_or(model.program.context());
    if (!options.chat) return text_prompt(model.tokenizer, prompt, context);
    check_prompt(prompt, "the prompt");
    std::vector<ChatMessage> messages;
    if (options.system) messages.push_back({"system", *options.system});
    messages.push_back({"user", prompt});
    return chat_prompt(model.program, model.tokenizer, messages, context, options.generate.keep);
}

}  // namespace llmsql
