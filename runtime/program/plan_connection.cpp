// SPDX-License-Identifier: MIT
// Preparing and stepping a plan's statements. See plan_connection.h.
#include "runtime/program/plan_connection.h"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "common/error.h"
#include "plan/sql_tokens.h"

namespace llmsql {

PlanConnection::PlanConnection(const PlanFile& plan)
    : plan_(plan), connection_(":memory:", {.access = Access::make, .name = "SQLite"}) {
    connection_.execute("PRAGMA temp_store = MEMORY");
}

void PlanConnection::guard(SandboxKind kind, const bool* declaring) {
    sandbox_ = std::make_unique<Sandbox>(handle(), kind, declaring);
}

Prepared PlanConnection::prepare(const PlanStatement& statement, Sandbox::Section section) {
    const std::string place = plan_.path.string() + ":" + std::to_string(statement.line);
    sqlite3_stmt* raw = nullptr;
    const char* rest = nullptr;
    sandbox_->admit(section);
    sandbox_->begin();
    const int code =
        sqlite3_prepare_v3(handle(), statement.sql.c_str(), static_cast<int>(statement.sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &raw, &rest);
    Prepared prepared;
    prepared.statement.reset(raw);  // before anything can fail
    prepared.where = place;
    if (!sandbox_->refusal().empty()) fail("{}: {}", place, sandbox_->refusal());
    if (code == SQLITE_NOMEM) throw std::bad_alloc();
    if (code != SQLITE_OK) fail("{}: {}", place, message_of(handle()));
    if (!raw) fail("{}: there is no statement here", place);
    // Not every version of SQLite lets itself be watched while it prepares.
    try {
        sandbox_->check();
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

std::vector<Prepared> PlanConnection::prepare_section(const char* name, Sandbox::Section section) {
    std::vector<Prepared> prepared;
    const PlanSection* found = plan_.find(name);
    if (!found) return prepared;
    for (const PlanStatement& statement : found->statements) {
        Prepared& last = prepared.emplace_back(prepare(statement, section));
        sqlite3_stmt* raw = last.statement.get();
        for (int i = 1; i <= sqlite3_bind_parameter_count(raw); ++i) {
            const char* parameter = sqlite3_bind_parameter_name(raw, i);
            if (!parameter ||
                std::ranges::find(found->parameters, parameter) == found->parameters.end())
                fail("{}: the section '{}' has no parameter '{}'", last.where, name,
                     parameter ? parameter : "?");
            const std::string& known = last.parameters.emplace_back(parameter);
            last.by_sequence |= known == ":position" || known == ":sequence";
        }
    }
    return prepared;
}

bool PlanConnection::next_row(const Prepared& prepared) {
    const int code = sqlite3_step(prepared.statement.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    const std::string error = sqlite3_errmsg(handle());
    const std::string& refusal = sandbox_->refusal();
    if (refusal.empty() && (code & 0xff) == SQLITE_NOMEM) throw std::bad_alloc();
    fail("{}: {}", prepared.where, refusal.empty() ? error : refusal);
}

}  // namespace llmsql
