// SPDX-License-Identifier: MIT
// Putting plan.sql together. See compile.h.
#include "compiler/emit/compile.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "common/byte_size.h"
#include "common/error.h"
#include "common/model_format.h"
#include "common/weight_format.h"
#include "compiler/emit/sql_text.h"
#include "compiler/emit/statements.h"
#include "compiler/memory/arena.h"
#include "compiler/memory/residency.h"
#include "compiler/memory/verify.h"
#include "compiler/memory/verify_residency.h"

namespace llmsql::compiler {
namespace {

// A verifier's finding is not the user's mistake.
void require_sound(const std::vector<std::string>& faults, const char* what) {
    if (faults.empty()) return;
    fail(
        "a defect of the compiler: its {} does not hold: {} ({} such); please report it with the "
        "graph and model file",
        what, faults.front(), faults.size());
}

class Text {
  public:
    Text(const Model& model, const Plan& plan) : model_(model), plan_(plan) {}

    std::string run() {
        head();
        section("init");
        params();
        residency();
        tensors();
        caches();
        states();
        section("forward :tokens :position :sequence");
        statements(plan_.forward, "T");
        section("logits :first :rows");
        statements(plan_.logits, "rows");
        add("\n-- logits  f32{}\n", output_shape());
        statement(fmt::format("SELECT data FROM tensor WHERE id = {};\n", plan_.output));
        chat();
        add("\n--@ end {}\n", count_);
        return std::move(text_);
    }

  private:
    template<class... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        text_ += fmt::format(format, std::forward<Args>(args)...);
    }

    void section(const char* heading) { add("\n--@ {}\n", heading); }

    void statement(const std::string& sql) {
        text_ += sql;
        ++count_;
    }

    template<class Rows, class Print>
    void insert(std::string_view into, const Rows& rows, Print print) {
        std::string sql = fmt::format("INSERT INTO {} VALUES\n", into);
        for (size_t i = 0; i < rows.size(); ++i)
            sql += fmt::format("  ({}){}\n", print(rows[i], i), i + 1 == rows.size() ? ";" : ",");
        statement(sql);
    }

    std::string output_shape() const {
        return fmt::format("[rows, {}]", plan_.tensor(plan_.output).shape.width);
    }

    void head() {
        const auto& residency = plan_.residency;
        add("-- llmsql plan 1 · {} · {}{} · context {} · chunk {} · logits rows {}{}\n",
            one_line(model_.name), one_line(model_.graph),
            residency ? " · budget " + exact_bytes_text(residency->budget) : "", plan_.context,
            plan_.chunk, plan_.logits_rows,
            plan_.drafts > 0 ? fmt::format(" · drafts {}", plan_.drafts) : "");
        std::array<int64_t, kWeightFormats.size()> by_type{};
        int64_t total = 0;
        for (const Param& param : model_.params) {
            const auto bytes = static_cast<int64_t>(param_bytes(param.type, param.shape));
            by_type[index_of(param.type)] += bytes;
            total += bytes;
        }
        auto formats = kWeightFormats;  // the smallest first
        std::ranges::stable_sort(formats, [](const WeightFormat& a, const WeightFormat& b) {
            return a.bytes * b.columns < b.bytes * a.columns;
        });
        std::string parts;
        for (const WeightFormat& format : formats)
            if (const int64_t bytes = by_type[index_of(format.type)]; bytes > 0)
                parts += fmt::format("{}{} {}", parts.empty() ? "" : " + ", format.name,
                                     bytes_text(bytes));
        if (residency)
            add("-- weights: stored {} ({}), held {}, read per pass {}{} ({} {})\n",
                bytes_text(total), parts, bytes_text(residency->pool),
                bytes_text(residency->read_bytes),
                residency->most_bytes
                    ? fmt::format(" expected, {} at most", bytes_text(*residency->most_bytes))
                    : "",
                residency->read_bytes == residency->lower_bound ? "optimum" : "at least",
                bytes_text(residency->lower_bound));
        else
            add("-- weights: {} stored ({})\n", bytes_text(total), parts);
        add("-- memory: activations {}, key-value cache {} when the context is full",
            bytes_text(plan_.arena_bytes), bytes_text(cache_bytes(plan_)));
        if (!plan_.states.empty()) add(", recurrent state {}", bytes_text(state_bytes(plan_)));
        if (plan_.snapshots > 0)
            add(", {} of it {}", counted(static_cast<uint64_t>(plan_.snapshots), "snapshot"),
                bytes_text(plan_.snapshots * plan_.snapshot_bytes()));
        if (residency)
            add("; {} in all, {} workers",
                bytes_text(sum_of(memory_parts(plan_, model_.params, residency->workers))),
                residency->workers);
        add("\n");
        if (plan_.drafts == 0) return;
        add("-- drafts: up to {} of a text in a pass; they take {} of memory", plan_.drafts,
            bytes_text(plan_.draft_bytes));
        if (residency) add(", and have a pass read {} more", bytes_text(plan_.draft_read_bytes));
        add("\n");
    }

