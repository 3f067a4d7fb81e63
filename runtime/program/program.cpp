// SPDX-License-Identifier: MIT
// Opening a plan, and the front door to what runs it. See program.h.
#include "runtime/program/program.h"

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/stopwatch.h"
#include "plan/plan_file.h"
#include "runtime/kernels/kernels.h"
#include "runtime/program/interruption.h"
#include "runtime/program/plan_connection.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/table.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

// Of the model's tokenizer: ids count from 0.
int64_t token_count(const ModelDb& db) {
    Query last(db.connection(), "SELECT max(id) FROM llm_token");
    return last.next() && !last.is_null(0) ? last.as_integer(0) + 1 : 0;
}

}  // namespace

struct Program::State {
    State(PlanFile file, const ModelDb& db) : plan(std::move(file)), connection(plan) {
        tables.db = {std::shared_ptr<void>(), &db};  // it outlives the program
        constexpr size_t kMost = 100;
        Query rows(
            db.connection(),
            "SELECT key, value FROM llm_meta WHERE key >= 'sampling.' AND key < 'sampling/'");
        while (sampling.size() < kMost && rows.next())
            sampling.emplace(rows.as_text(0), rows.as_text(1));
    }

    // Declared so that the statements go first, then the connection, then what its tables point to.
    const PlanFile plan;
    PlanState tables;
    Interruption interruption;
    PlanConnection connection;
    std::optional<Pass> pass;
    std::optional<ChatTemplate> chat;
    std::map<std::string, std::string> sampling;

    void register_all(const std::function<void()>& progress);
    void run_init();
    void check_tables();
    void start(const ProgramOptions& options);
};

void Program::State::register_all(const std::function<void()>& progress) {
    register_operators(connection.handle(), tables.operators);
    register_tables(connection.handle(), tables);
    connection.guard(SandboxKind::passes, &tables.declaring);
    connection.sandbox().on_progress(progress);
    tables.operators.pulse = [this] { connection.sandbox().check(); };
}

void Program::State::run_init() {
    for (const PlanStatement& statement : plan.find("init")->statements) {
        const Prepared prepared = connection.prepare(statement, Sandbox::Section::init);
        connection.sandbox().begin();
        while (connection.next_row(prepared)) {
        }
        check_budget(tables, prepared.where);
    }
}

// What init must have made, and whether it is the database's.
void Program::State::check_tables() {
    const std::string name = plan.path.string();
    if (!tables.arena || tables.arena->places().empty()) fail("{}: init declares no tensors", name);
    if (!tables.params) fail("{}: init declares no parameters", name);
    const Catalogue& params = *tables.params;
    const std::string declared = catalogue_checksum(params.entries);
    const std::string stored = tables.db->meta("catalogue").value_or("?");
    if (declared != stored || params.checksum != stored)
        fail(
            "{}: its {} parameters have the catalogue checksum {} (it says {}), but {} holds the "
            "model '{}' with {}: compile the plan for this model",
            name, params.entries.size(), declared, params.checksum, tables.db->path().string(),
            tables.db->meta("model").value_or("?"), stored);
    if (const auto actual = catalogue_checksum(tables.db->catalogue()); actual != stored)
        fail("{}: its catalogue has the checksum {}, but it says {}: import the model again",
             tables.db->path().string(), actual, stored);

    if (tables.residency) tables.residency->require_covered(params.entries.size(), name);

    if (tables.cache && tables.recurrent && !tables.recurrent->shapes().empty() &&
        tables.cache->config().drafts > tables.recurrent->drafts())
        fail("{}: llm_kv says drafts={}, but llm_state has room for {}: both must say the same",
             name, tables.cache->config().drafts, tables.recurrent->drafts());

    // How many blocks of a window are kept is known only now.
    fit_cache(tables);
    check_budget(tables, name);
}

void Program::State::start(const ProgramOptions& options) {
    const auto make = [&] {
        return make_compute(tables, options.threads,
                            {.io = options.io,
                             .windows = std::nullopt,
                             .may_map = options.may_map,
                             .interrupted = options.interrupted});
    };
    tables.compute =
        options.share ? options.share(workers_of(tables, options.threads), make) : make();
    tables.operators.workers = &tables.compute->workers;
    tables.operators.most_rows = pass->chunk();
    pass->start(options.timing, options.profile, options.observer);
}

Program::Program(const std::filesystem::path& plan, const ModelDb& db,
                 const ProgramOptions& options)
    : Program(read_plan(plan), db, options) {}

Program::Program(PlanFile file, const ModelDb& db, const ProgramOptions& options)
    : state_(std::make_unique<State>(std::move(file), db)) {
    State& state = *state_;
    const auto progress = [&state, asked = options.progress] {
        if (asked) asked();
        state.interruption.end_if_wanted();
    };
    state.interruption.ask(options.interrupted);
    state.register_all(progress);
    state.run_init();
    state.check_tables();
    Pass& pass = state.pass.emplace(state.plan, state.connection, state.tables, state.interruption);
    state.connection.sandbox().seal();
    state.chat.emplace(state.plan, db, progress);
    if (const int64_t tokens = token_count(db); pass.vocabulary() < tokens)
        fail("{}: the logits are {} wide, but the model has {}", pass.logits_where(),
             pass.vocabulary(), counted(static_cast<uint64_t>(tokens), "token"));
    state.start(options);
    state.interruption.ask(nullptr);  // that was for opening
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
    const auto& cache = state_->tables.cache;
    return cache ? static_cast<int>(cache->config().context) : 1 << 20;
}
const std::map<std::string, std::string>& Program::sampling() const {
    return state_->sampling;
}

