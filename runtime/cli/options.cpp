// SPDX-License-Identifier: MIT
// The command line by CLI11: names and meanings as llama.cpp's users know them.
#include "runtime/cli/options.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <initializer_list>
#include <limits>
#include <map>

#include "common/byte_size.h"
#include "common/error.h"
#include "common/help_format.h"
#include "common/utf8.h"
#include "jinja/conversation.h"
#include "runtime/cli/console.h"
#include "runtime/generate/prompt.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

constexpr char kFooter[] = R"(examples:
  llmsql-run plan.sql model.db -p "Once upon a time" -n 64
  llmsql-run plan.sql model.db --chat -p "Why is the sky blue?"
  llmsql-run plan.sql model.db                     a conversation
  llmsql-run model.db                              with the plan installed in it
  llmsql-run plan.sql model.db -p "Hello" -n 32 --profile=html:run.html
  llmsql-run model.db --verify

Text goes to standard output, everything else to standard error. Exit status: 0,
1 for an error, 2 for a wrong command line, 3 for a difference that
--trace compare:FILE has found, 128 + N after signal N.)";

/// A mistake on the command line: status 2.
class UsageError : public Error {
  public:
    using Error::Error;
};

std::vector<int32_t> parse_tokens(const std::string& text) {
    std::vector<int32_t> tokens;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (true) {
        while (at != end && *at == ' ') ++at;
        int32_t token = 0;
        const auto [after, error] = std::from_chars(at, end, token);
        if (error != std::errc() || token < 0)
            throw UsageError("--tokens: '" + text + "' is not a list of ids like 1,504,29");
        tokens.push_back(token);
        at = after;
        while (at != end && *at == ' ') ++at;
        if (at == end) return tokens;
        if (*at++ != ',')
            throw UsageError("--tokens: '" + text + "' is not a list of ids like 1,504,29");
    }
}

struct Given {
    std::string first, second;  // the positional arguments
    std::string prompt, file, system, perplexity, divergence, tokenize, render, tokens, logits;
    std::string io = "auto", kernels, date, session, fork, snapshots;
    std::vector<std::string> profile, trace;     // each WHAT
    std::vector<std::string> variables;          // each NAME=VALUE
    std::map<std::string, std::string> numbers;  // by flag
    bool chat = false, resume = false;
};

/// Which of the things that exclude each other the command asks for.
Mode mode_of(const CLI::App& app, const Given& given) {
    const auto has = [&](const char* name) { return app.count(name) > 0; };
    int ways = 0;
    Mode mode = Mode::chat;
    const auto choose = [&](const char* name, Mode asked) {
        if (!has(name)) return;
        ++ways;
        mode = asked;
    };
    choose("--prompt", given.chat ? Mode::answer : Mode::complete);
    choose("--file", given.chat ? Mode::answer : Mode::complete);
    choose("--perplexity", Mode::perplexity);
    choose("--divergence", Mode::divergence);
    choose("--tokenize", Mode::tokenize);
    choose("--render", Mode::render);
    choose("--tokens", Mode::logits);
    choose("--continue", Mode::resume);
    if (ways > 1)
        throw UsageError(
            "only one of -p, -f, --continue, --perplexity, --divergence, --tokenize, --render and "
            "--tokens can be given");
    if (mode == Mode::divergence && has("--ctx-size"))
        throw UsageError("--divergence reads windows as long as the file's: leave -c out");
    if (has("--tokens") != has("--logits"))
        throw UsageError("--tokens IDS and --logits FILE belong together");
    const bool talks = mode == Mode::chat || mode == Mode::answer;
    if (given.chat && !talks) throw UsageError("--chat goes with -p, -f or nothing");
    if (!has("--session")) {
        for (const char* name : {"--id", "--continue", "--fork", "--commit-every", "--snapshots"})
            if (has(name)) throw UsageError(std::string(name) + " goes with --session FILE");
    } else if (!talks && mode != Mode::complete && mode != Mode::resume) {
        throw UsageError("--session goes with -p, -f, --chat, --continue or nothing");
    }
    if (mode == Mode::resume)
        for (const char* name :
             {"--system", "--predict", "--ctx-size", "--keep", "--stop", "--ignore-eos", "--temp",
              "--top-k", "--top-p", "--min-p", "--repeat-penalty", "--seed"})
            if (has(name))
                throw UsageError(std::string(name) +
                                 ": --continue goes on as the answer was begun, so this cannot be "
                                 "given with it");
    if (has("--system") && !talks) throw UsageError("--system goes with --chat");
    for (const char* name : {"--date", "--variable"})
        if (has(name) && !talks && mode != Mode::render)
            throw UsageError(std::string(name) + " goes with --chat or --render");
    return mode;
}