    void params() {
        const std::vector<ParamEntry> entries(model_.params.begin(), model_.params.end());
        statement(fmt::format(
            "CREATE VIRTUAL TABLE temp.param USING llm_param(model={}, catalogue='{}');\n",
            sql_literal(model_.name, "the model's name"), catalogue_checksum(entries)));
        insert("param(id, name, type, rows, cols)", entries, [](const ParamEntry& p, size_t i) {
            return fmt::format("{}, {}, '{}', {}, {}", i + 1,
                               sql_literal(p.name, "a parameter's name"), name_of(p.type),
                               p.shape.rows ? std::to_string(*p.shape.rows) : "NULL", p.shape.cols);
        });
    }

    void residency() {
        if (!plan_.residency) return;
        const PlanResidency& residency = *plan_.residency;
        statement(fmt::format(
            "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget={}, "
            "pool={}, windows={}, workers={}{});\n",
            residency.budget, residency.pool, residency.windows, residency.workers,
            first_renumbered(plan_, model_.params) ? fmt::format(", tiles={}", kCutSince) : ""));
        // A line a parameter.
        const bool choices = residency.most_bytes.has_value();
        std::string sql =
            fmt::format("INSERT INTO residency(param, first_tile, last_tile, held{}) VALUES\n",
                        choices ? ", chosen" : "");
        for (size_t i = 0; i < residency.tiles.size(); ++i) {
            const PlanTiles& range = residency.tiles[i];
            const bool more = i > 0 && residency.tiles[i - 1].param == range.param;
            sql += fmt::format("{}({}, {}, {}, {}{})",
                               i == 0 ? "  "
                               : more ? ", "
                                      : ",\n  ",
                               range.param, range.first, range.last, range.held ? 1 : 0,
                               !choices       ? ""
                               : range.chosen ? ", 1"
                                              : ", 0");
        }
        statement(sql + ";\n");
    }

    void tensors() {
        statement(fmt::format("CREATE VIRTUAL TABLE temp.tensor USING llm_tensor(arena={});\n",
                              plan_.arena_bytes));
        statement("CREATE VIRTUAL TABLE temp.slot USING llm_slot();\n");
        const bool choices =
            std::ranges::any_of(model_.params, [](const Param& p) { return p.item >= 0; });
        if (choices) statement("CREATE VIRTUAL TABLE temp.chosen USING llm_chosen();\n");
        insert(fmt::format("tensor(id, name, type, rows, heads, width, stride, offset, slice_of{})",
                           choices ? ", choices" : "")
                   .c_str(),
               plan_.tensors, [&](const PlanTensor& t, size_t i) {
                   return fmt::format("{}, {}, '{}', {}, {}, {}, {}, {}, {}{}", i + 1,
                                      sql_literal(t.name, "a variable's name"), name_of(t.type),
                                      t.rows, t.shape.heads, t.shape.width, t.stride, t.offset,
                                      t.view_of ? std::to_string(t.view_of) : "NULL",
                                      choices ? fmt::format(", {}", t.choices) : "");
               });
    }

