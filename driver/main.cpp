// SPDX-License-Identifier: MIT
// llmsql: one command over llmsql-import, llmsqlc and llmsql-run.
#include <fmt/format.h>

#include <csignal>
#include <ctime>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "common/ending.h"
#include "common/error.h"
#include "common/files.h"
#include "compiler/memory/byte_size.h"
#include "driver/cache.h"
#include "driver/commands.h"
#include "driver/prepare.h"
#include "driver/processes.h"
#include "driver/source.h"

namespace llmsql::driver {
namespace {

constexpr char kHelp[] = R"(Runs language models as SQL programs, from the file as published.
Usage: llmsql COMMAND [ARGUMENTS]

Commands:
  run SRC [OPTIONS]     talk to a model, or go on with a text
  show SRC              what is in a model, and the memory that it takes
  bench SRC             how fast it is here
  verify SRC            check all of its weights against their checksums
  cache ls|rm|limit     the models that run has imported
  import, compile       the steps of run for files of your own, as llmsql-import
                        and llmsqlc do them
  help COMMAND          more of a command

SRC is a GGUF file (of a split model any part), a Hugging Face folder with
config.json and safetensors, or a model database; show takes plans too.

examples:
  llmsql run model.gguf
  llmsql run model.gguf -p "Once upon a time" -n 64
  llmsql show model.gguf
)";

constexpr char kRunHelp[] =
    R"(Imports a model, compiles its plan and runs it. What was made is kept in a
cache and found again. Without -p or -f it is a conversation, a line a turn.
Usage: llmsql run SRC [OPTIONS]

  -p, --prompt TEXT     go on with a text; with --chat, answer it
  -n, --predict N       most tokens to generate
  --chat                put the prompt into the model's chat template
  -c, --context N       positions of context (default: 4096, or as many as the
                        model was trained for)
  --budget SIZE         most memory for the whole process: 96MiB, 1.5GiB
                        (default: what is free, where the model takes more)
  --kv TYPE             keys and values as f16 or q8, --sequences N, --chunk N:
                        as llmsqlc --help says
  --weights TYPE        how matrices are stored, --ignore-key NAME, --model
                        FILE, --graph FILE: as llmsql-import --help says
All other options are llmsql-run's: llmsql-run --help lists them.

examples:
  llmsql run model.gguf --chat -p "Why is the sky blue?"
  llmsql run model.gguf --budget 512MiB -c 2048
)";

constexpr char kCacheHelp[] =
    R"(Shows and clears what llmsql run has imported, in $XDG_CACHE_HOME/llmsql or
~/.cache/llmsql.
Usage: llmsql cache ls | rm NAME... | rm --all | limit [SIZE]

  ls              each model: its name, size, when it was used last, its source
  rm NAME...      remove models by name (or the beginning of it) or by source
  rm --all        remove all that are not in use
  limit           print how much the cache holds at most (64 GiB, unless it was
                  set); models that were not used for longest go first
  limit SIZE      set it: 20GiB
)";

/// What llmsql-run gets of a request: a window of --perplexity is its own -c.
std::vector<std::string> options_of_run(const RunRequest& request) {
    std::vector<std::string> options = request.run_options;
    for (const std::string& option : request.run_options)
        if (request.context && option.starts_with("--perplexity")) {
            options.insert(options.end(), {"--ctx-size", fmt::format("{}", *request.context)});
            break;
        }
    return options;
}

int run(const RunRequest& request) {
    const ReadyModel prepared = prepare(request);
    if (prepared.entry) prepared.entry->keep_across_exec();
    become_program("llmsql-run", prepared.arguments(options_of_run(request)));
}

int verify(const RunRequest& request) {
    if (!request.run_options.empty())
        throw Misuse(fmt::format("{}: is no option of llmsql verify", request.run_options.front()));
    const ReadyModel prepared = prepare_database(request);
    if (prepared.entry) prepared.entry->keep_across_exec();
    become_program("llmsql-run", prepared.arguments({"--verify"}));
}

