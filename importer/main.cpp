// SPDX-License-Identifier: MIT
// llmsql-import: makes a model database from a GGUF file or a Hugging Face folder.
//
//   llmsql-import SRC -o x.db [--weights auto|q8|q4|f16|f32] [--write-model x.toml]
//                 [--name NAME] [--graph graphs/llama.graph]
//   llmsql-import SRC --model models/x.toml -o x.db
//
// Exit code 0, 1 for an error (one line on stderr, no file left), 2 for a wrong command line.
#include <fmt/core.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "common/ending.h"
#include "common/error.h"
#include "common/files.h"
#include "common/help_format.h"
#include "common/weight_format.h"
#include "common/workers.h"
#include "compiler/load/load.h"
#include "importer/import.h"

namespace {

constexpr char kFooter[] = R"(examples:
  llmsql-import qwen2.gguf -o qwen2.db --write-model qwen2.toml
  llmsql-import qwen2.gguf -o qwen2.db --weights q8 --graph graphs/qwen2.graph
  llmsql-import qwen2.gguf -o qwen2.db --model models/qwen2.toml
  llmsql-import Qwen2.5-0.5B/ -o qwen2.db --weights q4 --write-model qwen2.toml

Without --model and --graph the graph file is the one that says it is for the
source's architecture, of those in --graph-dir, in graphs/ beside the program,
and where llmsql is installed. The graph that a model file names is looked for
in the model file's folder and in graphs/ beside that folder first. Model and
graph files that come with llmsql are named as above from any folder.
Exit status: 0, 1 for an error (no file is left then), 2 for a wrong
command line.)";

std::atomic<bool> canceled = false;
std::atomic<int> signal_caught = 0;
std::atomic<bool> ending = false;  // one of the two threads says how it ended

/// Between two writes an import looks whether it was interrupted, and ends by unwinding. Where it
/// is about something long it does not come to look, so after this time it is ended as it stands.
constexpr timespec kPatience{.tv_sec = 0, .tv_nsec = 500'000'000};

[[noreturn]] void end_at_once() {
    llmsql::TemporaryFile::abandon_all();
    if (!ending.exchange(true)) llmsql::report("llmsql-import: interrupted, nothing was written\n");
    std::_Exit(128 + signal_caught);
}

/// A thread of its own waits for interruptions, so that they are heard whatever the import is
/// about. A second one ends it at once. A file size limit is an error of write(), not the end of
/// the process: all so that the temporary files are removed.
void handle_signals() {
    sigset_t interruptions;
    sigemptyset(&interruptions);
    for (const int signal : {SIGINT, SIGTERM}) sigaddset(&interruptions, signal);
    // One that was ignored at the start, as nohup has it, stays ignored.
    if (std::signal(SIGHUP, SIG_IGN) != SIG_IGN) {
        std::signal(SIGHUP, SIG_DFL);
        sigaddset(&interruptions, SIGHUP);
    }
    pthread_sigmask(SIG_BLOCK, &interruptions, nullptr);
    std::signal(SIGXFSZ, SIG_IGN);
    try {
        std::thread([interruptions] {
            int signal = 0;
            if (sigwait(&interruptions, &signal) != 0) return;
            signal_caught = signal;
            canceled = true;
            sigtimedwait(&interruptions, nullptr, &kPatience);
            end_at_once();
        }).detach();
    } catch (const std::system_error& error) {
        llmsql::fail_without_thread("waits for interruptions", error);
    }
}

/// What main returns once the import has ended by itself. Where the other thread has begun to end
/// the process, this one waits for that.
int ended(int status, std::string_view said = {}) {
    if (ending.exchange(true))
        for (;;) ::pause();
    if (said.empty()) return status;
    for (const std::string_view part :
         {std::string_view("llmsql-import: "), said, std::string_view("\n")})
        llmsql::report(part);  // put together, they would take memory, which there may be none of
    return status;
}

class ProgressBar {
  public:
    ProgressBar() : shown_(isatty(STDERR_FILENO) != 0) {}
    ~ProgressBar() { clear(); }

    void update(uint64_t done, uint64_t total) {
        const int percent = total == 0 ? 100 : static_cast<int>(done * 100 / total);
        if (!shown_ || percent == percent_) return;
        percent_ = percent;
        const int filled = percent * kWidth / 100;
        llmsql::report(
            fmt::format("\r[{:=<{}}{: <{}}] {:3} %", "", filled, "", kWidth - filled, percent));
        std::fflush(stderr);
    }

    void clear() {
        if (percent_ >= 0) llmsql::report(fmt::format("\r{: <{}}\r", "", kWidth + 8));
        percent_ = -1;
    }

  private:
    static constexpr int kWidth = 50;
    bool shown_;
    int percent_ = -1;
};

std::string amount(double value) {
    if (value >= 1e9) return fmt::format("{:.2f} G", value / 1e9);
    if (value >= 1e6) return fmt::format("{:.1f} M", value / 1e6);
    return fmt::format("{:.1f} k", value / 1e3);
}

