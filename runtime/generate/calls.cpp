// SPDX-License-Identifier: MIT
// Calls, from their arguments to what they return. See calls.h.
#include "runtime/generate/calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/utf8.h"
#include "runtime/generate/generator.h"
#include "runtime/generate/prompt.h"
#include "runtime/generate/score.h"
#include "runtime/kernels/kernels.h"
#include "runtime/program/installed_plans.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

using Json = nlohmann::json;

std::vector<int32_t> ids_of(std::string_view tokens) {
    const auto refuse = [] { fail("the tokens must be a JSON array of ids, as '[19556, 28]'"); };
    const Json list = Json::parse(tokens, nullptr, false);
    if (!list.is_array()) refuse();
    std::vector<int32_t> ids;
    for (const Json& id : list) {
        if (!id.is_number_integer()) refuse();
        if (id < 0 || id > INT32_MAX) fail("there is no token {}", id.dump());
        ids.push_back(id.get<int32_t>());
    }
    return ids;
}

}  // namespace

Spoken answer_to(OpenModel& model, std::span<const int32_t> tokens, const GenerateOptions& options,
                 std::shared_ptr<const AnswerForm> form) {
    Generator generator(model.scheduler(), &model.tokenizer(), options, model.join());
    generator.set_form(std::move(form));
    generator.begin(tokens);
    std::string text = generator.rest();
    if (generator.ending() == Ending::interrupted) throw Interrupted();
    return {generator.thinking(), std::move(text), generator.marks()};
}

std::string with_thinking(const Spoken& answer) {
    if (answer.thinking.empty()) return answer.text;
    return fmt::format("<think>\n{}\n</think>\n\n{}", answer.thinking, answer.text);
}

std::string message_json(const Spoken& answer, const AnswerForm& form, const ToolTypes& types) {
    using Ordered = nlohmann::ordered_json;
    const ToolCalls found = read_tool_calls(answer.text, form.tool_forms(), answer.marks, types);
    Ordered message{{"role", "assistant"},
                    {"content", form.keeps_calls() ? answer.text : found.content}};
    if (!answer.thinking.empty()) message["reasoning_content"] = answer.thinking;
    size_t number = 0;
    for (const ToolCall& call : found.calls) {
        if (!call.error.empty()) {
            message["malformed_tool_calls"].push_back({{"text", call.text}, {"error", call.error}});
            continue;
        }
        const std::string id =
            call.id.empty() ? made_call_id(answer.thinking + answer.text, number) : call.id;
        ++number;
        message["tool_calls"].push_back(
            {{"id", id},
             {"type", "function"},
             {"function", {{"name", call.name}, {"arguments", Ordered::parse(call.arguments)}}}});
    }
    return message.dump(-1, ' ', false, Ordered::error_handler_t::replace);
}

std::string returned(const Spoken& answer, const CallOptions& options, OpenModel& model,
                     std::string_view conversation) {
    if (options.message)
        return message_json(answer, *model.form(),
                            ToolTypes(conversation.empty() ? options.variables : conversation));
    return options.thinking ? with_thinking(answer) : answer.text;
}

void Conversation::check(const CallOptions& options) const {
    if (options.system && !messages_.empty())
        fail("option 'system': the conversation has begun without it");
}

std::vector<ChatMessage> Conversation::with(const std::string& message,
                                            const CallOptions& options) const {
    check(options);
    std::vector<ChatMessage> messages = messages_;
    if (options.system) messages.push_back({"system", *options.system});
    messages.push_back({"user", message});
    return messages;
}

std::vector<int32_t> Conversation::read(OpenModel& model, const std::string& message,
                                        const CallOptions& options) const {
    return chat_prompt(model.chat(), model.tokenizer(), with(message, options),
                       context_of(model.program(), options.generate), options.generate.keep,
                       options.variables);
}

Spoken Conversation::answer(OpenModel& model, const std::string& message,
                            std::span<const int32_t> tokens, const CallOptions& options) {
    std::vector<ChatMessage> messages = with(message, options);
    Spoken answer = answer_to(model, tokens, options.generate, model.form());
    messages.push_back({"assistant", answer.text, answer.thinking});
    messages_ = std::move(messages);
    return answer;
}

Scored scored_text(OpenModel& model, const std::string& text, const CallOptions& options) {
    check_prompt(text, "the text");
    const ContextLimit context = context_of(model.program(), {});
    check_length(model.tokenizer(), text, context, "the text");
    Scored scored;
    if (options.given && !options.given->empty()) {
        scored.tokens = model.tokenizer().encode(*options.given, true);
        scored.first = std::max<size_t>(1, scored.tokens.size());
        const auto rest = model.tokenizer().encode(text, false);
        scored.tokens.insert(scored.tokens.end(), rest.begin(), rest.end());
    } else {
        scored.tokens = model.tokenizer().encode(text, true);
    }
    if (scored.tokens.size() > context.tokens)
        fail("the text is {}, the context holds {}: {}", counted(scored.tokens.size(), "token"),
             context.tokens, context.advice());
    return scored;
}

double log_probability_of(OpenModel& model, const Scored& scored) {
    const auto sum = log_probability_of(model.scheduler(), &model.tokenizer(), scored.tokens,
                                        scored.first, {}, model.join());
    if (!sum) throw Interrupted();
    return *sum;
}

void check_ids(std::string_view tokens) {
    static_cast<void>(ids_of(tokens));
}

std::string detokenize(OpenModel& model, std::string_view tokens) {
    Utf8Stream characters;
    std::string text;
    for (const int32_t id : ids_of(tokens)) {
        if (id >= model.program().vocabulary())
            fail("there is no token {}: the model has {}", id, model.program().vocabulary());
        text += characters.push(model.tokenizer().shown_text(id));
    }
    return text + characters.finish();
}

std::string describe(OpenModel& model, const char* version) {
    const auto meta = [&](const char* key) { return model.db().meta(key).value_or(""); };
    int64_t parameters = 0, bytes = 0;
    for (const ParamEntry& entry : model.db().catalogue()) {
        parameters += entry.shape.rows.value_or(1) * entry.shape.cols;
        bytes += static_cast<int64_t>(param_bytes(entry.type, entry.shape));
    }
    const Program& program = model.program();
    const Scheduler::Carried carried = model.scheduler().carried();
    Json sampling = Json::object();
    for (const auto& [key, value] : program.sampling()) {
        const Json number = Json::parse(value, nullptr, false);
        sampling[key.substr(key.find('.') + 1)] = number.is_number() ? number : Json(value);
    }
    return Json{{"version", version},
                {"model", meta("model")},
                {"graph", meta("graph")},
                {"file", model.db().path().string()},
                {"plan", program.name()},
                {"plans", installed_plans(model.db())},
                {"parameters", parameters},
                {"weight_bytes", bytes},
                {"vocabulary", program.vocabulary()},
                {"context", program.context()},
                {"chunk", program.chunk()},
                {"sequences", program.sequences()},
                {"drafts", program.drafts()},
                {"chat", model.chat().exists()},
                {"sampling", sampling},
                {"threads", program.threads()},
                {"kernels", kernels().name},
                {"io", name_of(program.io())},
                {"passes", carried.passes},
                {"rows", carried.rows},
                {"drafted", carried.drafted},
                {"accepted", carried.accepted},
                {"reread", carried.reread}}
        .dump();
}

}  // namespace llmsql