void check(bool good, const char* message) {
    if (!good) throw UsageError(message);
}

/// What `read` fails with is wrong with the command line.
template<class Read>
void as_usage(Read read) {
    try {
        read();
    } catch (const Error& error) {
        throw UsageError(error.what());
    }
}

// All that are numbers, whose values are texts until here.
void read_numbers(const CLI::App& app, const Given& given, Options& options) {
    const auto read = [&](const char* flag, const auto& range, auto& to) {
        if (app.count(flag) == 0) return;
        to =
            static_cast<std::decay_t<decltype(to)>>(number_of(flag, given.numbers.at(flag), range));
    };
    for (const NumberOption& option : number_options())
        if (app.count(option.flag) > 0)
            set_number(options, option, option.flag, given.numbers.at(option.flag));
    read("-t", kThreadCounts, options.threads);
    read("--commit-every", Whole{1, kMostCount}, options.commit_every);
    read("--trace-passes", Whole{1, kMostCount}, options.trace_passes);
    read("--tolerance", Real{0, 1e30}, options.tolerance);
}

/// Takes `path` for what follows `prefix` in `what`; false where `what` does not begin so.
bool take_path(const std::string& flag, const std::string& what, std::string_view prefix,
               std::filesystem::path& path) {
    if (!what.starts_with(prefix)) return false;
    if (!path.empty())
        throw UsageError(flag + ": there can be one " + std::string(prefix) + "FILE");
    path = what.substr(prefix.size());
    if (path.empty() || path == "-")
        throw UsageError(flag + ": a file is needed behind " + std::string(prefix));
    return true;
}

void read_profile(const Given& given, Options& options) {
    for (const std::string& what : given.profile) {
        if (take_path("--profile", what, "db:", options.profile_db) ||
            take_path("--profile", what, "html:", options.profile_html))
            continue;
        if (what == "text")
            options.profile = true;
        else if (what != "passes")
            throw UsageError("--profile: '" + what +
                             "' is none of text, passes, db:FILE and html:FILE");
        options.timing = true;
    }
    for (const std::string& what : given.trace) {
        if (take_path("--trace", what, "db:", options.trace_db) ||
            take_path("--trace", what, "compare:", options.compare))
            continue;
        if (what.empty()) throw UsageError("--trace: which step? 3, layer.3, attention");
        if (!options.trace.empty()) throw UsageError("--trace: there can be one STEP");
        options.trace = what;
    }
    const std::filesystem::path* files[] = {&options.profile_db, &options.profile_html,
                                            &options.trace_db, &options.compare};
    for (size_t i = 0; i < std::size(files); ++i)
        for (size_t j = 0; j < i; ++j)
            if (!files[i]->empty() && files[i]->lexically_normal() == files[j]->lexically_normal())
                throw UsageError("--profile, --trace: " + files[i]->string() +
                                 " cannot be two things at once");
}

/// What --profile shows stands behind '=', since it may be left out.
void check_profile_spelling(int argc, char** argv) {
    for (int i = 1; i + 1 < argc; ++i) {
        const std::string_view next = argv[i + 1];
        if (argv[i] == std::string_view("--profile") &&
            (next == "text" || next == "passes" || next.starts_with("db:") ||
             next.starts_with("html:")))
            throw UsageError(fmt::format("--profile {0} is written --profile={0}", next));
    }
}

// Spellings of version 0.1.0, understood by 0.2.0 for the last time.
struct OldSpelling {
    const char* flag;
    const char* now;     // the flag that took its place,
    const char* prefix;  // and what stands before the file there
};
constexpr OldSpelling kOldSpellings[] = {
    {"--timing", "--profile", "passes"},      {"--profile-db", "--profile", "db:"},
    {"--profile-html", "--profile", "html:"}, {"--trace-db", "--trace", "db:"},
    {"--compare", "--trace", "compare:"},
};