void run(const llmsql::ImportOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    ProgressBar bar;
    const llmsql::ImportWatcher watcher{
        .note =
            [&](const std::string& line) {
                if (options.dry_run) return;  // said when it is imported
                bar.clear();
                llmsql::report(fmt::format("llmsql-import: note: {}\n", line));
            },
        .progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); },
        .canceled = &canceled};
    const llmsql::ImportResult result = llmsql::import_model(options, watcher);
    bar.clear();
    if (options.dry_run) return llmsql::write_file_atomically("-", result.description);
    if (!result.chat.empty() && !options.for_cache)
        llmsql::report(fmt::format("chat: \"Hi\" becomes {}\n", llmsql::one_line(result.chat)));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    llmsql::report(fmt::format("{}: {} parameters, {}B → {}B, {:.1f} s\n", result.name,
                               amount(static_cast<double>(result.parameters)),
                               amount(static_cast<double>(result.bytes_in)),
                               amount(static_cast<double>(result.bytes_out)), seconds.count()));
}

/// "q8", or "layer.*.ffn_up=q8"; nothing where it is neither.
std::optional<llmsql::WeightRule> weight_rule_of(const std::string& text) {
    llmsql::WeightRule rule;
    const size_t sign = text.rfind('=');
    if (sign != std::string::npos) rule.pattern = text.substr(0, sign);
    const std::string name = text.substr(sign == std::string::npos ? 0 : sign + 1);
    rule.type = llmsql::weight_type_named(name);
    const bool known = rule.type ? llmsql::format_of(*rule.type).takes_anything : name == "auto";
    if (!known || rule.pattern.empty()) return std::nullopt;
    return rule;
}

int read_and_run(int argc, char** argv) {
    llmsql::ImportOptions options;
    std::string source, output, model, graph, write_model, graph_dir;
    std::vector<std::string> weights;
    CLI::App app("Makes a model database from a GGUF file or a Hugging Face folder.",
                 "llmsql-import");
    llmsql::describe_program(app, "llmsql-import", LLMSQL_VERSION);
    app.footer(kFooter);
    app.add_option("SRC", source,
                   "the model to import: a GGUF file (of a split model any part), or a folder with "
                   "config.json, safetensors and tokenizer.json or tekken.json")
        ->required();
    app.add_option("-o,--output", output, "the database to write")->type_name("DB");
    auto* by_model = app.add_option("--model", model, "a model file: store the model as it says")
                         ->type_name("FILE");
    auto* by_graph =
        app.add_option("--graph", graph,
                       "a graph file: take its numbers from the source (without: the graph file "
                       "for the source's architecture)")
            ->type_name("FILE");
    by_graph->excludes(by_model);
    app.add_option("--graph-dir", graph_dir, "where to look for graph files first")
        ->type_name("DIR");
    app.add_option("--weights", weights,
                   "without --model: how matrices are stored: q8, q4, f16, f32, or auto: by their "
                   "type in the source (default); or PATTERN=TYPE, for those that the graph names "
                   "so, * being any characters: 'layer.*.ffn_*=q4'; may be given more than once, "
                   "the first that matches counts")
        ->type_name("TYPE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->excludes(by_model);
    app.add_option("--write-model", write_model, "without --model: the model file to write")
        ->type_name("FILE")
        ->excludes(by_model);
    app.add_option("--name", options.name, "without --model: what to call the model")
        ->type_name("NAME")
        ->excludes(by_model);
    app.add_option("--ignore-key", options.ignored_keys,
                   "pass over this key of the source's metadata, though the graph does not know "
                   "it or cannot do what it says; may be given more than once")
        ->type_name("NAME");
    app.add_flag("--for-cache", options.for_cache)->group("");  // llmsql's, not a user's
    app.add_flag("--dry-run", options.dry_run,
                 "store nothing, but check the source and print what it is, and how many bytes its "
                 "database would have");
    try {
        llmsql::parse_command_line(app, argc, argv);
        if (std::ranges::any_of(options.name, [](unsigned char c) { return std::iscntrl(c); }))
            throw CLI::ValidationError("--name", "a name is one line, without control characters");
        if (output.empty() && !options.dry_run)
            throw CLI::RequiredError("a database to write, -o DB (or --dry-run),");
    } catch (const CLI::Success& done) {  // --help, --version
        return llmsql::print_what_was_asked(app, done);
    } catch (const CLI::ParseError& error) {
        llmsql::report(fmt::format("llmsql-import: {} (llmsql-import --help lists the options)\n",
                                   llmsql::misuse_text(app, error)));
        return 2;
    }
    options.source = source;
    options.output = output;
    options.graph_dirs = llmsql::compiler::graph_dirs(graph_dir, LLMSQL_GRAPHS);
    if (*by_model)
        options.model_file = llmsql::compiler::find_shipped_file(model, options.graph_dirs);
    if (*by_graph)
        options.graph_file = llmsql::compiler::find_shipped_file(graph, options.graph_dirs);
    for (const std::string& text : weights) {
        const auto rule = weight_rule_of(text);
        if (!rule) {
            llmsql::report(fmt::format(
                "llmsql-import: --weights {}: a type is wanted, auto, {}, or PATTERN=TYPE "
                "(llmsql-import --help lists the options)\n",
                llmsql::printable(text), llmsql::weight_format_names(true)));
            return 2;
        }
        options.weights.push_back(*rule);
    }
    if (!write_model.empty()) options.write_model = write_model;
    handle_signals();
    run(options);
    return ended(0);
}

}  // namespace

int main(int argc, char** argv) {
    llmsql::end_well_without_memory("llmsql-import");
    try {
        llmsql::fill_standard_descriptors();
        return read_and_run(argc, argv);
    } catch (const std::bad_alloc&) {
        return ended(1, "out of memory");
    } catch (const std::exception& error) {
        return ended(signal_caught ? 128 + signal_caught : 1, error.what());
    }
}
