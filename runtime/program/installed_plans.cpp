// SPDX-License-Identifier: MIT
// Reading plans out of a model database. See installed_plans.h.
#include "runtime/program/installed_plans.h"

#include <algorithm>

#include "common/error.h"
#include "common/model_format.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr size_t kMostPlans = 1000, kLongestName = 1000;

}  // namespace

std::vector<std::string> installed_plans(const ModelDb& db) {
    const std::string where = db.path().string();
    std::vector<std::string> names;
    const Statement table =
        prepare(db.handle(),
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'llm_plan'", where);
    if (!step(table.get(), where)) return names;
    const Statement query = prepare(db.handle(), "SELECT name FROM llm_plan ORDER BY name", where);
    while (step(query.get(), where)) {
        names.push_back(column_text(query.get(), 0));
        if (names.size() > kMostPlans || names.back().size() > kLongestName)
            fail("{}: its plans are not what was installed; import the model again", where);
    }
    return names;
}

PlanFile installed_plan(const ModelDb& db, const std::string& name) {
    const std::string where = db.path().string();
    const std::vector<std::string> names = installed_plans(db);
    if (names.empty())
        fail("{}: no plan is installed in it: llmsqlc MODEL.toml --install {} does, or give a plan",
             where, where);
    const auto has = [&](const std::string& wanted) {
        return std::ranges::find(names, wanted) != names.end();
    };
    std::string chosen = name;
    if (name.empty()) chosen = names.size() == 1 ? names.front() : kDefaultPlan;
    if (!has(chosen)) {
        std::string list;
        for (const std::string& each : names) list += (list.empty() ? "'" : ", '") + each + "'";
        fail("{}: {}; installed are {}", where,
             name.empty() ? "several plans are installed, name one"
                          : fmt::format("there is no plan '{}' in it", name),
             list);
    }
    const Statement query = prepare(db.handle(), "SELECT sql FROM llm_plan WHERE name = ?", where);
    sqlite3_bind_text(query.get(), 1, chosen.data(), static_cast<int>(chosen.size()),
                      SQLITE_STATIC);
    if (!step(query.get(), where)) fail("{}: the plan '{}' is gone", where, chosen);
    return parse_plan(column_text(query.get(), 0), where + "(" + chosen + ")");
}

}  // namespace llmsql