void add_old_spellings(CLI::App& app, Given& given) {
    for (const OldSpelling& old : kOldSpellings) {
        auto& asked = old.now == std::string_view("--trace") ? given.trace : given.profile;
        const auto take = [&asked, old](const std::string& value) {
            asked.push_back(old.prefix + value);
            print_notice(fmt::format("{} is written {}={} now", old.flag, old.now, asked.back()));
        };
        // Without a group they are not in --help.
        if (std::string_view(old.prefix).ends_with(':'))
            app.add_option_function<std::string>(old.flag, take)->group("");
        else
            app.add_flag_callback(old.flag, [take] { take(""); })->group("");
    }
}

/// NAME=VALUE, each, as a JSON object; empty where there are none.
std::string variables_of(const std::vector<std::string>& given) {
    std::string object;
    for (const std::string& each : given) {
        const size_t equals = each.find('=');
        check(equals != std::string::npos && equals > 0,
              "--variable NAME=VALUE: as --variable enable_thinking=false");
        check(!first_invalid_utf8(each), "--variable: is not valid UTF-8");
        const std::string value = each.substr(equals + 1);
        bool json = true;
        try {
            jinja::value_of_json(value, true, "");
        } catch (const Error&) {
            json = false;
        }
        object += fmt::format("{}{}: {}", object.empty() ? "{" : ", ",
                              jinja::json_text(each.substr(0, equals)),
                              json ? value : jinja::json_text(value));
    }
    return object.empty() ? object : object + "}";
}

Options options_of(const CLI::App& app, const Given& given, Options options) {
    as_usage([&] { read_numbers(app, given, options); });
    options.mode = mode_of(app, given);
    if (options.mode == Mode::tokenize) {
        check(app.count("PLAN") > 0, "which database? llmsql-run DB --tokenize FILE");
        options.db = app.count("DB") > 0 ? given.second : given.first;
    } else if (options.mode == Mode::chat && options.verify && app.count("PLAN") > 0 &&
               app.count("DB") == 0) {
        options.mode = Mode::verify;
        options.db = given.first;
    } else {
        check(app.count("PLAN") > 0,
              "a database is needed: llmsql-run PLAN DB, or llmsql-run DB with a plan installed in "
              "it");
        const bool apart = app.count("DB") > 0;
        check(!apart || options.installed.empty(),
              "--plan names a plan that is installed in the database: leave the other one out");
        if (apart) options.plan = given.first;
        options.db = apart ? given.second : given.first;
    }
    if (app.count("--system") > 0) options.system = given.system;
    options.variables = variables_of(given.variables);
    if (options.mode == Mode::perplexity) options.file = given.perplexity;
    if (options.mode == Mode::divergence) options.file = given.divergence;
    if (options.mode == Mode::tokenize) options.file = given.tokenize;
    if (options.mode == Mode::render) options.file = given.render;
    if (options.mode == Mode::logits) {
        options.tokens = parse_tokens(given.tokens);
        options.logits = given.logits;
    }
    if (given.io != "auto") {
        for (const IoMode mode : kIoModes)
            if (given.io == name_of(mode)) options.io = mode;
        check(options.io.has_value(), "--io: read, map, direct, blob or auto");
    }
    as_usage([&] { app.count("--kernels") > 0 ? use_kernels(given.kernels) : void(kernels()); });
    if (app.count("--date") > 0) as_usage([&] { jinja::seconds_of(given.date); });
    options.date = given.date;
    for (const std::string& stop : options.stops)
        check(!stop.empty(), "--stop: an empty text stands everywhere, one to stop at is wanted");
    read_profile(given, options);
    const bool runs = options.mode != Mode::tokenize && options.mode != Mode::verify &&
                      options.mode != Mode::render;
    check(runs || !options.watches(), "--trace goes with a run of a plan");
    check(runs || !options.profiles(), "--profile goes with a run of a plan");
    check(app.count("--trace-passes") == 0 || !options.trace.empty(),
          "--trace-passes goes with --trace STEP");
    check(app.count("--tolerance") == 0 || !options.compare.empty(),
          "--tolerance goes with --trace compare:FILE");

    options.session = given.session;
    if (app.count("--fork") > 0) options.fork = given.fork;
    if (app.count("--snapshots") > 0)
        as_usage([&] { options.snapshots = parse_bytes(given.snapshots, "--snapshots"); });

    options.prompt = given.prompt;
    if (options.check) {
        for (const std::string& name : {given.file, options.file.string()}) require_input(name);
    } else if (app.count("--file") > 0) {
        options.prompt = read_input(given.file);
        if (options.prompt.ends_with('\n')) options.prompt.pop_back();
        check_prompt(options.prompt, input_name(given.file) + ": the prompt");
    }
    return options;
}

}  // namespace

