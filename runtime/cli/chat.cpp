// Conversations through the plan's chat section.
#include "runtime/cli/chat.h"

#include <csignal>
#include <vector>

#include "common/error.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/text/utf8.h"

namespace llmsql {
namespace {

std::vector<ChatMessage> opening(const Program& program, const Options& options) {
    if (!program.has_chat())
        fail(
            "{}: this is a base model without a chat template: give it a text to go on from with "
            "-p",
            program.name());
    std::vector<ChatMessage> messages;
    if (options.system) {
        check_prompt(*options.system, "the system message");
        messages.push_back({"system", *options.system});
    }
    return messages;
}

/// The conversation's tokens, at most as many as leave room for an answer.
std::vector<int32_t> tokens_of(Program& program, Tokenizer& tokenizer, const Options& options,
                               const Generator& generator,
                               const std::vector<ChatMessage>& messages) {
    std::vector<int32_t> tokens = encode_noting(tokenizer, program.render_chat(messages));
    if (tokens.empty()) fail("{}: the chat section made an empty prompt", program.name());
    const auto context = static_cast<size_t>(generator.context());
    if (tokens.size() <= context) return tokens;
    const auto keep = static_cast<size_t>(std::max<int64_t>(0, options.keep.value_or(0)));
    if (!options.keep || keep + 2 > context)
        fail("the {} tokens, the context holds {}: {}",
             messages.size() <= 2 ? fmt::format("prompt is {}", tokens.size())
                                  : fmt::format("conversation has grown to {}", tokens.size()),
             context,
             options.keep ? "--keep leaves no room" : "--keep N would forget its older part");
    const size_t newer = (context - keep) / 2;
    tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(keep),
                 tokens.end() - static_cast<ptrdiff_t>(newer));
    return tokens;
}

}  // namespace

int run_answer(Program& program, Tokenizer& tokenizer, const Options& options) {
    std::vector<ChatMessage> messages = opening(program, options);
    check_prompt(options.prompt, "the prompt");
    messages.push_back({"user", options.prompt});
    Printer printer(program, tokenizer, options);
    const auto tokens = tokens_of(program, tokenizer, options, printer.generator(), messages);
    if (printer.prefill(tokens)) printer.print_answer();
    printer.statistics().print();
    return status_after_signals();
}

int run_chat(Program& program, Tokenizer& tokenizer, const Options& options) {
    std::vector<ChatMessage> messages = opening(program, options);
    Printer printer(program, tokenizer, options);
    const bool person = is_terminal();
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
        const auto tokens = tokens_of(program, tokenizer, options, printer.generator(), messages);
        if (printer.prefill(tokens)) {
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
    printer.statistics().print();
    return person && interrupt() == SIGINT ? 0 : status_after_signals();
}

}  // namespace llmsql
