// SPDX-License-Identifier: MIT
// Models of a connection, and of the process. See host.h.
#include "runtime/extension/host.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "common/error.h"
#include "common/model_format.h"
#include "runtime/program/installed_plans.h"
#include "runtime/weights/model_file.h"
#include "sqlite/callbacks.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

PlanFile plan_of(const ModelDb& db, const std::string& plan) {
    return plan.ends_with(".sql") ? read_plan(plan) : installed_plan(db, plan);
}

// More threads than cores would only take each other's time.
int sensible(int threads) {
    return std::min(threads <= 0 ? INT_MAX : threads, usable_cores());
}

std::string text_of(const PlanFile& plan) {
    std::string text;
    for (const PlanSection& section : plan.sections)
        for (const PlanStatement& statement : section.statements) text += statement.sql + ";";
    return text;
}

// What weights and workers are shared by: the file, the plan, the threads; within one process, as
// those of the process that it was forked from are of no use to it.
struct ComputeKey {
    uint32_t generation = 0;
    const ModelFile* file = nullptr;
    std::string plan;
    int threads = 0;
    auto operator<=>(const ComputeKey&) const = default;
};

struct SharedCompute {
    std::weak_ptr<Compute> compute;
    bool opening = false;  // somebody makes it
};

// One pool of weights a model file, plan and number of threads, for as long as a program uses it.
class Computes {
  public:
    static Computes& of_process() {
        static Computes& all = *new Computes;
        return all;
    }

    /// The one of that key, made by `make` if there is none. While another thread makes it, that is
    /// waited for, and no longer than until `interrupted` says so.
    std::shared_ptr<Compute> share(const ComputeKey& key, const ProgramOptions::Make& make,
                                   const std::function<bool()>& interrupted) {
        for (bool ours = false; !ours;) {
            if (auto found = find(key, ours)) return found;
            if (ours) break;
            if (interrupted()) throw Interrupted();
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        std::shared_ptr<Compute> made;
        try {
            made = make();
        } catch (...) {
            opened(key, nullptr);
            throw;
        }
        opened(key, made);
        return made;
    }

  private:
    // The one of that key, or nothing: then `ours` says whether it is the caller's to make.
    std::shared_ptr<Compute> find(const ComputeKey& key, bool& ours) {
        const std::lock_guard lock(mutex_);
        std::erase_if(all_, [](const auto& entry) {
            return !entry.second.opening && entry.second.compute.expired();
        });
        SharedCompute& entry = all_[key];
        if (auto found = entry.compute.lock()) return found;
        ours = !std::exchange(entry.opening, true);
        return nullptr;
    }

    void opened(const ComputeKey& key, const std::shared_ptr<Compute>& compute) {
        const std::lock_guard lock(mutex_);
        all_[key] = {compute, false};
    }

    ForkMutex mutex_;
    std::map<ComputeKey, SharedCompute> all_;
};

Program open_program(const ModelDb& db, const ModelChoice& choice,
                     const std::function<bool()>& interrupted) {
    PlanFile plan = plan_of(db, choice.plan);
    ComputeKey key{fork_generation(), db.file().get(), text_of(plan), 0};
    // No mappings: a library may not install the handler that makes them safe.
    ProgramOptions options{.threads = sensible(choice.threads), .io = std::nullopt};
    options.interrupted = interrupted;
    options.share = [&](int threads, const ProgramOptions::Make& make) {
        key.threads = threads;
        return Computes::of_process().share(key, make, interrupted);
    };
    return {std::move(plan), db, options};
}

ModelDb& asking(ModelDb& db, const std::function<bool()>& interrupted) {
    db.on_interrupt(interrupted);
    return db;
}

// Of statements on the host's connection: the host may interrupt them, and its errors are its own.
std::string explain(const std::string& name, const SqliteFault& fault) {
    if (fault.code == SQLITE_INTERRUPT) throw Interrupted();
    return explain_plainly(name, fault);
}

}  // namespace

OpenModel::OpenModel(const ModelChoice& choice, const std::function<bool()>& asked)
    : file_(identity(choice.model)),
      db(choice.model),
      program(open_program(asking(db, asked), choice, asked)),
      tokenizer(db),
      scheduler(program, end_tokens(program, tokenizer)) {}

OpenModel::Identity OpenModel::identity(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? Identity(info.st_dev, info.st_ino) : Identity();
}

// A file that is gone is as good as it was: only another one in its place is not.
bool OpenModel::is_replaced() const {
    const Identity now = identity(db.path().string());
    return now != Identity() && now != file_;
}

void OpenModel::on_interrupt(const std::function<bool()>& asked) {
    interrupted_ = asked ? asked : [] { return false; };
    db.on_interrupt(asked);
    const auto progress = [asked] {
        if (asked && asked()) throw Interrupted();
    };
    program.chat().on_progress(progress);
    tokenizer.on_progress(progress);
}

Poll::Poll(sqlite3* db) : db_(db) {}

Poll::~Poll() {
    sqlite3_finalize(statement_);
}

