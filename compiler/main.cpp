// SPDX-License-Identifier: MIT
// llmsqlc: compiles a model file and its graph into plan.sql.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "common/byte_size.h"
#include "common/ending.h"
#include "common/error.h"
#include "common/files.h"
#include "common/help_format.h"
#include "common/model_format.h"
#include "compiler/emit/compile.h"
#include "compiler/emit/explain_page.h"
#include "compiler/emit/memory_page.h"
#include "compiler/emit/operators_page.h"
#include "compiler/install/install.h"
#include "compiler/load/load.h"
#include "compiler/memory/residency.h"
#include "compiler/page/compiled_json.h"

namespace {

using namespace llmsql;
using namespace llmsql::compiler;
namespace fs = std::filesystem;

constexpr int kFailure = 1, kUsage = 2;

struct Options {
    fs::path input;
    std::string output;
    std::string install;  // the database, or empty
    std::string name = kDefaultPlan;
    std::string emit;
    fs::path explain;          // a plan
    std::string step = "all";  // which of its statements
    std::string graph_dir;
    PlanSizes sizes{.drafts = std::nullopt, .snapshots = std::nullopt};
    std::string kv{name_of(KvType::f16)};
    std::string budget, snapshots;  // as they were written; empty for none
    int threads = kDefaultWorkers;
    bool context_given = false, chunk_given = false, logits_rows_given = false,
         threads_given = false, name_given = false, step_given = false;
    bool check = false;
};

constexpr char kFooter[] = R"(examples:
  llmsqlc models/qwen2.toml -o plan.sql            the plan that llmsql-run runs
  llmsqlc models/qwen2.toml -o plan.sql --context 4096
  llmsqlc models/qwen2.toml -o plan.sql --budget 96MiB
  llmsqlc models/qwen2.toml --install qwen2.db     the plan in the database
  llmsqlc models/qwen2.toml --emit=memory --budget 96MiB
  llmsqlc models/qwen2.toml --emit=html -o plan.html
  llmsqlc models/qwen2.toml --emit=graph           the operators, loops unrolled
  llmsqlc --explain plan.sql --step layer.3        what statements read
  llmsqlc graphs/llama.graph                       check a graph file alone

Model and graph files that come with llmsql are named so from any folder; files
of your own go first. The graph that a model file names is looked for in the
model file's folder, in graphs/ beside that folder, in --graph-dir, and where
llmsql is installed.
Exit status: 0, 1 for an error, 2 for a wrong command line.)";

/// Nothing, or what is wrong with a SIZE.
std::string is_size(const std::string& text) {
    try {
        parse_bytes(text, "");
        return "";
    } catch (const Error& e) {
        return std::string(e.what()).substr(1);  // CLI11 names the option
    }
}

void declare(CLI::App& app, Options& options) {
    describe_program(app, "llmsqlc", LLMSQL_VERSION);
    app.footer(kFooter);
    app.add_option("FILE", options.input,
                   "a model file (.toml), or a graph file (.graph) to check; models/NAME.toml, or "
                   "NAME alone, also names one that comes with llmsql");
    app.add_option("-o,--output", options.output, "where to write; - is standard output")
        ->type_name("FILE");
    app.add_option("--install", options.install,
                   "put the plan into this model database, so that llmsql-run DB finds it there")
        ->type_name("DB");
    app.add_option("--name", options.name, "with --install: what to call the plan there")
        ->type_name("NAME")
        ->capture_default_str();
    app.add_option("-c,--context", options.sizes.context,
                   "positions that the key-value cache can hold")
        ->type_name("N")
        ->check(whole_number(1, 1 << 20))
        ->capture_default_str();
    app.add_option("--kv", options.kv,
                   "how the key-value cache is stored: f16, or q8 in about half the memory")
        ->type_name("TYPE")
        ->check(CLI::IsMember({"f16", "q8"}))
        ->capture_default_str();
    app.add_option("--sequences", options.sizes.sequences,
                   "texts that the key-value cache has room for at once, for llm_batch; each takes "
                   "as much of it")
        ->type_name("N")
        ->check(whole_number(1, 64))
        ->capture_default_str();
    app.add_option("--budget", options.budget,
                   "most memory that the whole process takes when the plan is run: 96MiB, 1.5GiB, "
                   "100MB; weights that do not fit are read anew each pass (without: no limit)")
        ->type_name("SIZE")
        ->check(is_size);
    app.add_option("-t,--threads", options.threads,
                   "most threads that compute under a budget; each takes memory")
        ->type_name("N")
        ->check(whole_number(1, 256))
        ->capture_default_str();
    app.add_option("--chunk", options.sizes.chunk,
                   "most tokens of one pass: more read prompts faster and take more memory; under "
                   "a budget, chosen unless given")
        ->type_name("N")
        ->check(whole_number(1, 4096))
        ->capture_default_str();
    app.add_option("--logits-rows", options.sizes.logits_rows,
                   "most tokens whose logits are computed at a time; under a budget, chosen "
                   "unless given")
        ->type_name("N")
        ->check(whole_number(1, 4096))
        ->capture_default_str();
    app.add_option(
           "--drafts", options.sizes.drafts,
           "most tokens of a text that are guessed from what it has said before, and checked "
           "in the pass that would have made one: more tokens a pass where text repeats, "
           "never others; 0: none (without: 8, or fewer where a budget is tight; none where there "
           "are recurrent states)")
        ->type_name("N")
        ->check(whole_number(0, 4095));
    app.add_option(
           "--snapshots", options.snapshots,
           "memory for recurrent states as they were before, from which a text goes on that "
           "differs from what has been read; 0: none, it is read again from its start (without: "
           "four states, none under a budget)")
        ->type_name("SIZE")
        ->check(is_size);
    app.add_option(
           "--emit", options.emit,
           "print this instead: ast (the graph file as parsed), graph (operators), sql (the "
           "plan), html (the plan as a page for a browser), memory (what the process takes), "
           "schedule (which weights are held, and what that saves), operators (the reference page)")
        ->type_name("WHAT")
        ->check(CLI::IsMember({"ast", "graph", "sql", "html", "memory", "schedule", "operators"}));
    app.add_option("--explain", options.explain,
                   "instead of compiling: print what each statement of a plan reads and writes")
        ->type_name("PLAN");
    app.add_option("--step", options.step,
                   "of --explain: which statements: a number, ':' and a line of the plan, layer.3, "
                   "or a name such as layer.3.x or attention")
        ->type_name("STEP")
        ->capture_default_str();
    app.add_option("--graph-dir", options.graph_dir, "where else to look for graph files")
        ->type_name("DIR");
    // For llmsql, before it imports: what is wrong with the others, and no more.
    app.add_flag("--check-options", options.check)->group("");
}

