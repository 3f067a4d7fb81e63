// SPDX-License-Identifier: MIT
// The page's "run". See profile_page.h; page/template/30-run.js reads it.
#include "runtime/observe/profile_page.h"

#include "page/page.h"

namespace llmsql {
namespace {

Json phase_json(const RunPhase& phase) {
    const PassTimes& t = phase.times;
    Json json{{"name", phase.name},
              {"tokens", t.tokens},
              {"passes", t.passes},
              {"seconds", phase.seconds},
              {"computing", t.computing},
              {"reading", t.reading},
              {"sql", t.sql},
              {"waiting", t.waiting}};
    if (phase.drafted > 0) json["drafts"] = {phase.drafted, phase.accepted};
    // By statement, in the order of the plan: the fields of StatementTime.
    Json statements = Json::array();
    for (const StatementTime& s : t.by_statement)
        statements.push_back(
            {s.runs, s.items, s.computing, s.reading, s.sql, s.weight_bytes, s.read_bytes});
    json["statements"] = std::move(statements);
    return json;
}

}  // namespace

std::string profile_page(const PlanFile& plan, const RunProfile& run) {
    Json data = plan_json(plan, run.outline);
    Json phases = Json::array();
    for (const RunPhase& phase : run.phases)
        if (phase.times.passes > 0) phases.push_back(phase_json(phase));
    if (!run.ignored.empty()) data["ignored"] = run.ignored;
    if (!phases.empty())
        data["run"] = {{"model_db", run.model_db},     {"threads", run.threads},
                       {"kernels", run.kernels},       {"io", run.io},
                       {"held_bytes", run.held_bytes}, {"peak_rss", run.peak_rss},
                       {"phases", std::move(phases)}};
    return page_html(data);
}

}  // namespace llmsql