    void caches() {
        statement("CREATE VIRTUAL TABLE temp.kv_layer USING llm_kv_layer();\n");
        statement(fmt::format(
            "CREATE VIRTUAL TABLE temp.kv USING llm_kv(context={}, type='{}', sequences={}{});\n",
            plan_.context, name_of(plan_.kv), plan_.sequences,
            plan_.drafts > 0 ? fmt::format(", drafts={}", plan_.drafts) : ""));
        if (plan_.caches.empty()) return;
        const bool shared = std::ranges::any_of(plan_.caches, &PlanCache::shared);
        insert(fmt::format("kv_layer(layer, heads, width, window{})", shared ? ", shared" : ""),
               plan_.caches, [&](const PlanCache& c, size_t i) {
                   return fmt::format("{}, {}, {}, {}{}", i, c.heads, c.width, c.window,
                                      !shared    ? ""
                                      : c.shared ? ", 1"
                                                 : ", 0");
               });
    }

    void states() {
        if (plan_.states.empty()) return;
        const bool drafts = plan_.drafts > 0;
        statement(
            fmt::format("CREATE VIRTUAL TABLE temp.state USING llm_state(sequences={}{}{});\n",
                        plan_.sequences, drafts ? fmt::format(", drafts={}", plan_.drafts) : "",
                        plan_.snapshots > 0 ? fmt::format(", snapshots={}", plan_.snapshots) : ""));
        statement("CREATE VIRTUAL TABLE temp.scan USING llm_scan();\n");
        insert(fmt::format("state(id, name, heads, rows, width{})", drafts ? ", inputs" : ""),
               plan_.states, [&](const PlanRecurrent& s, size_t i) {
                   return fmt::format("{}, {}, {}, {}, {}{}", i,
                                      sql_literal(s.name, "a state's name"), s.heads, s.rows,
                                      s.width, drafts ? fmt::format(", {}", s.inputs) : "");
               });
    }

    void statements(const std::vector<PlanInsert>& statements, std::string_view rows) {
        int layer = -1;
        bool first = true;
        for (const PlanInsert& s : statements) {
            if (s.layer != layer && s.layer >= 0)
                add("\n-- layer {}\n", s.layer);
            else if (s.layer != layer)
                add("\n-- after the layers\n");
            else if (!first)
                text_ += "\n";
            layer = s.layer;
            first = false;
            add("-- {}\n", statement_comment(plan_, model_.params, s, rows));
            statement(statement_sql(plan_, model_.params, s));
        }
    }

    void chat() {
        if (!model_.chat.query.empty()) {
            section("chat");
            statement(single_statement(model_.chat.query, "the chat query") + "\n");
        }
        if (!model_.chat.stop.empty()) {
            section("stop");
            std::string sql = "VALUES ";
            for (const std::string& piece : model_.chat.stop)
                sql += fmt::format("{}({})", &piece == &model_.chat.stop.front() ? "" : ", ",
                                   sql_string(piece));
            statement(sql + ";\n");
        }
    }

    const Model& model_;
    const Plan& plan_;
    std::string text_;
    int count_ = 0;  // statements so far
};

}  // namespace

