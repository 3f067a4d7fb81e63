// SPDX-License-Identifier: MIT
// llmsql show: of a source what its import would make, of a database what is in it, of a plan what
// its header says.
#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "common/catalogue.h"
#include "common/error.h"
#include "common/files.h"
#include "common/types.h"
#include "database/plans.h"
#include "driver/cache.h"
#include "driver/commands.h"
#include "driver/prepare.h"
#include "driver/processes.h"
#include "driver/source.h"
#include "sqlite/statement.h"

namespace llmsql::driver {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPlanStart = "-- llmsql plan";

/// A folder of its own that goes with this.
class TemporaryPlace {
  public:
    TemporaryPlace() {
        const char* given = std::getenv("TMPDIR");
        const bool named = given != nullptr && given[0] != '\0';
        const fs::path holder = named ? given : "/tmp";
        std::string name = (holder / "llmsql-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr)
            fail(
                "{}: {}: a folder for a moment's file is wanted; set TMPDIR to one that can be "
                "written",
                holder.string(), std::strerror(errno));
        folder_ = name;
    }
    TemporaryPlace(const TemporaryPlace&) = delete;
    TemporaryPlace& operator=(const TemporaryPlace&) = delete;
    ~TemporaryPlace() {
        std::error_code none;
        fs::remove_all(folder_, none);
    }
    const fs::path& folder() const { return folder_; }

  private:
    fs::path folder_;
};

/// The comments that a plan begins with.
std::string header_of(const std::string& plan) {
    std::string text;
    for (size_t at = 0; at < plan.size();) {
        const size_t end = std::min(plan.find('\n', at), plan.size());
        const std::string line = plan.substr(at, end - at);
        if (!line.starts_with("-- ")) break;
        text += one_line(line.substr(3)) + "\n";
        at = end + 1;
    }
    return text;
}

std::string page_of_source(const RunRequest& request) {
    const TemporaryPlace place;
    const fs::path model =
        request.model_file.empty() ? place.folder() / "model.toml" : request.model_file;
    std::vector<std::string> arguments = request.import_options;
    if (request.model_file.empty())
        arguments.insert(arguments.end(), {"--write-model", model.string()});
    arguments.insert(arguments.end(), {"--dry-run", "--", request.source.string()});
    const Ended ended = run_program("llmsql-import", arguments, Channel::captured);
    if (ended.status != 0) throw EndedBy{ended.status};
    std::string text = ended.output;
    const size_t bytes = text.rfind("bytes: ");
    if (bytes != std::string::npos)
        text = text.substr(0, bytes) +
               fmt::format("its database: about {}\n",
                           amount_text(std::strtoull(&text[bytes + 7], nullptr, 10)));
    return text + "\nmemory of a run: " + memory_page(request, model);
}

std::string page_of_database(const RunRequest& request, const fs::path& path) {
    const Connection db(path);
    std::string text;
    const auto add = [&](std::string_view what, const std::string& value) {
        text += fmt::format("{}: {}\n", what, one_line(value));
    };
    const auto meta = [&](std::string_view key) {
        Query query(db, "SELECT value FROM llm_meta WHERE key = ?", key);
        return query.next() ? query.as_text(0) : std::string();
    };
    for (const char* table : {"llm_meta", "llm_param", "llm_token"})
        if (db.table_type(table) != "table")
            fail("{}: has no table {}: it is no whole model database", path.string(), table);
    add("model", meta("model"));
    add("imported from", meta("source"));
    add("graph", meta("graph"));
    int64_t parameters = 0;
    std::map<std::string, uint64_t> stored;
    Query params(db, "SELECT type, rows, cols FROM llm_param");
    while (params.next()) {
        const std::string name = params.as_text(0);
        const auto type = weight_type_named(name);
        ParamShape shape;
        shape.cols = params.as_integer(2);
        if (!params.is_null(1)) shape.rows = params.as_integer(1);
        if (!is_plausible(shape))
            fail("{}: says impossible sizes of its parameters", path.string());
        parameters += shape.row_count() * shape.cols;
        if (type) stored[name] += param_bytes(*type, shape);
    }
    add("parameters", fmt::format("{}", parameters));
    const std::string context = meta("context");
    add("trained for texts of", context.empty() ? "not said" : context + " tokens");
    add("tokenizer", fmt::format("{} {}, {} tokens", meta("tokenizer.kind"), meta("tokenizer.pre"),
                                 db.integer("SELECT count(*) FROM llm_token").value_or(0)));
    add("chat template", meta("tokenizer.chat_template").empty() ? "none" : "yes");
    std::string sampling;
    constexpr std::string_view kSampling = "sampling.";
    Query own(db,
              "SELECT key, value FROM llm_meta WHERE key >= 'sampling.' AND key < 'sampling/' "
              "ORDER BY key LIMIT 100");
    while (own.next())
        sampling += fmt::format("{}{} {}", sampling.empty() ? "" : ", ",
                                own.as_text(0).substr(kSampling.size()), own.as_text(1));
    add("sampling", sampling.empty() ? "not said" : sampling);
    std::string types;
    for (const auto& [type, bytes] : stored)
        types += fmt::format("{}{} {}", types.empty() ? "" : ", ", type, amount_text(bytes));
    add("weights", types);
    add("the file", amount_text(bytes_of_file(path)));
    const InstalledPlans plans = plans_installed_in(path);
    if (plans.unreadable) fail("{}: {}", path.string(), *plans.unreadable);
    for (const auto& [name, sql] : plans.texts) {
        text += fmt::format("\nplan '{}' installed in it:\n", printable(name));
        text += header_of(sql);
    }
    const fs::path beside =
        request.model_file.empty() ? fs::path(path).replace_extension(".toml") : request.model_file;
    if (!request.model_file.empty() || status_of(beside).type() != fs::file_type::not_found)
        text += "\nmemory of a run: " + memory_page(request, beside);
    return text;
}

}  // namespace

int show(const RunRequest& request) {
    refuse_run_options(request, "show");
    std::error_code none;
    std::string text;
    if (fs::is_regular_file(request.source, none) &&
        read_start(request.source, kPlanStart.size()) == kPlanStart) {
        text = header_of(read_file(request.source));
    } else {
        const IdentifiedSource source = identify(request.source);
        text = source.kind == SourceKind::database ? page_of_database(request, source.path)
                                                   : page_of_source(request);
    }
    write_file_atomically("-", text);
    return 0;
}

}  // namespace llmsql::driver
