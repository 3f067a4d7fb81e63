// Models of a connection, and of the process. See host.h.
#include "runtime/extension/host.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "common/error.h"
#include "common/model_format.h"
#include "runtime/program/installed_plans.h"
#include "runtime/storage/model_file.h"
#include "runtime/storage/sqlite.h"
#include "runtime/storage/sqlite_callbacks.h"

namespace llmsql {
namespace {

PlanFile plan_of(const ModelDb& db, const std::string& plan) {
    return plan.ends_with(".sql") ? read_plan(plan) : installed_plan(db, plan);
}

std::string text_of(const PlanFile& plan) {
    std::string text;
    for (const PlanSection& section : plan.sections)
        for (const PlanStatement& statement : section.statements) text += statement.sql + ";";
    return text;
}

// What weights and workers are shared by: the file, the plan, the threads.
struct ExecutorKey {
    const ModelFile* file = nullptr;
    std::string plan;
    int threads = 0;
    auto operator<=>(const ExecutorKey&) const = default;
};

// One pool of weights a model file and plan in this process, for as long as a program uses it.
std::mutex executors_mutex;
std::map<ExecutorKey, std::weak_ptr<Executor>>& executors() {
    static std::map<ExecutorKey, std::weak_ptr<Executor>> all;
    return all;
}

Program open_program(const ModelDb& db, const ModelChoice& choice) {
    PlanFile plan = plan_of(db, choice.plan);
    const ExecutorKey key{&ModelFile::of(db.path().string()), text_of(plan), choice.threads};
    const std::lock_guard lock(executors_mutex);
    std::erase_if(executors(), [](const auto& entry) { return entry.second.expired(); });
    // No mappings: a library may not install the handler that makes them safe.
    ProgramOptions options{.threads = choice.threads, .io = std::nullopt};
    if (const auto found = executors().find(key); found != executors().end())
        options.executor = found->second.lock();
    Program program(std::move(plan), db, options);
    executors()[key] = program.executor();
    return program;
}

// Statements on the host's connection: the host may interrupt them, and its errors are its own.
[[noreturn]] void fail_on_host(sqlite3* db, int code) {
    if ((code & 0xff) == SQLITE_INTERRUPT) throw Interrupted();
    fail("llmsql: {}", sqlite3_errmsg(db));
}

Statement prepare_on_host(sqlite3* db, const std::string& sql) {
    sqlite3_stmt* raw = nullptr;
    const int code = sqlite3_prepare_v2(db, sql.c_str(), -1, &raw, nullptr);
    if (code != SQLITE_OK) fail_on_host(db, code);
    return Statement(raw);
}

bool step_on_host(sqlite3_stmt* statement) {
    const int code = sqlite3_step(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail_on_host(sqlite3_db_handle(statement), code);
    return code == SQLITE_ROW;
}

}  // namespace

OpenModel::OpenModel(const ModelChoice& choice)
    : db(choice.model),
      program(open_program(db, choice)),
      tokenizer(db),
      generator(program, tokenizer, {}, [this] { return interrupted(); }) {}

Poll::Poll(sqlite3* db) {
    // Some steps, so that a progress handler that is called every so many is called every few
    // tokens at most. A host's authorizer may refuse it: then only the end of a call is heard.
    constexpr char kSteps[] =
        "WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < 100) "
        "SELECT count(*) FROM step";
    interrupted_ = sqlite3_prepare_v2(db, kSteps, -1, &statement_, nullptr) == SQLITE_INTERRUPT;
}

Poll::~Poll() {
    sqlite3_finalize(statement_);
}

bool Poll::operator()() {
    if (interrupted_ || !statement_) return interrupted_;
    while (sqlite3_step(statement_) == SQLITE_ROW) {
    }
    interrupted_ = sqlite3_reset(statement_) == SQLITE_INTERRUPT;
    return interrupted_;
}

Host::Host(sqlite3* db) : db_(db) {
    by_hand_.open = [this] {
        by_hand_db_.reset();
        by_hand_db_.emplace(resolve({}).model);
        by_hand_.db = &*by_hand_db_;
    };
    by_hand_.begin = [this] {
        if (!by_hand_.db || by_hand_.declared.empty())
            fail("nothing can be computed before the plan's init has declared its parameters");
        if (by_hand_.cache && by_hand_.arena)
            by_hand_.cache->set_chunk(std::max<int64_t>(1, chunk_of(*by_hand_.arena)));
        by_hand_.executor = make_executor(by_hand_, 0, std::nullopt, false);
    };
}

// The first database of the connection, main before those attached, that is a model database.
std::string Host::own_database() const {
    const Statement list = prepare_on_host(db_, "PRAGMA database_list");
    while (step_on_host(list.get())) {
        const std::string schema = column_text(list.get(), 1), file = column_text(list.get(), 2);
        if (file.empty()) continue;
        std::string quoted;
        for (const char c : schema) quoted += c == '"' ? "\"\"" : std::string(1, c);
        const Statement id = prepare_on_host(db_, "PRAGMA \"" + quoted + "\".application_id");
        if (step_on_host(id.get()) && sqlite3_column_int64(id.get(), 0) == kModelApplicationId)
            return file;
    }
    const char* named = std::getenv("LLMSQL_MODEL");
    return named ? named : "";
}

ModelChoice Host::resolve(ModelChoice choice) const {
    if (!choice.model.empty()) return choice;
    if (chosen_) {
        choice.model = chosen_->model;
        if (choice.plan.empty()) choice.plan = chosen_->plan;
        if (choice.threads == 0) choice.threads = chosen_->threads;
        return choice;
    }
    choice.model = own_database();
    if (choice.model.empty())
        fail(
            "no model: open or attach a model database with a plan installed in it, name one with "
            "llm_load('model.db'), or set LLMSQL_MODEL");
    return choice;
}

void Host::choose(const ModelChoice& choice) {
    const auto before = std::exchange(chosen_, std::nullopt);
    try {
        const Borrowed opened = borrow(choice);
    } catch (...) {
        chosen_ = before;
        throw;
    }
    chosen_ = choice;
    std::erase_if(idle_, [&](const auto& entry) { return entry.first != choice; });
}

size_t Host::let_go() {
    const auto closing = std::exchange(idle_, {});
    return closing.size();
}

Host::Borrowed Host::borrow(ModelChoice choice) {
    return {*this, resolve(std::move(choice))};
}

Host::Borrowed::Borrowed(Host& host, ModelChoice choice)
    : host_(&host), choice_(std::move(choice)) {
    auto& idle = host.idle_;
    const auto found = std::ranges::find(idle, choice_, [](const auto& e) { return e.first; });
    if (found != idle.end()) {
        model_ = std::move(found->second);
        idle.erase(found);
    } else {
        model_ = std::make_unique<OpenModel>(choice_);
    }
    model_->tokenizer.on_progress([db = host.db()] {
        if (Poll poll(db); poll()) throw Interrupted();
    });
}

// One of a kind stays open, with what its cache holds.
Host::Borrowed::~Borrowed() {
    if (!model_) return;
    model_->interrupted = [] { return false; };
    model_->tokenizer.on_progress(nullptr);
    auto& idle = host_->idle_;
    const bool another =
        std::ranges::any_of(idle, [&](const auto& entry) { return entry.first == choice_; });
    try {
        if (!another) idle.emplace_back(std::move(choice_), std::move(model_));
    } catch (const std::bad_alloc&) {
        // Then it is closed.
    }
}

}  // namespace llmsql
