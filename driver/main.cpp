// SPDX-License-Identifier: MIT
// llmsql: one command over llmsql-import, llmsqlc and llmsql-run.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "common/byte_size.h"
#include "common/ending.h"
#include "common/error.h"
#include "common/files.h"
#include "compiler/load/load.h"
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
  prepare SRC           import and compile as run does, and say where it lies
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
  --kv TYPE             keys and values as f16 or q8, --sequences N, --drafts N,
                        --snapshots SIZE, --chunk N: as llmsqlc --help says
  --weights TYPE        how matrices are stored, --ignore-key NAME, --model
                        FILE, --graph FILE: as llmsql-import --help says
All other options are llmsql-run's: llmsql-run --help lists them.

examples:
  llmsql run model.gguf --chat -p "Why is the sky blue?"
  llmsql run model.gguf --budget 512MiB -c 2048
)";

constexpr char kShowHelp[] =
    R"(Says what is in a model, without importing it, and what a run takes.
Usage: llmsql show SRC [OPTIONS]

SRC is a GGUF file, a Hugging Face folder, a model database or a plan.

  -c, --context N, --budget SIZE, --kv TYPE, --sequences N, --chunk N,
  -t, --threads N       of the run whose memory is told
  --weights TYPE        how matrices would be stored, --ignore-key NAME, --model
                        FILE, --graph FILE: as llmsql-import --help says

examples:
  llmsql show model.gguf
  llmsql show model.gguf -c 8192 --kv q8
)";

constexpr char kBenchHelp[] =
    R"(Says how fast a model reads a prompt and makes tokens here: 256 words are read
and 64 tokens made, fewer where the context is short.
Usage: llmsql bench SRC [OPTIONS]

  -t, --threads N       how many threads compute
  -c, --context N, --budget SIZE, --kv TYPE, --chunk N, --weights TYPE, others:
                        of the plan that is measured, as llmsql run --help says

examples:
  llmsql bench model.gguf
)";

constexpr char kVerifyHelp[] =
    R"(Reads all of a model's weights and compares them with their checksums. Of a
source that is no database it is the copy in the cache, which is made first if
it is not there; one that is damaged leaves the cache.
Usage: llmsql verify SRC [OPTIONS]

  --weights TYPE, --ignore-key NAME, --model FILE, --graph FILE
                        as they were given to llmsql run: which copy it is

examples:
  llmsql verify model.gguf
)";

constexpr char kPrepareHelp[] =
    R"(Imports a model and compiles its plan as llmsql run does, for programs that open
it themselves, and prints three lines: database, plan (empty: the one that is
installed in the database) and lock, a file of the cache: a shared lock (flock)
on it keeps the model there (empty: nothing of the cache is used).
Usage: llmsql prepare SRC [OPTIONS]

  -c, --context N, --budget SIZE, --kv TYPE, --weights TYPE, others:
                        of the import and the plan, as llmsql run --help says

examples:
  llmsql prepare model.gguf --budget 512MiB
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

constexpr size_t kShownKey = 8;  // of an entry's name, which is enough to tell it

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
    const std::vector<std::string> options = options_of_run(request);
    check_run_options(request, options);
    const ReadyModel prepared = prepare(request);
    if (prepared.entry) {
        prepared.entry->keep_across_exec();
        // Where the copy is damaged llmsql-run cannot know that it is one.
        const std::string remedy =
            fmt::format("llmsql cache rm {} removes this copy; the next run makes another",
                        prepared.entry->folder().filename().string().substr(0, kShownKey));
        if (prepared.database.parent_path() == prepared.entry->folder())
            ::setenv("LLMSQL_REMEDY", remedy.c_str(), 1);
    }
    become_program("llmsql-run", prepared.arguments(options));
}

