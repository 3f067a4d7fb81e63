// SPDX-License-Identifier: MIT
// From a plan to its trace, and from the choice back to rows of the plan. See residency.h.
#include "compiler/memory/residency.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

namespace llmsql::compiler {
namespace {

class PassBuilder {
  public:
    PassBuilder(const Plan& plan, const std::vector<Param>& params)
        : plan_(plan), params_(params) {}

    void scan(const PlanExpr& e) {
        if (e.scans()) {
            const PlanExpr& weight = e.weight();
            const int64_t chosen = e.chooses() ? plan_.used_by(e) : 1;
            const int64_t of = e.chooses() ? weight.last - weight.id + 1 : 1;
            for (int id = weight.id; id <= weight.last; ++id) scan_param(id, chosen, of);
        }
        for (const PlanExpr& arg : e.args) scan(arg);
    }

    PassScans take() { return std::move(pass_); }

  private:
    void scan_param(int id, int64_t chosen, int64_t of) {
        const Param& param = params_[static_cast<size_t>(id - 1)];
        const int64_t count = tile_count(param.type, param.shape);
        const auto [first, made] = first_.try_emplace(id, static_cast<int>(pass_.tiles.size()));
        for (int64_t tile = 0; tile < count; ++tile) {
            if (made) {
                const size_t bytes = tile_bytes(param.type, param.shape, tile);
                pass_.tiles.push_back({id, tile, static_cast<int64_t>(bytes), chosen, of});
            }
            pass_.scans.push_back(first->second + static_cast<int>(tile));
        }
    }

    const Plan& plan_;
    const std::vector<Param>& params_;
    std::map<int, int> first_;  // by parameter: where its tiles are in the pass
    PassScans pass_;
};

/// What no pass is certain to scan, then the others as a pass scans them first.
std::vector<int> reading_order(const PassScans& pass, const std::vector<Param>& params) {
    std::vector<int> scanned;
    std::vector<bool> certain(params.size() + 1);
    for (const PassScans::Tile& tile : pass.tiles) {
        if (tile.index > 0 || params[static_cast<size_t>(tile.param - 1)].item >= 0) continue;
        scanned.push_back(tile.param);
        certain[static_cast<size_t>(tile.param)] = true;
    }
    std::vector<int> order;
    for (int id = 1; id <= static_cast<int>(params.size()); ++id)
        if (!certain[static_cast<size_t>(id)]) order.push_back(id);
    order.insert(order.end(), scanned.begin(), scanned.end());
    return order;
}

}  // namespace

PassScans pass_of(const Plan& plan, const std::vector<Param>& params) {
    PassBuilder builder(plan, params);
    for (const auto* section : {&plan.forward, &plan.logits})
        for (const PlanInsert& statement : *section) {
            builder.scan(statement.data);
            if (statement.appends()) builder.scan(statement.values);
        }
    return builder.take();
}

int64_t vector_bytes(const std::vector<Param>& params) {
    int64_t bytes = 0;
    for (const Param& param : params)
        if (param.shape.is_vector())
            bytes += static_cast<int64_t>(param_bytes(param.type, param.shape));
    return bytes;
}

/// What a pass reads if each choice falls on the matrices of which the most is streamed.
static int64_t most_read(const Plan& plan, const PassScans& pass, const Choice& choice) {
    std::map<int, int64_t> streamed;  // by parameter
    for (size_t i = 0; i < pass.tiles.size(); ++i)
        if (!choice.held[i]) streamed[pass.tiles[i].param] += pass.tiles[i].bytes;
    int64_t most = 0;
    const std::function<void(const PlanExpr&)> look = [&](const PlanExpr& e) {
        if (e.scans()) {
            const PlanExpr& weight = e.weight();
            std::vector<int64_t> each;
            for (int id = weight.id; id <= weight.last; ++id) each.push_back(streamed[id]);
            std::ranges::sort(each, std::ranges::greater{});
            if (e.chooses()) each.resize(static_cast<size_t>(plan.used_by(e)));
            most = std::accumulate(each.begin(), each.end(), most);
        }
        for (const PlanExpr& arg : e.args) look(arg);
    };
    for (const auto* section : {&plan.forward, &plan.logits})
        for (const PlanInsert& statement : *section) {
            look(statement.data);
            if (statement.appends()) look(statement.values);
        }
    return most;
}

void plan_residency(Plan& plan, const std::vector<Param>& params, int64_t capacity) {
    const PassScans pass = pass_of(plan, params);
    const Choice choice = choose_held(pass, capacity);
    std::map<std::pair<int, int64_t>, bool> held;
    for (size_t i = 0; i < pass.tiles.size(); ++i)
        held[{pass.tiles[i].param, pass.tiles[i].index}] = choice.held[i];

    if (!plan.residency) plan.residency.emplace();
    PlanResidency& residency = *plan.residency;
    residency.pool = vector_bytes(params) + choice.held_bytes;
    residency.read_bytes = choice.read_bytes;
    residency.lower_bound = choice.lower_bound;
    residency.tiles.clear();
    for (const int id : reading_order(pass, params)) {
        const Param& param = params[static_cast<size_t>(id - 1)];
        const int64_t count = tile_count(param.type, param.shape);
        for (int64_t tile = 0; tile < count; ++tile) {
            // What nothing scans is held if it is a vector, else read where a row is wanted.
            const auto found = held.find({id, tile});
            const bool keep = found == held.end() ? param.shape.is_vector() : found->second;
            if (tile > 0 && residency.tiles.back().held == keep)
                residency.tiles.back().last = tile;
            else
                residency.tiles.push_back({id, tile, tile, keep, param.item >= 0});
        }
    }
    if (pass.has_choices()) residency.most_bytes = most_read(plan, pass, choice);
}

const Param* first_renumbered(const Plan& plan, const std::vector<Param>& params) {
    if (!plan.residency) return nullptr;
    for (const Param& param : params)
        if (!is_cut_alike(param.type, param.shape)) return &param;
    return nullptr;
}

}  // namespace llmsql::compiler
