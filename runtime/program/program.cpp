// SPDX-License-Identifier: MIT
// Opening and running a plan. See program.h.
#include "runtime/program/program.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "plan/plan_file.h"
#include "plan/sql_tokens.h"
#include "runtime/compute/stopwatch.h"
#include "runtime/kernels/kernels.h"
#include "runtime/program/engine.h"
#include "runtime/program/profiler.h"
#include "runtime/program/sandbox.h"
#include "runtime/program/table.h"
#include "runtime/program/text_functions.h"
#include "sqlite/callbacks.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr size_t kLongestChat = 64 << 20;  // bytes of all that a chat section makes
constexpr size_t kMostStops = 10000;

// Between questions whether a pass is to end: a call of the host's, which takes microseconds.
constexpr std::chrono::milliseconds kBetweenQuestions{20};

// A prepared statement of the plan and where it stands in the file.
struct Prepared {
    Statement statement;
    std::string where;  // "plan.sql:123"
    bool writes = false;
    std::vector<std::string> parameters;  // in the order of their numbers, from 1
    bool by_run = false;                  // it depends on which sequence a row belongs to
    size_t index = 0;                     // among the statements of forward and logits
};

// Of the model's tokenizer: ids count from 0.
int64_t token_count(const ModelDb& db) {
    const Statement last =
        prepare(db.handle(), "SELECT max(id) FROM llm_token", db.path().string());
    step(last.get(), db.path().string());
    return sqlite3_column_type(last.get(), 0) == SQLITE_NULL
               ? 0
               : sqlite3_column_int64(last.get(), 0) + 1;
}

}  // namespace

struct Program::State {
    State(PlanFile file, const ModelDb& db) : plan(std::move(file)) {
        engine.db = {std::shared_ptr<void>(), &db};  // it outlives the program
    }

    // Declared so that the statements go first, then the connection, then what its tables point to.
    PlanFile plan;
    Engine engine;
    Connection connection;
    std::unique_ptr<Sandbox> sandbox;
    std::vector<Prepared> forward, logits, chat, stop;
    int64_t vocabulary = 0;
    int chunk = 0, logits_rows = 0;
    std::vector<int32_t> all_tokens;  // of the last pass
    int64_t pass_rows = 0;            // of the last pass
    bool timing = false;
    PassTimes times;  // but for what the workers know
    std::optional<Profiler> profiler;
    PassObserver* observer = nullptr;
    PassView seen;  // what it is told of the present pass
    std::function<bool()> interrupted;
    std::chrono::steady_clock::time_point asked;  // when `interrupted` was

    sqlite3* db() const { return connection.get(); }
    std::string where(const PlanStatement& statement) const {
        return plan.path.string() + ":" + std::to_string(statement.line);
    }

    void open_connection();
    Prepared prepare_statement(const PlanStatement& statement, Sandbox::Phase phase);
    void run_init();
    void check_tables();
    std::vector<Prepared> prepare_section(const char* name, Sandbox::Phase phase);
    bool next_row(const Prepared& prepared);
    void run(const Prepared& prepared, Sandbox::Phase phase);
    ExprPtr run_logits_query(const Prepared& prepared);
    int64_t logits_width();
    void start(const ProgramOptions& options);
    void number_statements();
    void observe(const Prepared& prepared, void (PassObserver::*look)(const PassView&));
    void run_for(const Prepared& prepared, std::span<const Run> runs);
    void end_if_interrupted();
    Workers& workers() const { return engine.executor->evaluator.workers; }
    template<class Steps>
    void pass(Steps steps);
};