/// A copy of the cache that is damaged leaves it: the next run makes another.
int verify(const RunRequest& request) {
    refuse_run_options(request, "verify", false);
    ReadyModel prepared = prepare_database(request);
    const std::vector<std::string> arguments = prepared.arguments({"--verify"});
    if (!prepared.entry) become_program("llmsql-run", arguments);
    const Ended ended = run_program("llmsql-run", arguments, Channel::passed, Channel::captured);
    report(ended.errors);
    if (!tells_of_damage(ended)) return ended.status;
    const std::string key = prepared.entry->folder().filename().string();
    prepared.entry.reset();
    if (Cache(default_cache_folder()).remove(key))
        say(
            fmt::format("the copy in the cache was damaged and has left it: the next run of {} "
                        "imports it anew",
                        request.source.string()));
    return ended.status;
}

/// A model file that comes with llmsql may be named as llmsqlc and llmsql-import take it.
void find_model_file(RunRequest& request) {
    if (request.model_file.empty()) return;
    std::vector<std::filesystem::path> folders;
    auto& given = request.import_options;
    if (const auto at = std::ranges::find(given, "--graph-dir"); at != given.end())
        folders.emplace_back(*(at + 1));
    std::ranges::copy(compiler::standard_graph_dirs(LLMSQL_GRAPHS), std::back_inserter(folders));
    request.model_file = compiler::find_shipped_file(request.model_file, folders);
    for (size_t i = 0; i + 1 < given.size(); i += 2)
        if (given[i] == "--model") given[i + 1] = request.model_file.string();
}

/// For programs that open the model themselves (bindings/): where it is.
int tell_prepared(const RunRequest& request) {
    refuse_run_options(request, "prepare");
    const ReadyModel prepared = prepare(request);
    const std::string lock = prepared.entry ? prepared.entry->lock_file().string() : "";
    std::string text;
    for (const auto& [name, path] :
         {std::pair<const char*, std::string>{"database", prepared.database},
          {"plan", prepared.plan},
          {"lock", lock}}) {
        if (path.find('\n') != std::string::npos)
            fail("{}: a name with a line break in it cannot be told in a line", one_line(path));
        text += fmt::format("{}: {}\n", name, path);
    }
    write_file_atomically("-", text);
    return 0;
}

int print(const char* text) {
    write_file_atomically("-", text);
    return 0;
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
    std::string text;
    uint64_t sum = 0;
    for (const CacheEntry& entry : cache.entries()) {
        text += fmt::format("{}  {:>9}  {}{}  {}\n", entry.key.substr(0, kShownKey),
                            amount_text(entry.bytes), day_of(entry.used),
                            entry.in_use ? ", in use" : "", one_line(entry.source));
        sum += entry.bytes;
    }
    text += fmt::format("{} of at most {} in {}\n", amount_text(sum), amount_text(cache.limit()),
                        cache.folder().string());
    write_file_atomically("-", text);
    return 0;
}

/// The entries that a name means, of which the beginning is enough where no other begins so. A
/// source's are all of its copies.
std::vector<CacheEntry> named_entries(const Cache& cache, const std::string& name) {
    std::vector<CacheEntry> all = cache.entries();
    if (name == "--all") return all;
    std::error_code none;
    const std::string path = std::filesystem::weakly_canonical(name, none).string();
    std::vector<CacheEntry> found;
    for (const CacheEntry& entry : all)
        if (entry.source == path) found.push_back(entry);
    if (!found.empty() || name.empty()) return found;
    for (const CacheEntry& entry : all)
        if (entry.key.starts_with(name)) found.push_back(entry);
    if (found.size() > 1)
        fail("{}: {} models in the cache begin so: more of the name is wanted (llmsql cache ls)",
             printable(name), found.size());
    return found;
}

int remove(const Cache& cache, const std::vector<std::string>& names) {
    if (names.empty()) throw Misuse("cache rm: which? NAME, a source, or --all");
    for (const std::string& name : names)
        if (name.starts_with('-') && name != "--all")
            throw Misuse(fmt::format("cache rm: {}: is no option", printable(name)));
    int status = 0;
    for (const std::string& name : names) {
        const std::vector<CacheEntry> found = named_entries(cache, name);
        for (const CacheEntry& entry : found) {
            if (cache.remove(entry.key)) {
                say(fmt::format("{} ({}) has left the cache", entry.source,
                                amount_text(entry.bytes)));
                continue;
            }
            say(fmt::format("{}: is in use, and stays", entry.source));
            status = 1;
        }
        if (!found.empty() || name == "--all") continue;
        say(fmt::format("{}: is not in the cache (llmsql cache ls shows what is)",
                        name.empty() ? "''" : name));
        status = 1;
    }
    return status;
}