std::string day_of(int64_t nanoseconds) {
    const time_t seconds = static_cast<time_t>(nanoseconds / 1'000'000'000);
    struct tm parts {};
    char text[32] = "?";
    if (::localtime_r(&seconds, &parts) != nullptr)
        (void)std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
    return text;
}

int list(const Cache& cache) {
    constexpr size_t kShown = 8;
    std::string text;
    uint64_t sum = 0;
    for (const CacheEntry& entry : cache.entries()) {
        text += fmt::format("{}  {:>9}  {}{}  {}\n", entry.key.substr(0, kShown),
                            amount_text(entry.bytes), day_of(entry.used),
                            entry.in_use ? ", in use" : "", one_line(entry.source));
        sum += entry.bytes;
    }
    text += fmt::format("{} of at most {} in {}\n", amount_text(sum), amount_text(cache.limit()),
                        cache.folder().string());
    write_file_atomically("-", text);
    return 0;
}

int remove(const Cache& cache, const std::vector<std::string>& names) {
    if (names.empty()) throw Misuse("cache rm: which? NAME, a source, or --all");
    int status = 0;
    for (const std::string& name : names) {
        bool found = name == "--all";
        std::error_code none;
        const std::string path = std::filesystem::weakly_canonical(name, none).string();
        for (const CacheEntry& entry : cache.entries()) {
            if (name != "--all" && !entry.key.starts_with(name) && entry.source != path) continue;
            found = true;
            if (cache.remove(entry.key)) continue;
            say(fmt::format("{}: is in use, and stays", entry.source));
            status = 1;
        }
        if (found) continue;
        say(fmt::format("{}: is not in the cache (llmsql cache ls shows what is)", name));
        status = 1;
    }
    return status;
}

int cache_command(const std::vector<std::string>& arguments) {
    const std::string what = arguments.empty() ? "" : arguments.front();
    if (what == "-h" || what == "--help") {
        write_file_atomically("-", kCacheHelp);
        return 0;
    }
    const std::vector<std::string> rest(arguments.begin() + (arguments.empty() ? 0 : 1),
                                        arguments.end());
    if (what != "ls" && what != "rm" && what != "limit")
        throw Misuse("cache: ls, rm or limit is wanted");
    if (what == "ls" && !rest.empty()) throw Misuse("cache ls: takes nothing more");
    if (what == "limit" && rest.size() > 1) throw Misuse("cache limit: one SIZE is wanted");
    uint64_t limit = 0;
    if (what == "limit" && !rest.empty()) try {
            limit = static_cast<uint64_t>(compiler::parse_bytes(rest.front(), "cache limit"));
        } catch (const Error& error) {
            throw Misuse(error.what());
        }
    const Cache cache(default_cache_folder());
    if (what == "ls") return list(cache);
    if (what == "rm") return remove(cache, rest);
    if (!rest.empty()) cache.set_limit(limit);
    write_file_atomically("-",
                          compiler::exact_bytes_text(static_cast<int64_t>(cache.limit())) + "\n");
    return 0;
}

int print(const char* text) {
    write_file_atomically("-", text);
    return 0;
}

int command(const std::vector<std::string>& arguments) {
    if (arguments.empty()) throw Misuse("a command is wanted: llmsql run SRC");
    std::string name = arguments.front();
    std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    if (name == "help" || name == "-h" || name == "--help") {
        if (rest.empty()) return print(kHelp);
        name = rest.front();
        rest = {"--help"};
    }
    if (name == "--version") return print("llmsql " LLMSQL_VERSION "\n");
    if (name == "import") become_program("llmsql-import", rest);
    if (name == "compile") become_program("llmsqlc", rest);
    if (name == "cache") return cache_command(rest);
    const auto how = name == "run"      ? run
                     : name == "show"   ? show
                     : name == "bench"  ? bench
                     : name == "verify" ? verify
                                        : nullptr;
    if (how == nullptr) throw Misuse(fmt::format("'{}': is no command", printable(name)));
    const RunRequest request = read_request(rest);
    if (request.help) return print(name == "run" ? kRunHelp : kHelp);
    if (request.source.empty())
        throw Misuse(fmt::format("{}: which model? llmsql {} SRC", name, name));
    return how(request);
}

int command_status(int argc, char** argv) {
    std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is an error of writing it
    try {
        return command({argv + 1, argv + argc});
    } catch (const Misuse& error) {
        say(fmt::format("{} (llmsql --help lists the commands)", error.what()));
        return 2;
    } catch (const EndedBy& ended) {
        return ended.status;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        say(error.what());
    }
    return 1;
}

}  // namespace
}  // namespace llmsql::driver

int main(int argc, char** argv) {
    llmsql::end_well_without_memory("llmsql");
    try {
        return llmsql::driver::command_status(argc, argv);
    } catch (const std::bad_alloc&) {
        llmsql::report("llmsql: out of memory\n");
    }
    return 1;
}
