// SPDX-License-Identifier: MIT
// Plans for a range of budgets, as numbers. See compiled_json.h.
#include "compiler/page/compiled_json.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compiler/emit/compile.h"
#include "compiler/memory/residency.h"

namespace llmsql::compiler {
namespace {

// Budgets between the smallest and the whole model: enough for a curve.
constexpr int kBudgets = 28;
constexpr int64_t kMiB = int64_t{1} << 20;

int64_t all_bytes(const Plan& plan, const std::vector<Param>& params, int workers) {
    return sum_of(memory_parts(plan, params, workers));
}

/// Bytes held of each parameter that has more than one tile or is not all held, by id.
Json held_json(const Plan& plan, const std::vector<Param>& params) {
    Json held = Json::array();
    if (!plan.residency) return held;
    std::map<int, int64_t> bytes;
    for (const PlanTiles& range : plan.residency->tiles) {
        const Param& param = params[static_cast<size_t>(range.param - 1)];
        if (param.shape.is_vector()) continue;
        int64_t& sum = bytes[range.param];
        for (int64_t tile = range.first; range.held && tile <= range.last; ++tile)
            sum += static_cast<int64_t>(tile_bytes(param.type, param.shape, tile));
    }
    for (const auto& [id, sum] : bytes) held.push_back({id, sum});
    return held;
}

Json schedule_json(const Plan& plan, const std::vector<Param>& params) {
    const PassScans pass = pass_of(plan, params);
    const PlanResidency& residency = *plan.residency;
    Json json{{"scanned", pass.scanned_bytes()},
              {"read", residency.read_bytes},
              {"bound", residency.lower_bound},
              {"held", residency.pool}};
    if (residency.most_bytes) json["most"] = *residency.most_bytes;
    return json;
}

Json budget_json(const Plan& plan, const std::vector<Param>& params, int workers) {
    Json json{{"chunk", plan.chunk}, {"peak", all_bytes(plan, params, workers)}};
    if (plan.residency) {
        json["budget"] = plan.residency->budget;
        json["schedule"] = schedule_json(plan, params);
        json["held"] = held_json(plan, params);
    }
    Json parts = Json::array();
    for (const MemoryPart& part : memory_parts(plan, params, workers))
        parts.push_back({{"name", part.name}, {"bytes", part.bytes}});
    json["parts"] = std::move(parts);
    return json;
}

/// From the smallest budget that works to what everything takes, in equal steps of their ratio,
/// whole MiB.
std::set<int64_t> budgets_to_show(const Model& model, const OpGraph& graph, const PlanSizes& sizes,
                                  MemoryBudget budget, int64_t all) {
    budget.bytes = int64_t{1} << 50;
    std::vector<ChunkChoice> considered;
    choose_sizes(model, graph, sizes, budget, &considered);
    int64_t least = considered.front().fixed_bytes;
    for (const ChunkChoice& choice : considered) least = std::min(least, choice.fixed_bytes);
    least += vector_bytes(model.params);
    const int64_t first = (least + kMiB - 1) / kMiB, last = (all + kMiB - 1) / kMiB;
    std::set<int64_t> budgets;
    for (int i = 0; i < kBudgets && last > first; ++i) {
        const double share = static_cast<double>(i) / (kBudgets - 1);
        const double mib = static_cast<double>(first) *
                           std::pow(static_cast<double>(last) / static_cast<double>(first), share);
        budgets.insert(std::clamp<int64_t>(std::llround(mib), first, last) * kMiB);
    }
    return budgets;
}

}  // namespace

Json compiled_json(const Model& model, const OpGraph& graph, const Plan& plan,
                   const PlanSizes& sizes, const std::optional<MemoryBudget>& budget) {
    const std::vector<Param>& params = model.params;
    const MemoryBudget with = budget.value_or(MemoryBudget{});
    Json json{{"graph", model.graph}, {"workers", with.workers}};
    json["this"] = budget_json(plan, params, with.workers);

    const Plan unlimited = make_plan(model, graph, sizes);
    const int64_t all = all_bytes(unlimited, params, with.workers);
    std::set<int64_t> budgets = budgets_to_show(model, graph, sizes, with, all);
    if (budget) budgets.insert(budget->bytes);
    Json list = Json::array();
    for (const int64_t bytes : budgets) {
        MemoryBudget tried = with;
        tried.bytes = bytes;
        list.push_back(budget_json(make_plan(model, graph, sizes, tried), params, with.workers));
    }
    list.push_back(budget_json(unlimited, params, with.workers));
    json["budgets"] = std::move(list);
    return json;
}

}  // namespace llmsql::compiler