/// The folders that load_model searches after the model file's own and its ../graphs.
std::vector<fs::path> graph_dirs(const Options& options) {
    return compiler::graph_dirs(options.graph_dir, LLMSQL_GRAPHS);
}

bool is_graph_file(const fs::path& path) {
    return path.extension() == ".graph";
}

/// The graph file of --emit=ast: the input itself, or the one that the model file names.
fs::path graph_file(const Options& options, const std::vector<fs::path>& dirs) {
    if (is_graph_file(options.input)) return options.input;
    const fs::path name = load_model(options.input, dirs).graph + ".graph";
    const fs::path folder = options.input.parent_path();
    for (const fs::path& candidate : {folder / name, folder / ".." / "graphs" / name})
        if (fs::exists(candidate)) return candidate;
    for (const fs::path& dir : dirs)
        if (fs::exists(dir / name)) return dir / name;
    fail("{}: its graph file {} is not there any more", options.input.string(), name.string());
}

/// Whether an error says by itself where it is: "file:line:column: error: …".
bool has_position(std::string_view message) {
    const size_t mark = message.find(": error: ");
    if (mark == std::string_view::npos) return false;
    size_t at = mark;
    for (int number = 0; number < 2; ++number) {
        const size_t end = at;
        while (at > 0 && message[at - 1] >= '0' && message[at - 1] <= '9') --at;
        if (at == end || at == 0 || message[--at] != ':') return false;
    }
    return true;
}

/// What was asked for as text. Of a model also who its plan is for, and the longest text that the
/// model was trained with, in tokens; 0 where that is not known.
std::string produce(const Options& options, PlanIdentity& identity, int64_t& trained) {
    if (!options.explain.empty())
        return explain_page(outline_of(read_plan(options.explain)), options.step);
    if (options.emit == "operators") return operators_page();
    const std::vector<fs::path> dirs = graph_dirs(options);
    if (options.emit == "ast") return ast_text(graph_file(options, dirs));
    const Model model = load_model(options.input, dirs);
    const std::vector<ParamEntry> entries(model.params.begin(), model.params.end());
    identity = {model.name, catalogue_checksum(entries)};
    trained = model.origin.context;
    const OpGraph graph = lower_model(options.input, dirs, model, options.sizes.context);
    if (options.emit == "graph") return to_text(graph, model.params);
    std::optional<MemoryBudget> budget;
    if (!options.budget.empty())
        budget = MemoryBudget{.bytes = parse_bytes(options.budget, "--budget"),
                              .workers = options.threads,
                              .keep_chunk = options.chunk_given,
                              .keep_logits_rows = options.logits_rows_given};
    const Plan plan = make_plan(model, graph, options.sizes, budget);
    if (const Param* param = first_renumbered(plan, model.params))
        identity.renumbered = param->name;
    if (options.emit == "schedule") return schedule_page(model, plan);
    if (options.emit == "html") {
        const PlanFile file = parse_plan(plan_text(model, plan), model.name + ".sql");
        Json data = plan_json(file, outline_of(file));
        if (!model.origin.ignored.empty())
            data["ignored"] = fmt::format("{}", fmt::join(model.origin.ignored, ", "));
        data["compiled"] = compiled_json(model, graph, plan, options.sizes, budget);
        return page_html(data);
    }
    if (options.emit != "memory") return plan_text(model, plan);
    std::vector<ChunkChoice> considered;
    if (budget) choose_sizes(model, graph, options.sizes, *budget, &considered);
    return memory_page(model, plan, considered);
}