int cache_command(const std::vector<std::string>& arguments) {
    const std::string what = arguments.empty() ? "" : arguments.front();
    if (std::ranges::any_of(arguments, [](const std::string& argument) {
            return argument == "-h" || argument == "--help";
        }))
        return print(kCacheHelp);
    const std::vector<std::string> rest(arguments.begin() + (arguments.empty() ? 0 : 1),
                                        arguments.end());
    if (what != "ls" && what != "rm" && what != "limit")
        throw Misuse("cache: ls, rm or limit is wanted");
    if (what == "ls" && !rest.empty()) throw Misuse("cache ls: takes nothing more");
    if (what == "limit" && rest.size() > 1) throw Misuse("cache limit: one SIZE is wanted");
    uint64_t limit = 0;
    if (what == "limit" && !rest.empty()) try {
            limit = static_cast<uint64_t>(parse_bytes(rest.front(), "cache limit"));
        } catch (const Error& error) {
            throw Misuse(error.what());
        }
    const bool looking = what == "ls" || (what == "limit" && rest.empty());
    const Cache cache(default_cache_folder(),
                      looking ? Cache::Purpose::looking : Cache::Purpose::using_it);
    if (what == "ls") return list(cache);
    if (what == "rm") return remove(cache, rest);
    if (!rest.empty()) cache.set_limit(limit, say);
    write_file_atomically("-", exact_bytes_text(static_cast<int64_t>(cache.limit())) + "\n");
    return 0;
}

/// What is said of a word that is no command: a model's name is most likely to be run.
std::string no_command(const std::string& name) {
    std::error_code none;
    if (std::filesystem::exists(name, none))
        return fmt::format("'{0}': is no command: llmsql run {0}", printable(name));
    return fmt::format("'{}': is no command", printable(name));
}

int command(const std::vector<std::string>& arguments) {
    if (arguments.empty()) throw Misuse("a command is wanted: llmsql run SRC");
    std::string name = arguments.front();
    std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    if (name == "help" || name == "-h" || name == "--help") {
        if (rest.empty() || rest.front() == "help" || rest.front().starts_with('-'))
            return print(kHelp);
        name = rest.front();
        rest = {"--help"};
    }
    if (name == "--version") return print("llmsql " LLMSQL_VERSION "\n");
    if (name == "import") become_program("llmsql-import", rest);
    if (name == "compile") become_program("llmsqlc", rest);
    if (name == "cache") return cache_command(rest);
    const auto how = name == "run"       ? run
                     : name == "show"    ? show
                     : name == "bench"   ? bench
                     : name == "verify"  ? verify
                     : name == "prepare" ? tell_prepared
                                         : nullptr;
    if (how == nullptr) throw Misuse(no_command(name));
    RunRequest request;
    try {
        request = read_request(rest);
    } catch (const TwoSources& two) {
        if (how == run && !two.options.empty()) check_run_options({}, two.options);
        throw;
    }
    if (request.help)
        return print(name == "run"      ? kRunHelp
                     : name == "show"   ? kShowHelp
                     : name == "bench"  ? kBenchHelp
                     : name == "verify" ? kVerifyHelp
                                        : kPrepareHelp);
    // An option that is not known has taken what follows it for its value.
    if (request.source.empty() && how == run && !request.run_options.empty())
        check_run_options(request, request.run_options);
    if (request.source.empty())
        throw Misuse(fmt::format("{}: which model? llmsql {} SRC", name, name));
    find_model_file(request);
    return how(request);
}

int command_status(int argc, char** argv) {
    std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is an error of writing it
    try {
        fill_standard_descriptors();
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
