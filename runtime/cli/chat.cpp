// SPDX-License-Identifier: MIT
// Conversations through the plan's chat section.
#include "runtime/cli/chat.h"

#include <csignal>
#include <vector>

#include "common/error.h"
#include "common/utf8.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

std::vector<ChatMessage> opening(const Program& program, const Options& options) {
    program.chat().require();
    std::vector<ChatMessage> messages;
    if (options.system) {
        check_prompt(*options.system, "the system message");
        messages.push_back({"system", *options.system});
    }
    return messages;
}

}  // namespace

int run_answer(Program& program, Tokenizer& tokenizer, const Options& options) {
    if (!options.session.empty()) return run_session(program, tokenizer, options);
    std::vector<ChatMessage> messages = opening(program, options);
    check_prompt(options.prompt, "the prompt");
    messages.push_back({"user", options.prompt});
    Printer printer(program, tokenizer, options);
    const auto tokens = noting(tokenizer, [&] {
        return chat_prompt(program.chat(), tokenizer, messages, printer.generator().context(),
                           options.keep);
    });
    if (printer.prefill(tokens)) printer.print_answer();
    return printer.end();
}

int run_chat(Program& program, Tokenizer& tokenizer, const Options& options) {
    std::vector<ChatMessage> messages = opening(program, options);
    Printer printer(program, tokenizer, options);
    Session* session = printer.open_session(SessionKind::chat);
    if (session && options.system) session->set_system(*options.system);
    const bool person = is_terminal();
    if (person)
        report(one_line(fmt::format("{}: Ctrl-D ends the conversation, Ctrl-C an answer",
                                    program.name())) +
               "\n");
    while (true) {
        if (person) print("> ");
        const auto line = read_line();
        if (!line) {
            if (person) print("\n");
            break;
        }
        if (line->empty()) continue;
        if (const auto at = first_invalid_utf8(*line)) {
            print_notice(fmt::format("this line is not valid UTF-8 (byte {}), it is ignored", *at));
            continue;
        }
        messages.push_back({"user", *line});
        const auto begin = [&] {
            if (session) return say_noting(tokenizer, *session, *line);
            return printer.generator().prefill(noting(tokenizer, [&] {
                return chat_prompt(program.chat(), tokenizer, messages,
                                   printer.generator().context(), options.keep);
            }));
        };
        if (printer.prefill_by(begin)) {
            messages.push_back({"assistant", printer.print_answer()});
        } else {
            messages.pop_back();  // interrupted before the answer began
        }
        // At a terminal Ctrl-C ends the answer; the next one, at the prompt, the conversation.
        if (interrupt() == SIGINT && person)
            forget_interrupt();
        else if (interrupt())
            break;
    }
    const int status = printer.end();
    return person && interrupt() == SIGINT ? 0 : status;
}

}  // namespace llmsql
