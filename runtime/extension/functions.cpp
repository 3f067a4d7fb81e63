// SPDX-License-Identifier: MIT
// The scalar functions of the extension. reference.cpp documents each.
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "common/error.h"
#include "common/utf8.h"
#include "runtime/extension/call.h"
#include "runtime/generate/prompt.h"
#include "runtime/generate/score.h"
#include "runtime/kernels/kernels.h"
#include "runtime/program/installed_plans.h"
#include "runtime/program/render_function.h"
#include "runtime/session/session.h"

namespace llmsql {
namespace {

using Json = nlohmann::json;
using Arguments = std::span<sqlite3_value*>;

std::string answer_to(OpenModel& model, std::span<const int32_t> tokens,
                      const GenerateOptions& options) {
    Generator generator(model.scheduler, &model.tokenizer, options, model.how());
    generator.begin(tokens);
    std::string text = generator.rest();
    if (generator.ending() == Ending::interrupted) throw Interrupted();
    return text;
}

CallOptions options_of(Call call, Arguments arguments, size_t at) {
    return options_argument(call, arguments.size() > at ? arguments[at] : nullptr);
}

// Calls `answer`, which gives a row its result; one whose text cannot be taken stays NULL, if that
// is wanted.
template<class Answer>
void answer_row(const CallOptions& options, Answer answer) {
    try {
        answer();
    } catch (const RowError&) {
        if (options.on_error == OnError::fail) throw;
    }
}

void generate(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;  // NULL of NULL
    const CallOptions options = options_of(Call::generate, arguments, 1);
    const auto model = host.borrow(options.choice);
    check_options(options, *model);
    answer_row(options, [&] {
        const auto tokens = tokens_of_row(arguments[0], "the prompt", [&] {
            return prompt_tokens(*model, text_argument(arguments[0], "the prompt"), options);
        });
        result_text(context, answer_to(*model, tokens, options.generate));
    });
}

// A conversation that is given whole, in JSON.
void reply(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    CallOptions options = options_of(Call::generate, arguments, 1);
    if (options.chat || options.system) fail("options 'chat' and 'system' go with llm_generate");
    const auto model = host.borrow(options.choice);
    model->program.chat().require();
    check_options(options, *model);
    answer_row(options, [&] {
        const auto tokens = tokens_of_row(arguments[0], "the conversation", [&] {
            return conversation_prompt(model->program, model->tokenizer,
                                       text_argument(arguments[0], "the conversation"),
                                       options.generate.context.value_or(model->program.context()));
        });
        result_text(context, answer_to(*model, tokens, options.generate));
    });
}

// A conversation in a file (runtime/session/): its keys and values are there too, so that another
// process goes on with it without reading it again.
std::string answer_in_file(OpenModel& model, const std::string& name, const std::string& message,
                           const CallOptions& options) {
    CallerOptions how = model.how();
    how.ahead = 0;  // what is read is kept in the file before more is
    Generator generator(model.scheduler, &model.tokenizer, options.generate, how);
    SessionChoice choice;
    choice.file = options.sessions;
    choice.name = name;
    Session session(choice, SessionKind::chat, model.program, model.tokenizer, generator);
    if (options.system) session.set_system(*options.system);
    if (!session.say(message)) throw Interrupted();
    std::string text;
    while (const auto picked = session.next()) text += picked->text;
    text += session.finish();
    if (generator.ending() == Ending::interrupted) throw Interrupted();
    return text;
}

// A conversation in the connection's memory.
std::string answer_in_memory(Host& host, OpenModel& model, const std::string& name,
                             sqlite3_value* said, const std::string& message,
                             const CallOptions& options) {
    const auto known = host.chats.find(name);
    std::vector<ChatMessage> messages;
    if (known != host.chats.end()) messages = known->second;
    if (options.system) {
        if (!messages.empty()) fail("option 'system': the conversation has begun without it");
        messages.push_back({"system", *options.system});
    }
    messages.push_back({"user", message});
    const int most = options.generate.context.value_or(model.program.context());
    const auto tokens = tokens_of_row(said, "the message", [&] {
        return chat_prompt(model.program, model.tokenizer, messages, most, options.generate.keep);
    });
    const std::string answer = answer_to(model, tokens, options.generate);
    messages.push_back({"assistant", answer});
    host.chats[name] = std::move(messages);
    return answer;
}

void chat(Host& host, sqlite3_context* context, Arguments arguments) {
    const std::string session = text_argument(arguments[0], "the session");
    const CallOptions options = options_of(Call::chat, arguments, 2);
    const auto model = host.borrow(options.choice);
    model->program.chat().require();
    answer_row(options, [&] {
        std::string message;
        static_cast<void>(tokens_of_row(arguments[1], "the message", [&] {
            message = text_argument(arguments[1], "the message");
            check_prompt(message, "the message");
            const int most = options.generate.context.value_or(model->program.context());
            check_length(model->tokenizer, message, most, "the message");
            return std::vector<int32_t>();
        }));
        result_text(context,
                    options.sessions.empty()
                        ? answer_in_memory(host, *model, session, arguments[1], message, options)
                        : answer_in_file(*model, session, message, options));
    });
}

void tokenize(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    const auto model = host.borrow();
    result_text(
        context,
        Json(model->tokenizer.encode(text_argument(arguments[0], "the text"), true)).dump());
}

void token_count(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    const auto model = host.borrow();
    const auto tokens = model->tokenizer.encode(text_argument(arguments[0], "the text"), true);
    sqlite3_result_int64(context, static_cast<int64_t>(tokens.size()));
}

void detokenize(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    const Json list = Json::parse(text_argument(arguments[0], "the tokens"), nullptr, false);
    if (!list.is_array()) fail("the tokens must be a JSON array of ids, as '[19556, 28]'");
    const auto model = host.borrow();
    Utf8Stream characters;
    std::string text;
    for (const Json& id : list) {
        if (!id.is_number_integer() || id < 0 || id > INT32_MAX)
            fail("the tokens must be a JSON array of ids, as '[19556, 28]'");
        const auto token = id.get<int32_t>();
        if (token >= model->program.vocabulary())
            fail("there is no token {}: the model has {}", token, model->program.vocabulary());
        text += characters.push(model->tokenizer.shown_text(token));
    }
    result_text(context, text + characters.finish());
}

// A text's tokens after those of option `given`, or of the start of a text; `first` becomes the
// first that counts.
std::vector<int32_t> tokens_of(OpenModel& model, sqlite3_value* value, const CallOptions& options,
                               size_t& first) {
    const std::string text = text_argument(value, "the text");
    check_prompt(text, "the text");
    const int context = model.program.context();
    check_length(model.tokenizer, text, context, "the text");
    std::vector<int32_t> tokens;
    if (options.given && !options.given->empty()) {
        tokens = model.tokenizer.encode(*options.given, true);
        first = std::max<size_t>(1, tokens.size());
        const auto rest = model.tokenizer.encode(text, false);
        tokens.insert(tokens.end(), rest.begin(), rest.end());
    } else {
        tokens = model.tokenizer.encode(text, true);
    }
    if (tokens.size() > static_cast<size_t>(context))
        fail("the text is {}, the context holds {}", counted(tokens.size(), "token"), context);
    return tokens;
}

// Natural logarithm of the probability of `text` after `given`, or after the start of a text, whose
// first token has no probability where the model has no token for the start.
void logprob(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    const CallOptions options = options_of(Call::logprob, arguments, 1);
    const auto model = host.borrow(options.choice);
    answer_row(options, [&] {
        size_t first = 1;
        const auto tokens = tokens_of_row(arguments[0], "the text", [&] {
            return tokens_of(*model, arguments[0], options, first);
        });
        const auto sum = log_probability_of(model->scheduler, &model->tokenizer, tokens, first, {},
                                            model->how());
        if (!sum) throw Interrupted();
        sqlite3_result_double(context, *sum);
    });
}

Json describe(OpenModel& model) {
    const auto meta = [&](const char* key) { return model.db.meta(key).value_or(""); };
    int64_t parameters = 0, bytes = 0;
    for (const ParamEntry& entry : model.db.catalogue()) {
        parameters += entry.shape.rows.value_or(1) * entry.shape.cols;
        bytes += static_cast<int64_t>(param_bytes(entry.type, entry.shape));
    }
    const Program& program = model.program;
    return {{"version", LLMSQL_VERSION},
            {"model", meta("model")},
            {"graph", meta("graph")},
            {"file", model.db.path().string()},
            {"plan", program.name()},
            {"plans", installed_plans(model.db)},
            {"parameters", parameters},
            {"weight_bytes", bytes},
            {"vocabulary", program.vocabulary()},
            {"context", program.context()},
            {"chunk", program.chunk()},
            {"sequences", program.sequences()},
            {"chat", program.chat().exists()},
            {"threads", program.threads()},
            {"kernels", kernels().name},
            {"io", name_of(program.io())}};
}

void info(Host& host, sqlite3_context* context, Arguments) {
    const auto model = host.borrow();
    result_text(context, describe(*model).dump());
}

void load(Host& host, sqlite3_context* context, Arguments arguments) {
    ModelChoice choice{.model = text_argument(arguments[0], "the model's path"), .plan = {}};
    if (choice.model.empty()) fail("the model's path is empty: llm_load('model.db')");
    if (arguments.size() > 1 && sqlite3_value_type(arguments[1]) != SQLITE_NULL)
        choice.plan = text_argument(arguments[1], "the plan");
    choice.threads = options_of(Call::load, arguments, 2).choice.threads;
    host.choose(choice);
    info(host, context, {});
}

void unload(Host& host, sqlite3_context* context, Arguments) {
    sqlite3_result_int64(context, static_cast<int64_t>(host.let_go()));
}

void version(Host&, sqlite3_context* context, Arguments) {
    result_text(context, LLMSQL_VERSION);
}

void render(Host&, sqlite3_context* context, Arguments arguments) {
    render_text(context, static_cast<int>(arguments.size()), arguments.data());
}

using Body = void (*)(Host&, sqlite3_context*, Arguments);
struct Function {
    const char* name;
    int least, most;  // arguments
    Body body;
    int flags = SQLITE_DIRECTONLY;  // what opens files or takes long is not for a schema to call
};

constexpr std::array kFunctions{
    Function{"llm_generate", 1, 2, generate},
    Function{"llm_chat", 2, 3, chat},
    Function{"llm_reply", 1, 2, reply},
    Function{"llm_tokenize", 1, 1, tokenize},
    Function{"llm_detokenize", 1, 1, detokenize},
    Function{"llm_token_count", 1, 1, token_count},
    Function{"llm_logprob", 1, 2, logprob},
    Function{"llm_load", 1, 3, load},
    Function{"llm_unload", 0, 0, unload},
    Function{"llm_info", 0, 0, info},
    Function{"llm_render", 2, 4, render},
    Function{"llm_version", 0, 0, version, SQLITE_INNOCUOUS | SQLITE_DETERMINISTIC},
};

struct Registered {
    std::shared_ptr<Host> host;
    Body body;
};

void call(sqlite3_context* context, int count, sqlite3_value** values) {
    const auto& self = *static_cast<Registered*>(sqlite3_user_data(context));
    guard_function(context, [&] {
        const Entered entered(*self.host);
        self.body(*self.host, context, {values, static_cast<size_t>(count)});
    });
}

}  // namespace

void register_functions(const std::shared_ptr<Host>& host) {
    for (const Function& function : kFunctions)
        for (int count = function.least; count <= function.most; ++count) {
            const int code = sqlite3_create_function_v2(
                host->db(), function.name, count, SQLITE_UTF8 | function.flags,
                new Registered{host, function.body}, call, nullptr, nullptr,
                [](void* held) { delete static_cast<Registered*>(held); });
            if (code != SQLITE_OK)
                fail("cannot register {}: {}", function.name, sqlite3_errmsg(host->db()));
        }
}

}  // namespace llmsql