std::optional<uint64_t> Program::budget() const {
    const auto& residency = state_->tables.residency;
    if (!residency || residency->budget.bytes <= 0) return std::nullopt;
    return static_cast<uint64_t>(residency->budget.bytes);
}

int Program::chunk() const {
    return state_->pass->chunk();
}
int Program::logits_rows() const {
    return state_->pass->logits_rows();
}
int64_t Program::vocabulary() const {
    return state_->pass->vocabulary();
}

RunStats Program::stats() const {
    Compute& compute = *state_->tables.compute;
    const Turn turn(compute.turn);
    return {.times = state_->pass->times(),
            .counters = compute.weights->counters(),
            .weight_bytes = compute.weight_bytes,
            .io = compute.weights->io(),
            .threads = compute.workers.count()};
}
int Program::threads() const {
    return state_->tables.compute->workers.count();
}
IoMode Program::io() const {
    return state_->tables.compute->weights->io();
}

void Program::with_idle_workers(const std::function<void(Workers*)>& work) {
    Compute& compute = *state_->tables.compute;
    const std::unique_lock turn(compute.turn, std::try_to_lock);
    work(turn ? &compute.workers : nullptr);
}

void Program::verify_weights() {
    Compute& compute = *state_->tables.compute;
    const Turn turn(compute.turn);
    compute.keep_time(false);
    compute.weights->verify_all(compute.workers);
}

void Program::on_interrupt(std::function<bool()> interrupted) {
    state_->interruption.ask(std::move(interrupted));
}

void Program::forward(std::span<const int32_t> tokens, int position, int sequence) {
    const Run run{tokens, position, sequence};
    forward(std::span(&run, 1));
}

void Program::forward(std::span<const Run> runs) {
    state_->pass->forward(runs);
}

Logits Program::logits(int first, int rows) {
    return state_->pass->logits(first, rows);
}

bool Program::cut(int position, int sequence) {
    return state_->pass->cut(position, sequence);
}

int Program::rewind(int position, int sequence) const {
    const auto& cache = state_->tables.cache;
    const auto& states = state_->tables.recurrent;
    if (states) position = static_cast<int>(states->rewind(sequence, position));
    return cache ? static_cast<int>(cache->rewind(sequence, position)) : position;
}

bool Program::copy(int from, int to, int length) {
    if (!remembers() || length < 1 || rewind(length, from) != length) return false;
    const auto& cache = state_->tables.cache;
    if (cache && !cache->layers().empty()) cache->copy(from, to, length);
    if (const auto& states = state_->tables.recurrent) states->copy(from, to, length);
    return true;
}

bool Program::remembers() const {
    return state_->tables.cache != nullptr || remembers_ends_only();
}

bool Program::remembers_ends_only() const {
    const auto& states = state_->tables.recurrent;
    return states && !states->shapes().empty();
}

RecurrentStates* Program::states() const {
    return remembers_ends_only() ? state_->tables.recurrent.get() : nullptr;
}

int Program::sequences() const {
    const auto& cache = state_->tables.cache;
    return cache ? static_cast<int>(cache->config().sequences) : 1 << 10;
}

int Program::drafts() const {
    const auto& cache = state_->tables.cache;
    return cache ? static_cast<int>(cache->config().drafts) : 0;
}

KvCache* Program::cache() const {
    return state_->tables.cache.get();
}

ProgramIdentity Program::identity() const {
    const PlanState& tables = state_->tables;
    std::string text;
    for (const PlanStatement& statement : state_->plan.find("forward")->statements)
        text += statement.sql + '\n';
    if (tables.cache)
        for (const KvLayer& layer : tables.cache->layers())
            text += fmt::format("{} {} {}\n", layer.heads, layer.width, layer.window);
    if (tables.recurrent)
        for (const RecurrentShape& shape : tables.recurrent->shapes())
            text += fmt::format("{} {} {} {}\n", shape.name, shape.heads, shape.rows, shape.width);
    return {.model = tables.params->model,
            .weights = hex(tables.compute->weights->identity()),
            .forward = hex(hash128(text.data(), text.size())),
            .kv = tables.cache ? std::string(name_of(tables.cache->config().type)) : "none",
            .kernels = std::string(kernels().name)};
}

std::string Program::ignored_keys() const {
    return state_->tables.db->meta("ignored").value_or("");
}

const std::string& Program::model() const {
    return state_->tables.params->model;
}

std::shared_ptr<Compute> Program::compute() const {
    return state_->tables.compute;
}

ChatTemplate& Program::chat() {
    return *state_->chat;
}

const ChatTemplate& Program::chat() const {
    return *state_->chat;
}

}  // namespace llmsql