bool Poll::operator()() {
    if (!std::exchange(made_, true)) {
        // Some steps, so that a progress handler that is called every so many is called every few
        // tokens at most. A host's authorizer may refuse it: then only the end of a call is heard.
        constexpr char kSteps[] =
            "WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < 100) "
            "SELECT count(*) FROM step";
        interrupted_ =
            sqlite3_prepare_v2(db_, kSteps, -1, &statement_, nullptr) == SQLITE_INTERRUPT;
    }
    if (interrupted_ || !statement_) return interrupted_;
    while (sqlite3_step(statement_) == SQLITE_ROW) {
    }
    interrupted_ = sqlite3_reset(statement_) == SQLITE_INTERRUPT;
    return interrupted_;
}

Host::Host(sqlite3* db)
    : db_(db), by_hand_(db, [this] { return std::make_shared<const ModelDb>(resolve({}).model); }) {
    by_hand_.operators.pulse = [db] {
        if (Poll poll(db); poll()) throw Interrupted();
    };
}

// In a child, what the parent has open stays as it is: closing it would wait for threads, and for
// locks, that are the parent's.
Host::~Host() {
    if (generation_ == fork_generation()) return;
    for (auto& [choice, model] : idle_) static_cast<void>(model.release());
}

void Host::require_own_process() const {
    if (generation_ != fork_generation())
        fail("this connection was opened before fork(), by another process: open one in this one");
}

// The first database of the connection, main before those attached, that is a model database.
std::string Host::own_database() const {
    const Connection host = Connection::borrowed(db_, "llmsql", explain);
    Query list(host, "PRAGMA database_list");
    while (list.next()) {
        const std::string schema = list.as_text(1), file = list.as_text(2);
        if (file.empty()) continue;
        std::string quoted;
        for (const char c : schema) quoted += c == '"' ? "\"\"" : std::string(1, c);
        if (host.integer("PRAGMA \"" + quoted + "\".application_id") == kModelApplicationId)
            return file;
    }
    const char* named = std::getenv("LLMSQL_MODEL");
    return named ? named : "";
}

ModelChoice Host::resolve(ModelChoice choice) const {
    if (!choice.model.empty()) return choice;
    if (default_) {
        choice.model = default_->model;
        if (choice.plan.empty()) choice.plan = default_->plan;
        if (choice.threads == 0) choice.threads = default_->threads;
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
    const auto before = std::exchange(default_, std::nullopt);
    try {
        const Borrowed opened = borrow(choice);
    } catch (...) {
        default_ = before;
        throw;
    }
    default_ = choice;
    std::erase_if(idle_, [&](const auto& entry) { return entry.first != choice; });
}

size_t Host::let_go() {
    const auto closing = std::exchange(idle_, {});
    return closing.size();
}

std::unique_ptr<OpenModel> Host::take_idle(const ModelChoice& choice) {
    std::erase_if(idle_, [](const auto& entry) { return entry.second->is_replaced(); });
    const auto found = std::ranges::find_if(idle_, [&](const auto& entry) {
        return entry.first.model == choice.model && entry.first.plan == choice.plan;
    });
    if (found == idle_.end()) return nullptr;
    // One of other threads makes room for it.
    std::unique_ptr<OpenModel> model = std::move(found->second);
    const int threads = found->first.threads;
    idle_.erase(found);
    if (threads != choice.threads && sensible(threads) != sensible(choice.threads)) return nullptr;
    return model;
}

void Host::keep_idle(ModelChoice choice, std::unique_ptr<OpenModel> model) {
    std::erase_if(idle_, [&](const auto& entry) {
        return entry.first.model == choice.model && entry.first.plan == choice.plan;
    });
    if (idle_.size() == kMostIdle) idle_.erase(idle_.begin());
    idle_.emplace_back(std::move(choice), std::move(model));
}

Host::Borrowed Host::borrow(ModelChoice choice) {
    require_own_process();
    return {*this, resolve(std::move(choice))};
}

Host::Borrowed::Borrowed(Host& host, ModelChoice choice)
    : host_(&host),
      choice_(std::move(choice)),
      poll_(std::make_unique<Poll>(host.db())),
      model_(host.take_idle(choice_)) {
    const auto interrupted = [poll = poll_.get()] { return (*poll)(); };
    try {
        if (!model_) model_ = std::make_unique<OpenModel>(choice_, interrupted);
    } catch (const Error&) {
        // Statements that were ended for it fail in their own words.
        if (poll_->interrupted()) throw Interrupted();
        throw;
    }
    model_->on_interrupt(interrupted);
}

Host::Borrowed::~Borrowed() {
    if (!model_) return;
    if (host_->generation_ != fork_generation()) {  // see ~Host
        static_cast<void>(model_.release());
        return;
    }
    try {
        model_->on_interrupt(nullptr);
        host_->keep_idle(std::move(choice_), std::move(model_));
    } catch (const std::bad_alloc&) {
        // Then it is closed.
    }
}

}  // namespace llmsql