/// What is wrong with how the options go together, or nothing.
std::string misuse(const Options& options) {
    if (!options.explain.empty())
        return options.input.empty() && options.emit.empty() && options.install.empty()
                   ? ""
                   : "--explain takes a plan, and nothing is compiled: no file, --emit or "
                     "--install";
    if (options.step_given) return "--step goes with --explain";
    if (options.emit == "operators") return "";
    if (options.input.empty()) return "a model file or a graph file is needed";
    if (options.emit == "schedule" && options.budget.empty())
        return "--emit=schedule needs a --budget: without one, all weights are held";
    if (options.threads_given && options.budget.empty())
        return "--threads goes with --budget: without one, llmsql-run decides";
    if (!options.install.empty() && !options.emit.empty())
        return "--install installs a plan, --emit prints something else";
    if (options.name_given && options.install.empty()) return "--name goes with --install";
    if (is_graph_file(options.input)) {
        if (!options.install.empty()) return "--install needs a model file, not a graph file";
        if (!options.emit.empty() && options.emit != "ast")
            return "--emit=" + options.emit + " needs a model file, not a graph file";
        if (!options.output.empty() && options.emit.empty())
            return "a plan needs a model file; a graph file alone can only be checked";
    } else if (options.output.empty() && options.emit.empty() && options.install.empty()) {
        return "nothing to write: say -o plan.sql, --install model.db, or --emit=sql to see it";
    }
    return "";
}

/// A mistake on the command line, in one line.
int refuse(const std::string& wrong) {
    report(fmt::format("llmsqlc: {} (llmsqlc --help lists the options)\n", wrong));
    return kUsage;
}

int run(int argc, char** argv) {
    std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is an error of writing it
    Options options;
    CLI::App app("Compiles a model file and its graph into an SQL program for llmsql-run.",
                 "llmsqlc");
    declare(app, options);
    try {
        parse_command_line(app, argc, argv);
        options.sizes.kv = *kv_type_named(options.kv);
        if (!options.snapshots.empty())
            options.sizes.snapshots = parse_bytes(options.snapshots, "--snapshots");
        options.context_given = app.count("--context") > 0;
        options.chunk_given = app.count("--chunk") > 0;
        options.logits_rows_given = app.count("--logits-rows") > 0;
        options.threads_given = app.count("--threads") > 0;
        options.step_given = app.count("--step") > 0;
        options.name_given = app.count("--name") > 0;
    } catch (const CLI::Success& done) {  // --help, --version
        return print_what_was_asked(app, done);
    } catch (const CLI::ParseError& e) {
        return refuse(misuse_text(app, e));
    }
    if (const std::string wrong = misuse(options); !wrong.empty()) return refuse(wrong);
    try {
        if (options.check) return graph_dirs(options), 0;
        if (!options.input.empty())
            options.input = find_shipped_file(options.input, graph_dirs(options));
        if (is_graph_file(options.input) && options.emit.empty()) {
            check_graph_file(options.input);
            write_file_atomically("-", options.input.string() + ": ok\n");
            return 0;
        }
        std::filesystem::path output = options.output.empty() ? "-" : options.output;
        const bool plan =
            options.explain.empty() && (options.emit.empty() || options.emit == "sql");
        const bool page = options.emit == "html";
        if (std::error_code none; std::filesystem::equivalent(output, options.input, none))
            fail("{}: is the input itself, choose another output", output.string());
        if (output != "-")
            output = output_path(output,
                                 plan   ? "-- llmsql plan"
                                 : page ? kPageStart
                                        : "",
                                 page ? "a page" : "a plan");
        PlanIdentity identity;
        int64_t trained = 0;
        const std::string text = produce(options, identity, trained);
        if (!options.install.empty()) install_plan(options.install, options.name, text, identity);
        if (!options.output.empty() || options.install.empty()) write_file_atomically(output, text);
        if (options.context_given && trained > 0 && options.sizes.context > trained)
            report(
                fmt::format("llmsqlc: note: --context {} is beyond the {} positions that the "
                            "model was trained for: text may degrade from there on\n",
                            options.sizes.context, trained));
        return 0;
    } catch (const Error& e) {
        report(fmt::format("{}{}\n", has_position(e.what()) ? "" : "llmsqlc: ", e.what()));
    }
    return kFailure;
}

}  // namespace

int main(int argc, char** argv) {
    end_well_without_memory("llmsqlc");
    try {
        fill_standard_descriptors();
        return run(argc, argv);
    } catch (const std::bad_alloc&) {
        report("llmsqlc: out of memory\n");
    } catch (const std::exception& e) {
        report(fmt::format("llmsqlc: {}\n", e.what()));
    }
    return kFailure;
}
