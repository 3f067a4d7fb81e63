// SPDX-License-Identifier: MIT
// The scalar functions of the extension. reference.cpp documents each.
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "common/error.h"
#include "runtime/extension/call.h"
#include "runtime/generate/calls.h"
#include "runtime/generate/prompt.h"
#include "runtime/program/render_function.h"
#include "runtime/session/session.h"

namespace llmsql {
namespace {

using Json = nlohmann::json;
using Arguments = std::span<sqlite3_value*>;

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
        const auto tokens = of_row(arguments[0], "the prompt", [&] {
            return prompt_tokens(*model, text_argument(arguments[0], "the prompt"), options);
        });
        result_text(context, returned(answer_to(*model, tokens, options.generate,
                                                options.chat ? model->form() : nullptr),
                                      options, *model));
    });
}

// A conversation that is given whole, in JSON.
void reply(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    CallOptions options = options_of(Call::generate, arguments, 1);
    if (options.chat || options.system) fail("options 'chat' and 'system' go with llm_generate");
    options.chat = true;
    const auto model = host.borrow(options.choice);
    check_options(options, *model);
    answer_row(options, [&] {
        std::string conversation;
        const auto tokens = of_row(arguments[0], "the conversation", [&] {
            conversation = text_argument(arguments[0], "the conversation");
            return conversation_prompt(model->chat(), model->tokenizer(), conversation,
                                       context_of(model->program(), options.generate),
                                       options.variables);
        });
        result_text(context, returned(answer_to(*model, tokens, options.generate, model->form()),
                                      options, *model, conversation));
    });
}

// A conversation in a file (runtime/session/): its keys and values are there too, so that another
// process goes on with it without reading it again.
Spoken answer_in_file(OpenModel& model, const std::string& name, const std::string& message,
                      const CallOptions& options) {
    CallerOptions how = model.join();
    how.ahead = 0;  // what is read is kept in the file before more is
    Generator generator(model.scheduler(), &model.tokenizer(), options.generate, how);
    SessionChoice choice;
    choice.file = options.sessions;
    choice.name = name;
    choice.variables = options.variables;
    Session session(choice, SessionKind::chat, model.program(), model.chat(), model.tokenizer(),
                    generator);
    if (options.system) session.set_system(*options.system);
    if (!session.say(message)) throw Interrupted();
    std::string text;
    while (const auto picked = session.next()) text += picked->text;
    text += session.finish();
    if (generator.ending() == Ending::interrupted) throw Interrupted();
    return {generator.thinking(), std::move(text), generator.marks()};
}

// A conversation in the connection's memory.
Spoken answer_in_memory(Host& host, OpenModel& model, const std::string& name, sqlite3_value* said,
                        const std::string& message, const CallOptions& options) {
    // One that has not begun leaves nothing behind.
    const auto known = host.chats.find(name);
    Conversation chat = known != host.chats.end() ? known->second : Conversation();
    chat.check(options);
    const auto tokens =
        of_row(said, "the message", [&] { return chat.read(model, message, options); });
    Spoken answer = chat.answer(model, message, tokens, options);
    host.chats[name] = std::move(chat);
    return answer;
}

void chat(Host& host, sqlite3_context* context, Arguments arguments) {
    const std::string session = text_argument(arguments[0], "the session");
    const CallOptions options = options_of(Call::chat, arguments, 2);
    const auto model = host.borrow(options.choice);
    model->chat().require();
    const ContextLimit most = context_of(model->program(), options.generate);
    answer_row(options, [&] {
        const std::string message = of_row(arguments[1], "the message", [&] {
            std::string text = text_argument(arguments[1], "the message");
            check_prompt(text, "the message");
            check_length(model->tokenizer(), text, most, "the message");
            return text;
        });
        const Spoken answer =
            options.sessions.empty()
                ? answer_in_memory(host, *model, session, arguments[1], message, options)
                : answer_in_file(*model, session, message, options);
        result_text(context, returned(answer, options, *model));
    });
}

std::vector<int32_t> tokens_of(Host& host, sqlite3_value* value) {
    const auto model = host.borrow();
    const std::string text = text_argument(value, "the text");
    check_utf8(text, "the text");
    return model->tokenizer().encode(text, true);
}

void tokenize(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    result_text(context, Json(tokens_of(host, arguments[0])).dump());
}

void token_count(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    sqlite3_result_int64(context, static_cast<int64_t>(tokens_of(host, arguments[0]).size()));
}

void detokenize(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    const std::string tokens = text_argument(arguments[0], "the tokens");
    check_ids(tokens);
    result_text(context, detokenize(*host.borrow(), tokens));
}

void logprob(Host& host, sqlite3_context* context, Arguments arguments) {
    if (sqlite3_value_type(arguments[0]) == SQLITE_NULL) return;
    const CallOptions options = options_of(Call::logprob, arguments, 1);
    const auto model = host.borrow(options.choice);
    answer_row(options, [&] {
        const Scored scored = of_row(arguments[0], "the text", [&] {
            return scored_text(*model, text_argument(arguments[0], "the text"), options);
        });
        if (scored.tokens.size() > scored.first)  // else none counts, and there is no number
            sqlite3_result_double(context, log_probability_of(*model, scored));
    });
}

void info(Host& host, sqlite3_context* context, Arguments) {
    const auto model = host.borrow();
    result_text(context, describe(*model, LLMSQL_VERSION));
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
