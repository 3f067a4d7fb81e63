// SPDX-License-Identifier: MIT
// Models of a connection. See host.h.
#include "runtime/extension/host.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/error.h"
#include "common/model_format.h"
#include "sqlite/callbacks.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

// Of statements on the host's connection: the host may interrupt them, and its errors are its own.
std::string explain(const std::string& name, const SqliteFault& fault) {
    if (fault.code == SQLITE_INTERRUPT) throw Interrupted();
    return explain_plainly(name, fault);
}

}  // namespace

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
    if (threads != choice.threads && sensible_threads(threads) != sensible_threads(choice.threads))
        return nullptr;
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
        if (model_)
            model_->begin_call(interrupted);
        else
            model_ = std::make_unique<OpenModel>(choice_, interrupted);
    } catch (const Error&) {
        // Statements that were ended for it fail in their own words.
        if (poll_->interrupted()) throw Interrupted();
        throw;
    }
}

Host::Borrowed::~Borrowed() {
    if (!model_) return;
    if (host_->generation_ != fork_generation()) {  // see ~Host
        static_cast<void>(model_.release());
        return;
    }
    try {
        model_->end_call();
        host_->keep_idle(std::move(choice_), std::move(model_));
    } catch (const std::bad_alloc&) {
        // Then it is closed.
    }
}

}  // namespace llmsql