namespace {

Plan plan_with(const Model& model, const OpGraph& graph, const PlanSizes& sizes,
               const std::optional<MemoryBudget>& budget) {
    Plan plan =
        fuse(graph, model.params, budget ? choose_sizes(model, graph, sizes, *budget) : sizes);
    plan.chat_template = chat_template_bytes(model);
    plan.holds_vocabulary = holds_vocabulary(model);
    plan_arena(plan);
    require_sound(verify_arena(plan), "arena");
    if (!budget) return plan;
    plan.residency.emplace();
    plan.residency->budget = budget->bytes;
    plan.residency->workers = budget->workers;
    const int64_t capacity = budget->bytes -
                             sum_of(fixed_parts(plan, model.params, budget->workers)) -
                             vector_bytes(model.params);
    plan.residency->windows = windows_within(plan, model.params, capacity, budget->workers);
    plan_residency(plan, model.params, capacity - plan.residency->windows);
    require_sound(verify_residency(plan, model.params), "residency");
    return plan;
}

/// Unless told, so many tokens are guessed at most: more than seven or eight in a row seldom come
/// true where a text does not simply repeat itself, and each takes a row of logits.
constexpr int64_t kDrafts[] = {8, 4, 2};

/// Of what a pass reads without drafts, what those that nobody has asked for may add: one part of
/// so many.
constexpr int64_t kDraftShare = 100;

/// Without a budget, unless told: as many snapshots of the recurrent states.
constexpr int64_t kSnapshots = 4;
/// There may be as many at most (runtime/program/plan_state.h).
constexpr int64_t kMostSnapshots = 4096;

/// With bytes for snapshots, as they were asked for or are where they were not.
PlanSizes with_snapshots(const Model& model, const OpGraph& graph, PlanSizes sizes, bool budget) {
    Plan plan;
    for (const StateShape& s : graph.states)
        plan.states.push_back({s.name, s.heads, s.rows, s.width});
    const int64_t each = plan.snapshot_bytes(), asked = sizes.snapshots.value_or(0);
    if (asked > 0 && each == 0)
        fail("--snapshots: {} has no recurrent state to keep any of: leave it out", model.name);
    if (asked > 0 && asked < each)
        fail("--snapshots: one of {} takes {}, more than {}: give that or more, or 0 for none",
             model.name, mib_text_up(each), exact_bytes_text(asked));
    sizes.snapshots = !sizes.snapshots ? (budget ? 0 : kSnapshots * each)
                                       : std::min(asked, kMostSnapshots * each);
    return sizes;
}

}  // namespace

Plan make_plan(const Model& model, const OpGraph& graph, const PlanSizes& asked,
               const std::optional<MemoryBudget>& budget) {
    const PlanSizes sizes = with_snapshots(model, graph, asked, budget.has_value());
    const bool keep =
        budget ? budget->keep_logits_rows : sizes.logits_rows != PlanSizes{}.logits_rows;
    const auto with_drafts = [&](int64_t drafts) {
        PlanSizes with = sizes;
        with.drafts = drafts;
        if (drafts > 0 && !keep) with.logits_rows = std::max(sizes.logits_rows, drafts + 1);
        return plan_with(model, graph, with, budget);
    };
    // First, so that a budget that is too small is told what this takes.
    std::optional<Plan> wanted;
    if (sizes.drafts && *sizes.drafts > 0) wanted = with_drafts(*sizes.drafts);
    Plan plain = with_drafts(0);
    // Taking recurrent states back takes as much memory as they do: only where that is asked for.
    if (sizes.drafts ? *sizes.drafts == 0 : !graph.states.empty()) return plain;

    const auto counted = [&](Plan plan) {
        const int workers = budget ? budget->workers : kDefaultWorkers;
        plan.draft_bytes = sum_of(fixed_parts(plan, model.params, workers)) -
                           sum_of(fixed_parts(plain, model.params, workers));
        if (budget)
            plan.draft_read_bytes = plan.residency->read_bytes - plain.residency->read_bytes;
        return plan;
    };
    if (wanted) return counted(*std::move(wanted));
    for (const int64_t most : kDrafts) {
        const int64_t drafts = keep ? std::min(most, sizes.logits_rows - 1) : most;
        if (drafts < 1) break;
        try {
            Plan plan = counted(with_drafts(drafts));
            if (!budget || (plan.draft_read_bytes <= plain.residency->read_bytes / kDraftShare &&
                            (plan.residency->windows > 0 || plain.residency->windows == 0)))
                return plan;
        } catch (const Error&) {  // the budget works only just, without them
        }
    }
    return plain;
}

std::string plan_text(const Model& model, const Plan& plan) {
    return Text(model, plan).run();
}

}  // namespace llmsql::compiler