CommandLine read_command_line(int argc, char** argv) {
    Given given;
    Options options;
    CLI::App app(
        "Runs a plan made by llmsqlc over a model database made by llmsql-import.\n"
        "With -p or -f: goes on with the text, which is printed in front of its\n"
        "continuation. With --chat and -p or -f: prints one answer. With neither: a\n"
        "conversation, a line a turn; /help lists commands that are typed at a terminal,\n"
        "from a pipe every line is a message.",
        "llmsql-run");
    describe_program(app, "llmsql-run", LLMSQL_VERSION);
    app.footer(kFooter);
    app.add_option("PLAN", given.first,
                   "the plan; not needed with --tokenize or --verify, or where llmsqlc --install "
                   "has put one into the database");
    app.add_option("DB", given.second, "the model database");

    app.add_option("--plan", options.installed,
                   "the plan of this name, of those installed in the database (default: the one "
                   "called default, or the only one)")
        ->type_name("NAME");
    app.add_option("-p,--prompt", given.prompt, "the prompt, taken literally")->type_name("TEXT");
    app.add_option(
           "-f,--file", given.file,
           "read the prompt from a file or pipe, - for standard input (one final newline dropped)")
        ->type_name("FILE");
    app.add_flag("--chat", given.chat, "put the prompt into the model's chat template");
    app.add_option("--system", given.system, "the conversation's system message")
        ->type_name("TEXT");
    app.add_option(
           "--date", given.date,
           "the day, or \"2026-11-29 08:30:00\", that a chat template is told (default: the "
           "clock's)")
        ->type_name("DATE");
    app.add_option("--variable", given.variables,
                   "a variable of the chat template, as enable_thinking=false: JSON, or else a "
                   "text (repeatable)")
        ->type_name("NAME=VALUE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--render", given.render,
                   "print the text that a conversation becomes: a JSON array of messages, or an "
                   "object that has it as messages, and any variable of the chat template; - for "
                   "standard input")
        ->type_name("FILE");
    app.add_option("--session", given.session,
                   "keep the conversation or text in this file, and go on with what is in it")
        ->type_name("FILE");
    app.add_option("--id", options.id, "the session's name in the file (default: default)")
        ->type_name("NAME");
    app.add_flag("--continue", given.resume,
                 "finish the session's last answer, which was interrupted, and print all of it");
    app.add_option("--fork", given.fork,
                   "first copy the session to this name, and go on with the copy")
        ->type_name("NAME");
    app.add_option("--commit-every", given.numbers["--commit-every"],
                   "write what was generated to the file after N tokens (default 64) or 2 seconds")
        ->type_name("N");
    app.add_option("--snapshots", given.snapshots,
                   "of a model with a recurrent state, most bytes of the file that the session's "
                   "states from before take: 64MiB (default: four of them; one at least)")
        ->type_name("SIZE");
    app.add_option("-n,--predict,--n-predict", given.numbers["-n"],
                   "most tokens to generate (default -1: no limit)")
        ->type_name("N");
    app.add_option("-c,--ctx-size", given.numbers["-c"],
                   "tokens of context to use (default: the plan's; with --perplexity 512)")
        ->type_name("N");
    app.add_option("--keep", given.numbers["--keep"],
                   "when the context is full, keep the first N tokens (-1: the prompt's) and the "
                   "newer half of the rest, and go on (default: stop)")
        ->type_name("N");
    app.add_option("--stop", options.stops, "stop at this text, which isn't printed (repeatable)")
        ->type_name("TEXT")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_flag("--ignore-eos", options.ignore_end, "never pick the tokens that end a text");
    app.add_option("-t,--threads", given.numbers["-t"], "threads that compute (default: the cores)")
        ->type_name("N");
    app.add_option("--io", given.io,
                   "how weights are read: read, map, direct, blob, or auto (default): the fastest")
        ->type_name("WAY");
    app.add_option("--kernels", given.kernels,
                   "instruction set to compute with: portable, avx2, avxvnni, avx512, amx, "
                   "neon, i8mm (default: the environment's LLMSQL_KERNELS, or the best that this "
                   "processor has)")
        ->type_name("NAME");
    app.add_flag("--verify", options.verify,
                 "check all weights before anything else (default: each when it is first read); "
                 "llmsql-run DB --verify checks the database and ends");
    app.add_flag("--profile{text}", given.profile,
                 "say at the end where the time went: by operator, by layer and of the slowest "
                 "statements (text, if no WHAT is given), or of whole passes alone (passes); or "
                 "write it as an SQLite database with views to query (db:FILE), or as a page for "
                 "a browser, laid over the plan (html:FILE); repeatable")
        ->type_name("[=WHAT]");
    app.add_option("--trace", given.trace,
                   "say what statements read and write: a number, ':' and a line of the plan, "
                   "layer.3, or a name such as layer.3.x or attention; or write the values of all "
                   "steps to an SQLite database (db:FILE), or compare them with those of such a "
                   "database and name the first step that differs (compare:FILE; the exit status "
                   "is then 3); repeatable")
        ->type_name("WHAT")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_option("--trace-passes", given.numbers["--trace-passes"],
                   "of --trace STEP: in so many passes, from the first on (default 1)")
        ->type_name("N");
    app.add_option("--tolerance", given.numbers["--tolerance"],
                   "of --trace compare:FILE: relative difference that counts as none (default "
                   "0.001)")
        ->type_name("X");
    add_old_spellings(app, given);
    // For llmsql, before it imports: what is wrong with the others, and no more.
    app.add_flag("--check-options", options.check)->group("");
    app.add_option("-b,--batch-size", given.numbers["-b"],
                   "most tokens a pass (default: the plan's chunk)")
        ->type_name("N");
    app.add_option("--drafts", given.numbers["--drafts"],
                   "most tokens guessed from the text and checked in a pass: never others, perhaps "
                   "sooner (default: the plan's; 0: none)")
        ->type_name("N");

    app.add_option("--temp,--temperature", given.numbers["--temp"],
                   "temperature (default 0.8; 0: always the likeliest token)")
        ->type_name("X");
    app.add_option("--top-k", given.numbers["--top-k"],
                   "pick among the K likeliest (default 40; 0 or -1: all)")
        ->type_name("K");
    app.add_option("--top-p", given.numbers["--top-p"],
                   "pick among the likeliest that together reach P (default 0.95; 1: all)")
        ->type_name("P");
    app.add_option(
           "--min-p", given.numbers["--min-p"],
           "pick among those at least P times as likely as the likeliest (default 0.05; 0: all)")
        ->type_name("P");
    app.add_option("--repeat-penalty", given.numbers["--repeat-penalty"],
                   "make the last 64 tokens less likely (default 1: no)")
        ->type_name("X");
    app.add_option("-s,--seed", given.numbers["--seed"],
                   "seed of the random numbers (default -1: any)")
        ->type_name("N");

    app.add_option("--perplexity", given.perplexity, "measure the perplexity of a text")
        ->type_name("FILE");
    app.add_option("--divergence", given.divergence,
                   "measure how far predictions are from those in a file of llama-perplexity "
                   "--save-all-logits")
        ->type_name("FILE");
    app.add_option("--tokenize", given.tokenize, "print a text's token ids on one line")
        ->type_name("FILE");
    app.add_option("--tokens", given.tokens, "ids to compute logits for: 1,504,29")
        ->type_name("IDS");
    app.add_option("--logits", given.logits, "write them here as .npy, f32 [ids, vocabulary]")
        ->type_name("FILE");

    const auto group = [&](const char* title, std::initializer_list<const char*> names) {
        for (const char* name : names) app.get_option(name)->group(title);
    };
    group("Sampling", {"--temp", "--top-k", "--top-p", "--min-p", "--repeat-penalty", "--seed"});
    group("How it runs",
          {"--threads", "--batch-size", "--drafts", "--io", "--kernels", "--verify"});
    group("Looking inside", {"--profile", "--trace", "--trace-passes", "--tolerance"});
    group("Instead of text",
          {"--perplexity", "--divergence", "--tokenize", "--tokens", "--logits"});

    try {
        check_profile_spelling(argc, argv);
        parse_command_line(app, argc, argv);
        return {options_of(app, given, std::move(options)), 0};
    } catch (const CLI::Success& done) {  // --help, --version
        return {std::nullopt, print_what_was_asked(app, done)};
    } catch (const CLI::ParseError& error) {
        print_notice(
            fmt::format("{} (llmsql-run --help lists the options)", misuse_text(app, error)));
    } catch (const UsageError& error) {
        print_notice(fmt::format("{} (llmsql-run --help lists the options)", error.what()));
    }
    return {std::nullopt, 2};
}

}  // namespace llmsql
