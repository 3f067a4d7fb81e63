// Arguments and options of calls. See call.h.
#include "runtime/extension/call.h"

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

using Json = nlohmann::json;

constexpr char kNames[] =
    "n_predict, temperature, top_k, top_p, min_p, repeat_penalty, seed, stop, ignore_eos, context, "
    "keep, chat, system, given, together, sessions, model, plan, threads";

[[noreturn]] void wrong(const std::string& name, const char* wanted) {
    fail("option '{}': {} is wanted", name, wanted);
}

int64_t integer(const std::string& name, const Json& value, int64_t low, int64_t high) {
    if (!value.is_number_integer()) wrong(name, "an integer");
    const auto number = value.get<int64_t>();
    // A number beyond int64 is kept unsigned.
    if ((value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) || number < low ||
        number > high)
        fail("option '{}': from {} to {}", name, low, high);
    return number;
}

double real(const std::string& name, const Json& value, bool (*fits)(double), const char* what) {
    if (!value.is_number() || !fits(value.get<double>())) wrong(name, what);
    return value.get<double>();
}

double share(const std::string& name, const Json& value) {
    return real(
        name, value, [](double x) { return x >= 0 && x <= 1; }, "a number from 0 to 1");
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

void set(CallOptions& options, const std::string& name, const Json& value) {
    constexpr int64_t kMost = 1 << 30;
    GenerateOptions& generate = options.generate;
    if (name == "n_predict")
        generate.predict = integer(name, value, -1, kMost);
    else if (name == "temperature")
        generate.sampler.temperature = real(
            name, value, [](double x) { return x >= 0; }, "a number of 0 or more");
    else if (name == "top_k")
        generate.sampler.top_k = static_cast<int>(integer(name, value, 0, kMost));
    else if (name == "top_p")
        generate.sampler.top_p = share(name, value);
    else if (name == "min_p")
        generate.sampler.min_p = share(name, value);
    else if (name == "repeat_penalty")
        generate.sampler.repeat_penalty = real(
            name, value, [](double x) { return x > 0; }, "a number of more than 0");
    else if (name == "seed")
        generate.seed = integer(name, value, -1, INT64_MAX);
    else if (name == "stop")
        generate.stops = texts(name, value);
    else if (name == "ignore_eos")
        generate.ignore_end = truth(name, value);
    else if (name == "context")
        generate.context = static_cast<int>(integer(name, value, 1, kMost));
    else if (name == "keep")
        generate.keep = integer(name, value, -1, kMost);
    else if (name == "chat")
        options.chat = truth(name, value);
    else if (name == "system")
        options.system = text(name, value);
    else if (name == "given")
        options.given = text(name, value);
    else if (name == "sessions")
        options.sessions = file(name, value);
    else if (name == "together")
        options.together = static_cast<int>(integer(name, value, 1, 1024));
    else if (name == "model")
        options.choice.model = text(name, value);
    else if (name == "plan")
        options.choice.plan = text(name, value);
    else if (name == "threads")
        options.choice.threads = static_cast<int>(integer(name, value, 0, 256));
    else
        fail("there is no option '{}': {}", name, kNames);
}

}  // namespace

CallOptions parse_call_options(std::string_view json) {
    CallOptions options;
    if (json.empty()) return options;
    const Json object = Json::parse(json, nullptr, false);
    if (!object.is_object()) fail("the options must be a JSON object, as '{{\"temperature\": 0}}'");
    for (const auto& [name, value] : object.items()) set(options, name, value);
    check_options(options.generate);
    return options;
}

std::string text_argument(sqlite3_value* value, const char* name) {
    if (sqlite3_value_type(value) != SQLITE_TEXT) fail("{} must be text", name);
    return std::string(text_of_value(value));
}

CallOptions options_argument(sqlite3_value* value) {
    if (sqlite3_value_type(value) == SQLITE_NULL) return {};
    return parse_call_options(text_argument(value, "options"));
}

std::vector<int32_t> prompt_tokens(OpenModel& model, const std::string& prompt,
                                   const CallOptions& options) {
    const int context = options.generate.context.value_or(model.program.context());
    if (options.system && !options.chat) fail("option 'system' goes with 'chat'");
    if (!options.chat) return text_prompt(model.tokenizer, prompt, context);
    check_prompt(prompt, "the prompt");
    std::vector<ChatMessage> messages;
    if (options.system) messages.push_back({"system", *options.system});
    messages.push_back({"user", prompt});
    return chat_prompt(model.program, model.tokenizer, messages, context, options.generate.keep);
}

}  // namespace llmsql
