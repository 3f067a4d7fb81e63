// SPDX-License-Identifier: MIT
// Reading plans out of a model database. See installed_plans.h.
#include "runtime/program/installed_plans.h"

#include <algorithm>

#include "common/error.h"
#include "common/model_format.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr size_t kMostPlans = 1000, kLongestPlanName = 1000;

}  // namespace

std::vector<std::string> installed_plans(const ModelDb& db) {
    std::vector<std::string> names;
    if (!db.connection().integer(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'llm_plan'"))
        return names;
    Query query(db.connection(), "SELECT name FROM llm_plan ORDER BY name");
    while (query.next()) {
        names.push_back(query.as_text(0));
        if (names.size() > kMostPlans || names.back().size() > kLongestPlanName)
            fail("{}: its plans are not what was installed; import the model again",
                 db.path().string());
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
    Query query(db.connection(), "SELECT sql FROM llm_plan WHERE name = ?", chosen);
    if (!query.next()) fail("{}: the plan '{}' is gone", where, chosen);
    return parse_plan(query.as_text(0), where + "(" + chosen + ")");
}

}  // namespace llmsql
