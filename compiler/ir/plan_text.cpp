// SPDX-License-Identifier: MIT
// The text form of a Plan, for tests and for whoever looks for a fault. See plan.h.
#include <fmt/format.h>

#include "compiler/check/signature.h"
#include "compiler/ir/model.h"
#include "compiler/ir/plan.h"
#include "compiler/ir/text.h"

namespace llmsql::compiler {
namespace {

class Text {
  public:
    Text(const Plan& plan, const std::vector<Param>& params) : plan_(plan), params_(params) {}

    std::string run() {
        add("context {}  chunk {}  logits rows {}  kv {}  sequences {}{}{}{}\n", plan_.context,
            plan_.chunk, plan_.logits_rows, name_of(plan_.kv), plan_.sequences,
            plan_.drafts > 0 ? fmt::format("  drafts {}", plan_.drafts) : "",
            plan_.snapshots > 0 ? fmt::format("  snapshots {}", plan_.snapshots) : "",
            plan_.arena_bytes > 0 ? fmt::format("  arena {}", plan_.arena_bytes) : "");
        for (size_t i = 0; i < plan_.tensors.size(); ++i) tensor(i + 1, plan_.tensors[i]);
        for (size_t i = 0; i < plan_.caches.size(); ++i) {
            const PlanCache& cache = plan_.caches[i];
            add("cache {}: {} heads of {}{}{}\n", i, cache.heads, cache.width,
                cache.shared ? "  shared" : "",
                cache.window > 0 ? fmt::format("  window {}", cache.window) : "");
        }
        for (size_t i = 0; i < plan_.states.size(); ++i)
            add("state {} {}: {}x{}x{}\n", i, plan_.states[i].name, plan_.states[i].heads,
                plan_.states[i].rows, plan_.states[i].width);
        section("forward", plan_.forward);
        section("logits", plan_.logits);
        add("output t{}\n", plan_.output);
        if (plan_.residency) residency(*plan_.residency);
        return std::move(text_);
    }

  private:
    template<class... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        text_ += fmt::format(format, std::forward<Args>(args)...);
    }

    void tensor(size_t id, const PlanTensor& t) {
        add("t{} {}: {}{}", id, t.name, name_of(t.type),
            shape_text(std::to_string(t.rows), t.shape.heads, t.shape.width));
        if (t.choices > 1) add("  {} rows a token", t.choices);
        if (t.view_of > 0) add("  of t{} from column {}", t.view_of, t.first_column);
        if (t.stride > 0) add("  stride {} offset {}", t.stride, t.offset);
        add("\n");
    }

    std::string param(int id) const { return table_name(params_.at(static_cast<size_t>(id - 1))); }

    std::string text(const PlanExpr& e) const {
        if (e.kind == PlanExpr::Kind::number) return real_text(e.number);
        if (e.kind == PlanExpr::Kind::absent) return "-";
        if (e.kind == PlanExpr::Kind::tensor) return fmt::format("t{}", e.id);
        if (e.kind == PlanExpr::Kind::state) return fmt::format("s{}", e.id);
        if (e.kind == PlanExpr::Kind::param) {
            const std::string first = param(e.id), last = param(e.last);
            if (e.id == e.last) return first;
            return fmt::format("{}{}[{}]", first, last == first ? "" : "…" + last,
                               e.last - e.id + 1);
        }
        std::vector<std::string> args;
        size_t count = 0;  // without what goes without saying at the end
        for (const SignatureParam& param : signature_of(*e.op).params) {
            if (is_supplied(*e.op, param.name) || args.size() == e.args.size()) continue;
            const PlanExpr& arg = e.args[args.size()];
            args.push_back(text(arg));
            if (arg.kind != PlanExpr::Kind::absent &&
                !(arg.kind == PlanExpr::Kind::number && is_default(param, arg.number)))
                count = args.size();
        }
        args.resize(count);
        return fmt::format("{}({})", e.op->name.empty() ? e.op->sql : e.op->name,
                           fmt::join(args, ", "));
    }

    void section(std::string_view name, const std::vector<PlanInsert>& statements) {
        add("{}:\n", name);
        for (const PlanInsert& s : statements) {
            if (s.appends())
                add("  cache {} <- {}{}{}", s.cache, text(s.data),
                    s.values.kind == PlanExpr::Kind::absent ? "" : ", ",
                    s.values.kind == PlanExpr::Kind::absent ? "" : text(s.values));
            else
                add("  t{} = {}{}", s.target, text(s.data),
                    s.cache >= 0 ? fmt::format("  cache {}", s.cache) : "");
            if (s.layer >= 0) add("  layer {}", s.layer);
            add("\n");
        }
    }

    void residency(const PlanResidency& r) {
        add("budget {}  workers {}  windows {}  pool {}\n", r.budget, r.workers, r.windows, r.pool);
        add("reads {}, at least {}", r.read_bytes, r.lower_bound);
        if (r.most_bytes) add(", at most {}", *r.most_bytes);
        add("\n");
        for (const PlanTiles& tiles : r.tiles)
            add("  {}: tiles {}-{} {}{}\n", params_.at(static_cast<size_t>(tiles.param - 1)).name,
                tiles.first, tiles.last, tiles.held ? "held" : "streamed",
                tiles.chosen ? ", where chosen" : "");
    }

    const Plan& plan_;
    const std::vector<Param>& params_;
    std::string text_;
};

}  // namespace

std::string to_text(const Plan& plan, const std::vector<Param>& params) {
    return Text(plan, params).run();
}

}  // namespace llmsql::compiler
