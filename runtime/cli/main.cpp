// SPDX-License-Identifier: MIT
// llmsql-run: runs a plan over a model database. What it can do is in options.cpp; each mode has a
// file beside this one.
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>
#include <utility>

#include "common/ending.h"
#include "common/error.h"
#include "common/model_format.h"
#include "plan/outline.h"
#include "runtime/cli/chat.h"
#include "runtime/cli/console.h"
#include "runtime/cli/divergence.h"
#include "runtime/cli/generate.h"
#include "runtime/cli/logits.h"
#include "runtime/cli/options.h"
#include "runtime/cli/perplexity.h"
#include "runtime/cli/profile.h"
#include "runtime/cli/verify.h"
#include "runtime/cli/watch.h"
#include "runtime/generate/prompt.h"
#include "runtime/program/chat_template.h"
#include "runtime/program/installed_plans.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights/model_file.h"
#include "runtime/weights/weights.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

/// Mode::tokenize: as `llama-tokenize --ids --no-parse-special --no-escape`, without its brackets.
int run_tokenize(Tokenizer& tokenizer, const Options& options) {
    const std::string text = read_input(options.file);
    check_utf8(text, input_name(options.file));
    std::string line;
    for (const int32_t token : encode_noting(tokenizer, text))
        line += fmt::format("{}{}", line.empty() ? "" : " ", token);
    print(line + "\n");
    return 0;
}

/// Mode::render: needs no weights.
int run_render(const PlanFile& plan, const ModelDb& db, const Options& options) {
    ChatTemplate chat(plan, db, stop_if_interrupted);
    chat.require();
    chat.set_date(options.date);
    const std::string text = read_input(options.file);
    try {
        for (const Fragment& fragment : chat.render_json(text, options.variables))
            print(fragment.text);
    } catch (const Error& error) {
        // What is wrong with the plan has its place.
        if (std::string_view(error.what()).starts_with(plan.path.string() + ":")) throw;
        fail("{}: {}", input_name(options.file), error.what());
    }
    return 0;
}

int run_mode(Program& program, const ModelDb& db, const Options& options) {
    if (options.verify) {
        program.verify_weights();
        if (!verify_tables(db))
            report(fmt::format("llmsql-run: note: {}: {}\n", db.path().string(), kNoDigests));
    }
    if (options.mode == Mode::logits) return run_logits(program, options);
    Tokenizer tokenizer(db);
    tokenizer.on_progress(stop_if_interrupted);
    switch (options.mode) {
        case Mode::resume:
            return run_session(program, tokenizer, options);
        case Mode::complete:
            return run_complete(program, tokenizer, options);
        case Mode::answer:
            return run_answer(program, tokenizer, options);
        case Mode::perplexity:
            return run_perplexity(program, tokenizer, options);
        case Mode::divergence:
            return run_divergence(program, tokenizer, options);
        default:
            return run_chat(program, tokenizer, options);
    }
}

int run(const Options& options) {
    if (options.check) {
        check_profile_paths(options);
        return status_after_signals();  // llmsql goes on, or not
    }
    ModelDb db(options.db);
    if (options.mode == Mode::tokenize) {
        Tokenizer tokenizer(db);
        tokenizer.on_progress(stop_if_interrupted);
        return run_tokenize(tokenizer, options);
    }
    guard_mappings();
    if (options.mode == Mode::verify) return run_verify(db, options);
    PlanFile plan =
        options.plan.empty() ? installed_plan(db, options.installed) : read_plan(options.plan);
    if (options.mode == Mode::render) return run_render(plan, db, options);
    check_profile_paths(options);
    // A plan that cannot be shown is told so before it runs, not after.
    if (options.profiles()) outline_of(plan);
    Watch watch(plan, options);
    const ProgramOptions how{.threads = options.threads,
                             .io = options.io,
                             .may_map = true,
                             .timing = options.timing,
                             .profile = options.profiles(),
                             .observer = watch.observer(),
                             .progress = stop_if_interrupted};
    Program program(std::move(plan), db, how);
    program.chat().set_date(options.date);
    if (!options.variables.empty()) program.chat().require();
    if (const auto held = db.meta("model").value_or("?"); held != program.model())
        print_notice(
            fmt::format("note: {} holds a model of another name, '{}', with the same "
                        "parameters as the plan's '{}'",
                        db.path().string(), printable(held), printable(program.model())));
    const bool picks = options.mode == Mode::complete || options.mode == Mode::answer ||
                       options.mode == Mode::chat;
    if (const std::string own = model_sampling_text(options, program.sampling());
        picks && !own.empty())
        print_notice(fmt::format("note: sampling as the model says: {}", own));
    Options asked = options;
    if (watch.observer()) asked.drafts = 0;  // a guess that was wrong is no row of the text
    return watch.finish(run_mode(program, db, asked));
}

int read_and_run(int argc, char** argv) {
    try {
        prepare_console();
        const CommandLine command = read_command_line(argc, argv);
        return command.options ? run(*command.options) : command.status;
    } catch (const StoppedBySignal&) {
        end_line();
        return status_after_signals();
    } catch (const OutputClosed&) {
        return OutputClosed::kStatus;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        end_line();
        print_notice(with_flags(error.what()));
        // llmsql's copies are its own to make anew, and it has said how.
        const char* remedy = std::getenv("LLMSQL_REMEDY");
        if (remedy && std::string_view(error.what()).find(kImportAgain) != std::string_view::npos)
            print_notice(remedy);
    }
    return 1;
}

}  // namespace
}  // namespace llmsql

int main(int argc, char** argv) {
    llmsql::end_well_without_memory("llmsql-run");
    try {
        return llmsql::read_and_run(argc, argv);
    } catch (const std::bad_alloc&) {  // perhaps while an error was told
        llmsql::end_line();
        llmsql::report("llmsql-run: out of memory\n");
    }
    return 1;
}
