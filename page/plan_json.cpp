// SPDX-License-Identifier: MIT
// A plan's outline as JSON. See page.h; template/ reads it.
#include <algorithm>

#include "page/page.h"

namespace llmsql {
namespace {

Json shape_json(const ParamEntry& entry) {
    return entry.shape.rows ? Json{*entry.shape.rows, entry.shape.cols} : Json{entry.shape.cols};
}

Json params_json(const Outline& outline) {
    Json params = Json::array();
    int id = 0;
    for (const ParamEntry& entry : outline.params) {
        ++id;
        const size_t bytes = param_bytes(entry.type, entry.shape);
        params.push_back({{"name", entry.name},
                          {"type", name_of(entry.type)},
                          {"shape", shape_json(entry)},
                          {"bytes", bytes},
                          {"held", outline.held_bytes(id)}});
    }
    return params;
}

Json tensors_json(const Outline& outline) {
    Json tensors = Json::array();
    for (const OutlineTensor& t : outline.tensors) {
        Json tensor{{"id", t.id},
                    {"name", t.name},
                    {"shape", shape_of(t, "T")},
                    {"offset", t.offset},
                    {"bytes", t.span()},
                    {"rows", t.rows},
                    {"first", t.first_step},
                    {"last", t.last_step}};
        if (t.slice_of) tensor["slice_of"] = *t.slice_of;
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

Json steps_json(const Outline& outline) {
    Json steps = Json::array();
    for (const OutlineStep& s : outline.steps) {
        Json step{{"n", s.number},
                  {"section", s.section},
                  {"line", s.line},
                  {"layer", s.layer},
                  {"name", s.name},
                  {"formula", s.formula},
                  {"sql", s.sql},
                  {"operation", s.operation},
                  {"kind", outline.kind(s)},
                  {"reads", s.reads},
                  {"bytes", outline.weight_bytes(s)},
                  {"streamed", outline.streamed_bytes(s)}};
        if (s.writes) step["writes"] = *s.writes;
        if (s.stores) step["stores"] = *s.stores;
        if (s.looks_back) step["looks_back"] = *s.looks_back;
        if (!s.understood) step["unclear"] = true;
        Json weights = Json::array();
        for (const OutlineWeights& w : s.weights)
            weights.push_back(
                {{"first", w.first}, {"last", w.last}, {"chosen", w.chosen}, {"picked", w.picked}});
        step["weights"] = std::move(weights);
        steps.push_back(std::move(step));
    }
    return steps;
}

/// Of each matrix that is neither all held nor a table's: [id, [first, last, held]…].
Json tiles_json(const Outline& outline) {
    Json tiles = Json::array();
    for (const OutlineTiles& range : outline.tiles) {
        const ParamEntry& entry = outline.param(range.param);
        if (entry.shape.is_vector()) continue;
        if (tiles.empty() || tiles.back().at("param") != range.param)
            tiles.push_back({{"param", range.param},
                             {"count", tile_count(entry.type, entry.shape, outline.cut())},
                             {"each", tile_bytes(entry.type, entry.shape, 0, outline.cut())},
                             {"ranges", Json::array()}});
        tiles.back()["ranges"].push_back({range.first, range.last, range.held ? 1 : 0});
    }
    return tiles;
}

std::string section_sql(const PlanFile& plan, const char* name) {
    std::string sql;
    if (const PlanSection* section = plan.find(name))
        for (const PlanStatement& statement : section->statements) sql += statement.sql + ";\n";
    return sql;
}

}  // namespace

Json plan_json(const PlanFile& plan, const Outline& outline) {
    Json data{{"plan", plan.path.filename().string()},
              {"model", outline.model},
              {"header", outline.header},
              {"context", outline.context},
              {"chunk", outline.chunk},
              {"logits_rows", outline.logits_rows},
              {"kv_type", outline.kv_type},
              {"arena", outline.arena_bytes}};
    if (outline.budget)
        data["budget"] = {{"bytes", outline.budget->bytes},
                          {"pool", outline.budget->pool},
                          {"windows", outline.budget->windows},
                          {"workers", outline.budget->workers}};
    data["params"] = params_json(outline);
    data["tensors"] = tensors_json(outline);
    Json layers = Json::array();
    for (const OutlineLayer& layer : outline.layers)
        layers.push_back({{"heads", layer.heads},
                          {"width", layer.width},
                          {"window", layer.window},
                          {"shared", layer.shared}});
    data["cache_layers"] = std::move(layers);
    data["steps"] = steps_json(outline);
    if (outline.budget) data["tiles"] = tiles_json(outline);
    data["chat"] = section_sql(plan, "chat");
    data["stop"] = section_sql(plan, "stop");
    return data;
}

}  // namespace llmsql
