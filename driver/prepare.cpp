// SPDX-License-Identifier: MIT
// Importing and compiling, once. See prepare.h.
#include "driver/prepare.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "common/byte_size.h"
#include "common/files.h"
#include "common/hash.h"
#include "common/machine.h"
#include "common/model_format.h"
#include "database/plans.h"
#include "driver/processes.h"
#include "driver/source.h"

namespace llmsql::driver {
namespace {

namespace fs = std::filesystem;

/// What an entry of the cache is: changed where older ones shall not be found any more.
constexpr char kEntryFormat[] = "entry 2";

/// A context that conversations fit in; shorter where the model was trained for less.
constexpr int64_t kDefaultContext = 4096;

constexpr char kImporter[] = "llmsql-import", kCompiler[] = "llmsqlc";

bool is_there(const fs::path& path) {
    return status_of(path).type() != fs::file_type::not_found;
}
bool is_file(const fs::path& path) {
    return status_of(path).type() == fs::file_type::regular;
}

std::string last_line(std::string text) {
    while (text.ends_with('\n')) text.pop_back();
    return text.substr(text.rfind('\n') + 1);
}

/// The output of a program that has to succeed; what it says is wrong is passed on.
std::string output_of(const std::string& name, const std::vector<std::string>& arguments) {
    const Ended ended = run_program(name, arguments, Channel::captured);
    if (ended.status != 0) throw EndedBy{ended.status};
    return ended.output;
}

/// Has a program look at its options, before anything is made.
void check_with(const std::string& name, const std::vector<std::string>& arguments) {
    const Ended ended = run_program(name, arguments, Channel::dropped, Channel::captured);
    if (ended.status == 0) return;
    report(ended.errors);
    throw EndedBy{ended.status};
}

/// Beside a file of the cache: the checksum of what it was when it was made.
fs::path checksum_file(const fs::path& file) {
    return fs::path(file) += ".checksum";
}
std::string checksum_of(const std::string& text) {
    return hex(hash128(text.data(), text.size())) + "\n";
}

/// What a database of the cache and its model file were when they were imported: whoever writes to
/// one changes this.
std::string stamp_of(const fs::path& folder) {
    struct stat status {};
    const fs::path database = folder / "model.db";
    if (::stat(database.c_str(), &status) != 0)
        fail("{}: {}", database.string(), std::strerror(errno));
    return fmt::format("{} {}.{:09}\n{}", status.st_size, status.st_mtim.tv_sec,
                       status.st_mtim.tv_nsec, checksum_of(read_file(folder / "model.toml")));
}
constexpr char kStamp[] = "imported";

void write_stamp(const fs::path& folder) {
    write_file_atomically(folder / kStamp, stamp_of(folder));
}

void import_into(const RunRequest& request, const fs::path& folder) {
    std::vector<std::string> arguments = request.import_options;
    const fs::path database = folder / "model.db", model = folder / "model.toml";
    arguments.insert(arguments.end(), {"--output", database.string()});
    if (request.model_file.empty())
        arguments.insert(arguments.end(), {"--for-cache", "--write-model", model.string()});
    else
        write_file_atomically(model, read_file(request.model_file));
    arguments.insert(arguments.end(), {"--", request.source.string()});
    const Ended ended = run_program(kImporter, arguments);
    if (ended.status != 0) throw EndedBy{ended.status};
    write_stamp(folder);
}

/// The number behind what stands at `at`, if it is anywhere and has one.
template<class Number>
std::optional<Number> number_behind(std::string_view words, const std::string& text, size_t at) {
    Number number = 0;
    if (at == std::string::npos ||
        std::from_chars(&text[at + words.size()], text.data() + text.size(), number).ec !=
            std::errc())
        return std::nullopt;
    return number;
}

/// How long the texts were that the model was trained for, where its model file says it as
/// llmsql-import writes it.
std::optional<int64_t> trained_context(const std::string& model) {
    constexpr std::string_view kLine = "\n[source]\ncontext = ";
    return number_behind<int64_t>(kLine, model, model.find(kLine));
}

/// What makes two compilers one: a program that was replaced may write other plans.
std::string identity_of_compiler() {
    struct stat status {};
    const fs::path path = program(kCompiler);
    if (::stat(path.c_str(), &status) != 0) fail("{}: {}", path.string(), std::strerror(errno));
    return fmt::format("{} {}.{}", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

std::string graph_dir(const RunRequest& request) {
    const auto& given = request.import_options;
    const auto at = std::ranges::find(given, "--graph-dir");
    return at == given.end() ? "" : fs::absolute(*(at + 1)).string();
}

uint64_t memory_that_is_free() {
    // Tests show another machine's /proc and /sys.
    const char* root = std::getenv("LLMSQL_SYSTEM_ROOT");
    return free_memory(root == nullptr ? "/" : root);
}

/// Options of llmsqlc: those that were asked for, and a context.
std::vector<std::string> compile_options(const RunRequest& request, int64_t context) {
    std::vector<std::string> options = request.compile_options;
    options.insert(options.end(), {"--context", fmt::format("{}", context)});
    if (const std::string dir = graph_dir(request); !dir.empty())
        options.insert(options.end(), {"--graph-dir", dir});
    return options;
}

int64_t context_of(const RunRequest& request, const std::string& model) {
    const int64_t trained = trained_context(model).value_or(kDefaultContext);
    return request.context.value_or(std::min(trained, kDefaultContext));
}

std::vector<std::string> budget_options(const RunRequest& request, const std::string& budget) {
    if (budget.empty()) return {};
    std::vector<std::string> options = {"--budget", budget};
    if (request.threads) options.insert(options.end(), {"--threads", *request.threads});
    return options;
}

/// What llmsqlc is told to say what a run takes.
std::vector<std::string> memory_arguments(const RunRequest& request, const fs::path& model) {
    std::vector<std::string> arguments =
        compile_options(request, context_of(request, read_file(model)));
    const std::vector<std::string> budget = budget_options(request, request.budget.value_or(""));
    arguments.insert(arguments.end(), budget.begin(), budget.end());
    arguments.insert(arguments.end(), {"--emit=memory", "--", model.string()});
    return arguments;
}

/// What an import will take. A budget that no plan of the model keeps is refused here, as that may
/// be many minutes before its plan is compiled; `folder` is for the model file that says so.
uint64_t bytes_of_import(const RunRequest& request, const fs::path& folder) {
    std::vector<std::string> arguments = request.import_options;
    fs::path model = request.model_file;
    if (request.budget && model.empty()) {
        model = folder / "model.toml";
        arguments.insert(arguments.end(), {"--write-model", model.string()});
    }
    arguments.insert(arguments.end(), {"--dry-run", "--", request.source.string()});
    const std::string text = output_of(kImporter, arguments);
    if (request.budget) check_with(kCompiler, memory_arguments(request, model));
    constexpr std::string_view kLine = "\nbytes: ";
    const auto bytes = number_behind<uint64_t>(kLine, text, text.rfind(kLine));
    if (!bytes) fail("llmsql-import --dry-run does not say what the import takes");
    return *bytes;
}

/// Compiling into an entry's folder, where what was compiled before is found.
class PlanMaker {
  public:
    PlanMaker(const RunRequest& request, fs::path model, const fs::path& folder)
        : request_(request), model_(std::move(model)), folder_(folder) {
        const std::string text = read_file(model_);
        context_ = context_of(request, text);
        options_ = compile_options(request, context_);
        parts_ = options_;
        parts_.push_back(text);
        parts_.push_back(identity_of_compiler());
    }

    int64_t context() const { return context_; }

    /// Bytes that a run takes where nothing bounds it: its weights are used where the database is
    /// mapped, which has more on their pages.
    int64_t bytes(const fs::path& database) {
        const std::string page = made("memory", {"--emit=memory"}, nullptr).second;
        const auto mapped = static_cast<int64_t>(bytes_of_file(database));
        return bytes_on_page(page, "sum") +
               std::max<int64_t>(0, mapped - bytes_on_page(page, "held weights"));
    }

    /// The plan; of a budget, unless it is empty. Where `refused` is given it gets what the
    /// compiler says of a budget that is too small, and the path is empty.
    fs::path plan(const std::string& budget, std::string* refused = nullptr) {
        return made("plan", budget_options(request_, budget), refused).first;
    }

  private:
    /// A file of the entry's folder, and its text.
    std::pair<fs::path, std::string> made(const std::string& kind,
                                          const std::vector<std::string>& options,
                                          std::string* refused) {
        std::vector<std::string> parts = parts_;
        parts.push_back(kind);
        parts.insert(parts.end(), options.begin(), options.end());
        const bool plan = kind == "plan";
        const fs::path file =
            folder_ / fmt::format("{}-{}.{}", kind, key_of(parts), plan ? "sql" : "txt");
        const fs::path checksum = checksum_file(file);
        std::string text;
        const auto is_made = [&](bool tell) {
            if (!is_there(file) || !is_there(checksum)) return false;
            if (is_file(file) && is_file(checksum)) {
                text = read_file(file);
                if (checksum_of(text) == read_file(checksum)) return true;
            }
            if (tell)
                say(fmt::format("{} in the cache is damaged: it is made anew",
                                plan ? "the plan" : "a page of the plan"));
            return false;
        };
        if (!is_made(true)) {
            // One at a time compiles here; what one left that was killed goes first.
            const fs::path making = folder_ / "making";
            const fs::path compiling = folder_ / "compiling";
            const Descriptor lock(::open(compiling.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
            if (lock.get() < 0 || ::flock(lock.get(), LOCK_EX) != 0)
                fail("{}: {}", compiling.string(), std::strerror(errno));
            std::error_code none;
            fs::remove_all(making, none);
            if (!is_made(false)) {
                for (const fs::path& each : {file, checksum})  // a folder cannot be written over
                    if (!is_file(each)) fs::remove_all(each, none);
                fs::create_directory(making, none);
                const fs::path output = making / file.filename();
                std::vector<std::string> arguments = options_;
                arguments.insert(arguments.end(), options.begin(), options.end());
                arguments.insert(arguments.end(),
                                 {"--output", output.string(), "--", model_.string()});
                const Ended ended =
                    run_program(kCompiler, arguments, Channel::passed,
                                refused != nullptr || !plan ? Channel::captured : Channel::passed);
                if (ended.status != 0) {
                    fs::remove_all(making, none);
                    if (refused == nullptr || ended.status >= 128) {
                        report(ended.errors);
                        throw EndedBy{ended.status};
                    }
                    *refused = last_line(ended.errors);
                    return {};
                }
                if (plan) report(ended.errors);  // notes, which are said once
                text = read_file(output);
                write_file_atomically(checksum, checksum_of(text));
                fs::rename(output, file);
                fs::remove_all(making, none);
            }
        }
        return {file, text};
    }

    const RunRequest& request_;
    fs::path model_, folder_;
    int64_t context_ = 0;
    std::vector<std::string> options_, parts_;
};

/// The model file that goes with a database: named, or beside it. A plan that is `installed` there
/// is none of what was asked for.
fs::path model_file_of(const RunRequest& request, const fs::path& database, bool installed) {
    if (!request.model_file.empty()) return request.model_file;
    const fs::path beside = fs::path(database).replace_extension(".toml");
    if (is_there(beside)) return beside;
    if (installed) {
        std::string asked = request.context ? "-c" : request.budget ? "--budget" : "";
        if (asked.empty()) asked = request.compile_options.front();
        fail(
            "{}: {} is of a plan that is compiled anew, and there is no model file {} to make one "
            "of: --model FILE names one; without {} the plan that is installed in the database "
            "runs as it is",
            database.string(), asked, beside.string(), asked);
    }
    fail(
        "{}: no plan is installed in it, and there is no model file {} to make one of: --model "
        "FILE names one",
        database.string(), beside.string());
}

/// Which model a database is, if its plans must be made, by the cache's name.
UsedEntry entry_for_database(const Cache& cache, const IdentifiedSource& source) {
    const std::vector<std::string> parts = {kEntryFormat, source.path.string(), source.identity};
    return cache.use(
        key_of(parts), source.path.string(), [](const fs::path&) { return uint64_t{0}; },
        [](const fs::path&) {}, say);
}

/// Whether an entry is as it was imported. A database that was written to since is read whole; a
/// glance tells of all others.
bool is_sound(const fs::path& folder, const std::string& source) {
    if (!is_whole_database(folder / "model.db") || !is_file(folder / "model.toml")) return false;
    const bool stamped = is_there(folder / kStamp);
    if (stamped && !is_file(folder / kStamp)) return false;
    const std::string then = stamped ? read_file(folder / kStamp) : "", now = stamp_of(folder);
    if (then == now) return true;
    const auto model_of = [](const std::string& stamp) {
        return stamp.substr(std::min(stamp.find('\n'), stamp.size()));
    };
    if (stamped) {
        if (model_of(then) != model_of(now)) return false;
        say(
            fmt::format("the copy of {} in the cache was written to since it was imported: it is "
                        "compared with its checksums",
                        source));
        const Ended ended = run_program("llmsql-run", {(folder / "model.db").string(), "--verify"},
                                        Channel::captured, Channel::captured);
        if (ended.status >= 128) throw EndedBy{ended.status};
        if (tells_of_damage(ended)) return false;
        if (ended.status != 0) {
            report(ended.errors);
            throw EndedBy{ended.status};
        }
    }
    try {
        write_file_atomically(folder / kStamp, now);
    } catch (const Error&) {  // of a cache that cannot be written: the next run looks again
    }
    return true;
}

}  // namespace

bool tells_of_damage(const Ended& verified) {
    // Each message of a database that is not what was imported says one of these, and no other
    // does.
    const auto says = [&](std::string_view what) {
        return verified.errors.find(what) != std::string::npos;
    };
    return verified.status == 1 && (says(kImportAgain) || says("not a model database"));
}

void say(const std::string& line) {
    report(fmt::format("llmsql: {}\n", one_line(line)));
}

void check_run_options(const RunRequest& request, const std::vector<std::string>& options) {
    // A plan's name is of those that are installed in a database, without which there is none.
    const bool named = std::ranges::any_of(options, [](const std::string& option) {
        return option == "--plan" || option.starts_with("--plan=");
    });
    std::vector<std::string> arguments = {"--check-options", "model.db"};
    if (!named || request.source.empty() || identify(request.source).kind != SourceKind::database)
        arguments.insert(arguments.begin(), "plan.sql");
    arguments.insert(arguments.end(), options.begin(), options.end());
    check_with("llmsql-run", arguments);
}

std::string memory_page(const RunRequest& request, const fs::path& model) {
    return output_of(kCompiler, memory_arguments(request, model));
}

std::vector<std::string> ReadyModel::arguments(const std::vector<std::string>& options) const {
    std::vector<std::string> all;  // paths are absolute, so that none looks like an option
    if (!plan.empty()) all.push_back(plan.string());
    all.push_back(database.string());
    all.insert(all.end(), options.begin(), options.end());
    return all;
}

ReadyModel prepare_database(const RunRequest& request) {
    const IdentifiedSource source = identify(request.source);
    if (source.kind == SourceKind::database) {
        for (size_t i = 0; i < request.import_options.size(); i += 2)
            if (const std::string& name = request.import_options[i];
                name != "--model" && name != "--graph-dir")
                throw Misuse(fmt::format(
                    "{}: is of an import, and {} is a database, which has been imported: import "
                    "its source again, or leave it out",
                    name, request.source.string()));
        return {std::nullopt, {}, source.path};
    }
    const Cache cache(default_cache_folder());
    std::vector<std::string> parts = {kEntryFormat, fmt::format("model {}", kModelFormatVersion),
                                      LLMSQL_VERSION, source.path.string(), source.identity};
    parts.insert(parts.end(), request.import_options.begin(), request.import_options.end());
    if (!request.model_file.empty()) parts.push_back(read_file(request.model_file));
    const std::string key = key_of(parts);
    const auto used = [&] {
        return cache.use(
            key, source.path.string(),
            [&](const fs::path& folder) { return bytes_of_import(request, folder); },
            [&](const fs::path& folder) { import_into(request, folder); }, say);
    };
    std::optional<UsedEntry> entry = used();
    const auto sound = [&] { return is_sound(entry->folder(), source.path.string()); };
    if (!sound()) {
        entry.reset();
        if (cache.remove(key))
            say(fmt::format("the copy of {} in the cache is damaged: it is made anew",
                            source.path.string()));
        entry = used();
        if (!sound())
            fail(
                "{}: the copy in the cache is damaged, and in use: llmsql cache rm {} when it is "
                "not",
                entry->folder().string(), key);
    }
    const fs::path database = entry->folder() / "model.db";
    return {std::move(*entry), {}, database};
}

ReadyModel prepare(const RunRequest& request) {
    if (request.compiles()) {
        std::vector<std::string> arguments = compile_options(request, request.context.value_or(1));
        const std::vector<std::string> budget =
            budget_options(request, request.budget.value_or(""));
        arguments.insert(arguments.end(), budget.begin(), budget.end());
        arguments.insert(arguments.end(), {"--check-options", "--emit=memory", "--", "model.toml"});
        check_with(kCompiler, arguments);
    }
    ReadyModel prepared = prepare_database(request);
    fs::path model;
    if (prepared.entry) {
        model = prepared.entry->folder() / "model.toml";
    } else {
        const bool installed =
            request.model_file.empty() && !plans_installed_in(prepared.database).texts.empty();
        if (installed && !request.compiles()) {
            say("with the plan that is installed in the database");
            return prepared;
        }
        model = model_file_of(request, prepared.database, installed);
        const Cache cache(default_cache_folder());
        prepared.entry.emplace(entry_for_database(cache, identify(prepared.database)));
    }
    PlanMaker maker(request, model, prepared.entry->folder());
    if (request.budget) {
        prepared.plan = maker.plan(*request.budget);
        return prepared;
    }
    const int64_t takes = maker.bytes(prepared.database);
    const uint64_t free = memory_that_is_free();
    const auto shown = [](uint64_t bytes) {
        return mib_text(static_cast<int64_t>(std::min<uint64_t>(bytes, INT64_MAX)));
    };
    if (static_cast<uint64_t>(takes) <= free) {
        say(fmt::format("the run takes up to {} of memory at a context of {} ({})", shown(takes),
                        maker.context(),
                        free == UINT64_MAX ? "what is free is not known"
                                           : fmt::format("{} are free", shown(free))));
        prepared.plan = maker.plan("");
        return prepared;
    }
    const std::string needed =
        fmt::format("the run would take {} of memory at a context of {}, and {} are free",
                    shown(takes), maker.context(), shown(free));
    // Where what is left to others makes it too little, all that is free is tried.
    constexpr uint64_t kStep = 64 << 10;
    std::string refused = "too little for any budget";
    for (const int64_t budget : {budget_within(free), static_cast<int64_t>(free / kStep * kStep)}) {
        if (budget == 0) continue;
        prepared.plan = maker.plan(fmt::format("{}", budget), &refused);
        if (prepared.plan.empty()) continue;
        say(fmt::format("{}: it runs within a budget of {} (--budget SIZE chooses another)", needed,
                        shown(static_cast<uint64_t>(budget))));
        return prepared;
    }
    fail("{}: {}", needed, refused);
}

}  // namespace llmsql::driver
