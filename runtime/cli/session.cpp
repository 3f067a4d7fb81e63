// SPDX-License-Identifier: MIT
// One turn of a session, or the rest of one.
#include "common/error.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

/// --continue: prints what the command that was interrupted would have printed, from its beginning.
void resume(Printer& printer, Session& session) {
    const bool whole = !session.unfinished() && !session.prompt().empty();
    const bool ready = !whole && printer.prefill_by([&] { return session.resume(); });
    if (session.kind() == SessionKind::text) print(session.prompt());
    const Spoken before{session.thinking(), session.answer()};
    if (ready) {
        printer.print_answer(before);
        return;
    }
    AnswerPrinter whole_answer;
    whole_answer.show(before);
    whole_answer.end();
    if (whole) print_notice("note: the last answer was whole already");
}

}  // namespace

bool say_noting(Tokenizer& tokenizer, Session& session, const std::string& content) {
    const uint64_t before = tokenizer.bytes_left_out();
    const bool whole = session.say(content);
    note_left_out(tokenizer.bytes_left_out() - before);
    return whole;
}

int run_session(Program& program, Tokenizer& tokenizer, const Options& options) {
    Printer printer(program, tokenizer, options);
    if (options.mode == Mode::resume) {
        resume(printer, *printer.open_session(std::nullopt));
    } else {
        const bool chat = options.mode == Mode::answer;
        if (chat) program.chat().require();
        check_prompt(options.prompt, "the prompt");
        if (options.system) check_prompt(*options.system, "the system message");
        Session& session = *printer.open_session(chat ? SessionKind::chat : SessionKind::text);
        if (options.system) session.set_system(*options.system);
        // The prompt of a text is printed when it is known not to be too long.
        const bool begun =
            printer.prefill_by([&] { return say_noting(tokenizer, session, options.prompt); });
        if (!chat) print(options.prompt);
        if (begun)
            printer.print_answer();
        else if (!chat)
            print("\n");
    }
    return printer.end();
}

}  // namespace llmsql