void Program::State::open_connection() {
    sqlite3* raw = nullptr;
    const int code =
        sqlite3_open_v2(":memory:", &raw,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    connection.reset(raw);
    if (code != SQLITE_OK) fail("SQLite: {}", sqlite3_errstr(code));
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_exec(raw, "PRAGMA temp_store = MEMORY", nullptr, nullptr, nullptr);
    register_operators(raw, engine.operators);
    register_tables(raw, engine);
    register_text_functions(raw, [this] { sandbox->check(); });
    if (sqlite3_exec(raw,
                     "CREATE TABLE temp.message(id INTEGER PRIMARY KEY, role TEXT, content TEXT)",
                     nullptr, nullptr, nullptr) != SQLITE_OK)
        fail("SQLite: {}", sqlite3_errmsg(raw));
    sandbox = std::make_unique<Sandbox>(raw, engine.declaring);
}

Prepared Program::State::prepare_statement(const PlanStatement& statement, Sandbox::Phase phase) {
    const std::string place = where(statement);
    sqlite3_stmt* raw = nullptr;
    const char* rest = nullptr;
    sandbox->enter(phase);
    sandbox->begin(phase, true);
    const int code =
        sqlite3_prepare_v3(db(), statement.sql.c_str(), static_cast<int>(statement.sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &raw, &rest);
    Prepared prepared;
    prepared.statement.reset(raw);  // before anything can fail
    prepared.where = place;
    if (!sandbox->refusal().empty()) fail("{}: {}", place, sandbox->refusal());
    if (code == SQLITE_NOMEM) throw std::bad_alloc();
    if (code != SQLITE_OK) fail("{}: {}", place, message_of(db()));
    if (!raw) fail("{}: there is no statement here", place);
    // Not every version of SQLite lets itself be watched while it prepares.
    try {
        sandbox->check();
    } catch (const Error& error) {
        fail("{}: {}", place, error.what());
    }
    // SQLite and read_plan() have to agree on where a statement ends, or a part of it would not
    // run.
    if (std::string_view(rest).find_first_not_of(" \t\r\n") != std::string_view::npos)
        fail("{}: the statement ends before its ';'", place);
    if (sqlite3_stmt_isexplain(raw)) fail("{}: a plan may not do this here: EXPLAIN", place);
    // SQLite does not ask the authorizer about all of the others: not about VACUUM, nor about a
    // REINDEX that finds nothing.
    SqlScanner::Word verb;
    SqlScanner(statement.sql).next(verb);
    if (std::ranges::none_of(std::array{"create", "insert", "select", "values"},
                             [&](std::string_view may) { return same_name(verb.text, may); }))
        fail("{}: a plan may not do this here: {}", place, verb.text);
    prepared.writes = sqlite3_column_count(raw) == 0;
    return prepared;
}

void Program::State::run_init() {
    for (const PlanStatement& statement : plan.find("init")->statements) {
        const Prepared prepared = prepare_statement(statement, Sandbox::Phase::init);
        sandbox->begin(Sandbox::Phase::init);
        while (next_row(prepared)) {
        }
        check_budget(engine, prepared.where);
    }
}

// The next row of a statement of the plan that sandbox->begin() was told of.
bool Program::State::next_row(const Prepared& prepared) {
    const int code = sqlite3_step(prepared.statement.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    const std::string error = sqlite3_errmsg(db());
    const std::string& refusal = sandbox->refusal();
    if (refusal.empty() && (code & 0xff) == SQLITE_NOMEM) throw std::bad_alloc();
    fail("{}: {}", prepared.where, refusal.empty() ? error : refusal);
}

// What init must have made, and whether it is the database's.
void Program::State::check_tables() {
    const std::string name = plan.path.string();
    if (!engine.arena || engine.arena->places().empty()) fail("{}: init declares no tensors", name);
    if (!engine.params) fail("{}: init declares no parameters", name);
    const Catalogue& params = *engine.params;
    const std::string declared = catalogue_checksum(params.entries);
    const std::string stored = engine.db->meta("catalogue").value_or("?");
    if (declared != stored || params.checksum != stored)
        fail(
            "{}: its {} parameters have the catalogue checksum {} (it says {}), but {} holds the "
            "model '{}' with {}: compile the plan for this model",
            name, params.entries.size(), declared, params.checksum, engine.db->path().string(),
            engine.db->meta("model").value_or("?"), stored);
    if (const auto actual = catalogue_checksum(engine.db->catalogue()); actual != stored)
        fail("{}: its catalogue has the checksum {}, but it says {}: import the model again",
             engine.db->path().string(), actual, stored);

    if (engine.residency) engine.residency->require_covered(params.entries.size(), name);

    // Tensors of a pass hold a chunk; those of the logits section, fewer rows.
    const auto tokens = [](const auto& entry) { return entry.second.tokens(); };
    const auto& places = engine.arena->places();
    chunk = static_cast<int>(chunk_of(*engine.arena));
    logits_rows = static_cast<int>(tokens(*std::ranges::min_element(places, {}, tokens)));
    // How many blocks of a window are kept is known only now.
    fit_cache(engine);
    check_budget(engine, name);
}

std::vector<Prepared> Program::State::prepare_section(const char* name, Sandbox::Phase phase) {
    std::vector<Prepared> prepared;
    const PlanSection* section = plan.find(name);
    if (!section) return prepared;
    for (const PlanStatement& statement : section->statements) {
        prepared.push_back(prepare_statement(statement, phase));
        sqlite3_stmt* raw = prepared.back().statement.get();
        for (int i = 1; i <= sqlite3_bind_parameter_count(raw); ++i) {
            const char* parameter = sqlite3_bind_parameter_name(raw, i);
            if (!parameter ||
                std::ranges::find(section->parameters, parameter) == section->parameters.end())
                fail("{}: the section '{}' has no parameter '{}'", prepared.back().where, name,
                     parameter ? parameter : "?");
            prepared.back().parameters.emplace_back(parameter);
            if (prepared.back().parameters.back() == ":position" ||
                prepared.back().parameters.back() == ":sequence")
                prepared.back().by_run = true;
        }
    }
    sandbox->enter(Sandbox::Phase::off);
    return prepared;
}

// Steps statements that store values. Computing them may lag behind stepping, to the end of the
// pass.
template<class Steps>
void Program::State::pass(Steps steps) {
    const Turn turn(engine.executor->turn, [this] { end_if_interrupted(); });
    engine.executor->evaluator.keep_time(timing);
    const Stopwatch watch(timing ? &times.total : nullptr);
    try {
        steps();
    } catch (...) {
        engine.window.reset();
        workers().finish();  // if an earlier statement's value failed, that is the reason
        throw;
    }
    workers().finish();
    engine.executor->weights.check();
}

void Program::State::observe(const Prepared& prepared,
                             void (PassObserver::*look)(const PassView&)) {
    workers().finish();  // what was stored before is computed
    seen.statement = prepared.index;
    seen.arena = &*engine.arena;
    seen.cache = engine.cache ? &*engine.cache : nullptr;
    (observer->*look)(seen);
}

void Program::State::end_if_interrupted() {
    if (!interrupted) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - asked < kBetweenQuestions) return;
    asked = now;
    if (interrupted()) throw Interrupted();
}

void Program::State::run(const Prepared& prepared, Sandbox::Phase phase) {
    end_if_interrupted();
    if (observer) observe(prepared, &PassObserver::before);
    const uint64_t before = engine.writes;
    ++times.statements;
    engine.executor->evaluator.statement = &prepared.where;
    const Profiler::Step profiled(profiler, prepared.index, engine.executor->evaluator);
    const ResetAtExit reset(prepared.statement.get());
    sandbox->begin(phase);
    // Each row that is stored is computed: no more of them than there are places for them.
    engine.most_writes =
        before + engine.arena->places().size() + (engine.cache ? engine.cache->layers().size() : 0);
    while (next_row(prepared)) {
    }
    if (workers().failed()) workers().finish();
    if (prepared.writes && engine.writes == before)
        fail("{}: the statement stored nothing: no row of its tables matched", prepared.where);
    if (observer) observe(prepared, &PassObserver::after);
}

ExprPtr Program::State::run_logits_query(const Prepared& prepared) {
    sqlite3_stmt* query = prepared.statement.get();
    ++times.statements;
    const ResetAtExit reset(query);
    sandbox->begin(Sandbox::Phase::logits);
    ExprPtr expr;
    if (next_row(prepared) && sqlite3_column_count(query) == 1)
        expr = value_expr(sqlite3_column_value(query, 0));
    const auto* tensor = dynamic_cast<const TensorExpr*>(expr.get());
    if (!tensor || tensor->place.type != TensorType::f32)
        fail("{}: this query must yield one f32 tensor, the logits", prepared.where);
    return expr;
}

int64_t Program::State::logits_width() {
    const Prepared& query = logits.back();
    engine.shapes_only = true;
    ExprPtr expr;
    try {
        expr = run_logits_query(query);
    } catch (...) {
        engine.shapes_only = false;
        throw;
    }
    engine.shapes_only = false;
    return expr->elements();
}

void Program::State::start(const ProgramOptions& options) {
    timing = options.timing || options.profile;
    const auto make = [&] {
        return make_executor(engine, options.threads,
                             {.io = options.io,
                              .windows = std::nullopt,
                              .may_map = options.may_map,
                              .interrupted = options.interrupted});
    };
    engine.executor =
        options.share ? options.share(workers_of(engine, options.threads), make) : make();
    number_statements();
    if (options.profile) profiler.emplace(forward.size() + logits.size(), workers().count());
    observer = options.observer;
    engine.operators.settle = [this] { workers().wait(); };
    engine.operators.pulse = [this] { sandbox->check(); };
    engine.operators.most_rows = chunk;
}

void Program::State::number_statements() {
    size_t count = 0;
    for (auto* section : {&forward, &logits})
        for (Prepared& prepared : *section) prepared.index = count++;
}

Program::Program(const std::filesystem::path& plan, const ModelDb& db,
                 const ProgramOptions& options)
    : Program(read_plan(plan), db, options) {}

Program::Program(PlanFile file, const ModelDb& db, const ProgramOptions& options)
    : state_(std::make_unique<State>(std::move(file), db)) {
    State& state = *state_;
    const std::string name = state.plan.path.string();
    state.open_connection();
    state.interrupted = options.interrupted;
    state.sandbox->on_progress([&state, progress = options.progress] {
        if (progress) progress();
        state.end_if_interrupted();
    });
    state.run_init();
    state.check_tables();
    state.forward = state.prepare_section("forward", Sandbox::Phase::pass);
    state.logits = state.prepare_section("logits", Sandbox::Phase::logits);
    state.chat = state.prepare_section("chat", Sandbox::Phase::text);
    state.stop = state.prepare_section("stop", Sandbox::Phase::text);
    if (state.logits.empty() || state.logits.back().writes)
        fail("{}: the section 'logits' must end in a SELECT of the logits", name);
    if (state.chat.size() > 1)
        fail("{}: the section 'chat' must be one query", state.chat[1].where);
    state.vocabulary = state.logits_width();
    if (const int64_t tokens = token_count(db); state.vocabulary < tokens)
        fail("{}: the logits are {} wide, but the model has {}", state.logits.back().where,
             state.vocabulary, counted(static_cast<uint64_t>(tokens), "token"));
    state.start(options);
    state.times = {};
    state.interrupted = nullptr;  // that was for opening
}

Program::Program(Program&&) noexcept = default;
Program::~Program() = default;

std::string Program::name() const {
    return state_->plan.path.string();
}

const PlanFile& Program::plan() const {
    return state_->plan;
}

int Program::context() const {
    const auto& cache = state_->engine.cache;
    return cache ? static_cast<int>(cache->config().context) : 1 << 20;
}
int Program::chunk() const {
    return state_->chunk;
}
int Program::logits_rows() const {
    return state_->logits_rows;
}
int64_t Program::vocabulary() const {
    return state_->vocabulary;
}
uint64_t Program::weight_bytes_used() const {
    return state_->engine.executor->evaluator.weight_bytes;
}

PoolCounters Program::counters() const {
    return state_->engine.executor->weights.counters();
}

PassTimes Program::times() const {
    const State& state = *state_;
    const WorkTime work = state.workers().time();
    PassTimes times = state.times;
    if (!state.timing) return {};
    const double workers = state.workers().count();
    times.jobs = work.jobs;
    times.reading = state.engine.executor->evaluator.reading() / workers;
    times.computing = work.busy / workers - times.reading;
    times.sql = (times.total - work.owner_busy - work.owner_waiting) / workers;
    times.waiting = times.total - times.computing - times.reading - times.sql;
    if (state.profiler) times.by_statement = state.profiler->times();
    return times;
}

int Program::threads() const {
    return state_->workers().count();
}

Workers& Program::workers() {
    return state_->workers();
}

IoMode Program::io() const {
    return state_->engine.executor->weights.io();
}

void Program::verify_weights() {
    Executor& executor = *state_->engine.executor;
    const Turn turn(executor.turn);
    executor.evaluator.keep_time(false);
    executor.weights.verify_all(executor.evaluator.workers);
}

void Program::on_interrupt(std::function<bool()> interrupted) {
    state_->interrupted = std::move(interrupted);
}

void Program::forward(std::span<const int32_t> tokens, int position, int sequence) {
    const Run run{tokens, position, sequence};
    forward(std::span(&run, 1));
}

// A statement without :position or :sequence is stepped once over all rows; the others once for
// each run, the tables showing its rows alone.
void Program::State::run_for(const Prepared& prepared, std::span<const Run> runs) {
    sqlite3_stmt* statement = prepared.statement.get();
    const auto bind = [&](const Run& run) {
        int i = 0;
        for (const std::string& parameter : prepared.parameters) {
            ++i;
            if (parameter == ":tokens")
                sqlite3_bind_blob(statement, i, run.tokens.data(),
                                  static_cast<int>(run.tokens.size_bytes()), SQLITE_STATIC);
            else
                sqlite3_bind_int64(statement, i,
                                   parameter == ":position" ? run.position : run.sequence);
        }
    };
    if (runs.size() == 1) {
        bind(runs[0]);
        return this->run(prepared, Sandbox::Phase::pass);
    }
    if (!prepared.by_run) {
        bind({all_tokens, 0, 0});
        return this->run(prepared, Sandbox::Phase::pass);
    }
    RowWindow window{.of = static_cast<int64_t>(all_tokens.size())};
    for (const Run& run : runs) {
        window.rows = static_cast<int64_t>(run.tokens.size());
        engine.window = window;
        bind(run);
        this->run(prepared, Sandbox::Phase::pass);
        window.first += window.rows;
    }
    engine.window.reset();
}

void Program::forward(std::span<const Run> runs) {
    State& state = *state_;
    const std::string name = state.plan.path.string();
    state.all_tokens.clear();
    for (const Run& run : runs) {
        if (run.tokens.empty()) fail("{}: a pass takes 1 token or more of a sequence", name);
        for (const Run& other : runs)
            if (&other != &run && other.sequence == run.sequence)
                fail("{}: the sequence {} is twice in a pass", name, run.sequence);
        state.all_tokens.insert(state.all_tokens.end(), run.tokens.begin(), run.tokens.end());
    }
    if (state.all_tokens.empty() || state.all_tokens.size() > static_cast<size_t>(chunk()))
        fail("{}: a pass takes {}{}, not {}", name, chunk() > 1 ? "1 to " : "",
             counted(static_cast<uint64_t>(chunk()), "token"), state.all_tokens.size());
    if (state.observer && runs.size() > 1)
        fail("{}: a pass of several sequences cannot be observed", name);
    state.seen = {
        .pass = state.times.passes + 1, .position = runs[0].position, .sequence = runs[0].sequence};
    state.engine.arena->begin_pass();
    state.pass_rows = 0;
    state.pass([&] {
        for (const Prepared& prepared : state.forward) state.run_for(prepared, runs);
    });
    state.pass_rows = static_cast<int64_t>(state.all_tokens.size());
    ++state.times.passes;
    state.times.tokens += state.all_tokens.size();
}

Logits Program::logits(int first, int rows) {
    State& state = *state_;
    if (first < 0 || rows < 1 || rows > state.logits_rows || first + rows > state.pass_rows)
        fail("{}: logits of rows {} to {}, but the last pass has {} and {} can be had at once",
             state.plan.path.string(), first, first + rows - 1, state.pass_rows, state.logits_rows);
    state.seen.first_row = first;
    ExprPtr expr;
    state.engine.arena->begin_logits();
    state.pass([&] {
        for (const Prepared& prepared : state.logits) {
            sqlite3_stmt* statement = prepared.statement.get();
            int i = 0;
            for (const std::string& parameter : prepared.parameters)
                sqlite3_bind_int64(statement, ++i, parameter == ":first" ? first : rows);
            if (&prepared != &state.logits.back()) state.run(prepared, Sandbox::Phase::logits);
        }
        // Within the pass: it may look at values, for which the workers must be this program's.
        expr = state.run_logits_query(state.logits.back());
    });
    const Prepared& query = state.logits.back();
    if (expr->rows != rows || expr->elements() != state.vocabulary)
        fail("{}: the logits are {}, {} rows of {} were asked for", query.where,
             describe_shape(*expr), rows, state.vocabulary);
    Logits logits{.vocabulary = state.vocabulary, .rows = rows};
    logits.values = expr->direct(0, 0, logits.stride);
    return logits;
}

int Program::rewind(int position, int sequence) const {
    const auto& cache = state_->engine.cache;
    return cache ? static_cast<int>(cache->rewind(sequence, position)) : position;
}

int Program::sequences() const {
    const auto& cache = state_->engine.cache;
    return cache ? static_cast<int>(cache->config().sequences) : 1 << 10;
}

KvCache* Program::cache() const {
    auto& cache = state_->engine.cache;
    return cache ? &*cache : nullptr;
}

ProgramIdentity Program::identity() const {
    const Engine& engine = state_->engine;
    std::string text;
    for (const PlanStatement& statement : state_->plan.find("forward")->statements)
        text += statement.sql + '\n';
    if (engine.cache)
        for (const KvLayer& layer : engine.cache->layers())
            text += fmt::format("{} {} {}\n", layer.heads, layer.width, layer.window);
    return {.model = engine.params->model,
            .weights = hex(engine.executor->weights.identity()),
            .forward = hex(hash128(text.data(), text.size())),
            .kv = engine.cache ? std::string(name_of(engine.cache->config().type)) : "none",
            .kernels = std::string(kernels().name)};
}

std::string Program::ignored_keys() const {
    return state_->engine.db->meta("ignored").value_or("");
}

const std::string& Program::model() const {
    return state_->engine.params->model;
}

std::shared_ptr<Executor> Program::executor() const {
    return state_->engine.executor;
}

bool Program::has_chat() const {
    return !state_->chat.empty();
}

bool Program::model_has_template() const {
    return state_->engine.db->meta("tokenizer.chat_template").has_value();
}

std::vector<Fragment> Program::render_chat(std::span<const ChatMessage> messages) {
    State& state = *state_;
    if (!has_chat())
        fail("{}: this model has no chat template: give a text to go on from",
             state.plan.path.string());
    state.sandbox->begin(Sandbox::Phase::off);
    step(prepare(state.db(), "DELETE FROM temp.message", "message").get(), "message");
    const Statement insert =
        prepare(state.db(), "INSERT INTO temp.message(role, content) VALUES (?, ?)", "message");
    for (const ChatMessage& message : messages) {
        const ResetAtExit reset(insert.get());
        int column = 0;
        for (const std::string& text : {message.role, message.content})
            if (sqlite3_bind_text64(insert.get(), ++column, text.data(), text.size(),
                                    SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK)
                fail("a message of {} bytes is too long for a chat: {} there may be", text.size(),
                     sqlite3_limit(state.db(), SQLITE_LIMIT_LENGTH, -1));
        step(insert.get(), "message");
    }
    const Prepared& query = state.chat.front();
    const ResetAtExit reset(query.statement.get());
    state.sandbox->begin(Sandbox::Phase::text);
    const auto next_row = [&] {
        try {
            return state.next_row(query);
        } catch (const Error& error) {
            // How a query refuses: docs/plan-format.md, "chat".
            if (std::string_view(error.what()).find("ESCAPE expression") == std::string_view::npos)
                throw;
            fail(
                "{}: the model's chat template refuses this conversation: user and assistant must "
                "take turns, and some models take no system message",
                query.where);
        }
    };
    std::vector<Fragment> fragments;
    size_t bytes = 0;
    while (next_row())
        for (int i = 0; i < sqlite3_column_count(query.statement.get()); ++i)
            if (std::string text = column_text(query.statement.get(), i); !text.empty()) {
                bytes += text.size();
                if (bytes > kLongestChat)
                    fail("{}: the chat comes to more than {} bytes", query.where, kLongestChat);
                fragments.push_back({std::move(text), i % 2 == 0});
            }
    return fragments;
}

std::vector<std::string> Program::stop_pieces() {
    std::vector<std::string> pieces;
    for (const Prepared& prepared : state_->stop) {
        const ResetAtExit reset(prepared.statement.get());
        state_->sandbox->begin(Sandbox::Phase::text);
        while (state_->next_row(prepared)) {
            pieces.push_back(column_text(prepared.statement.get(), 0));
            if (pieces.size() > kMostStops)
                fail("{}: more than {} pieces end generation", prepared.where, kMostStops);
        }
    }
    return pieces;
}

}  // namespace llmsql
