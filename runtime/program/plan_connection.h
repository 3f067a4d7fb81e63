// SPDX-License-Identifier: MIT
// PlanConnection: a connection of its own on which sections of a plan are prepared and stepped,
// within a sandbox.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan/plan_file.h"
#include "runtime/program/sandbox.h"
#include "sqlite/statement.h"

namespace llmsql {

/// A prepared statement of the plan and where it stands in the file.
struct Prepared {
    Statement statement;
    std::string where;                    // "plan.sql:123"
    bool writes = false;                  // it yields no rows
    std::vector<std::string> parameters;  // in the order of their numbers, from 1
    bool by_sequence = false;             // it depends on which sequence a row belongs to
};

/// In memory, hardened, and used by one thread at a time. Whatever is to be registered or made on
/// it comes first, then guard(), then the plan's sections.
class PlanConnection {
  public:
    /// `plan` outlives it, and is what errors name.
    explicit PlanConnection(const PlanFile& plan);

    sqlite3* handle() const { return connection_.get(); }
    /// For statements that are not the plan's.
    const Connection& connection() const { return connection_; }

    /// From here on only statements of the plan are prepared. Arguments as Sandbox's.
    void guard(SandboxKind kind, const bool* declaring = nullptr);
    Sandbox& sandbox() { return *sandbox_; }

    /// Fails, naming the line, on what the sandbox refuses or SQLite does not understand.
    Prepared prepare(const PlanStatement& statement, Sandbox::Section section);

    /// A section's statements, none where the plan has no such section; fails on parameters that
    /// the section does not have.
    std::vector<Prepared> prepare_section(const char* name, Sandbox::Section section);

    /// The next row of a statement that sandbox().begin() was told of; false after the last. Fails
    /// in one line that names where it stands.
    bool next_row(const Prepared& prepared);

  private:
    const PlanFile& plan_;
    // The statements go first, then the connection, then what guards it.
    std::unique_ptr<Sandbox> sandbox_;
    Connection connection_;
};

}  // namespace llmsql
