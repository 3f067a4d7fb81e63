// SPDX-License-Identifier: MIT
// The lines of --trace. See trace.h.
#include <algorithm>
#include <utility>

#include "common/error.h"
#include "plan/select.h"
#include "runtime/observe/trace.h"
#include "runtime/observe/values.h"

namespace llmsql {
namespace {

class Printer final : public PassObserver {
  public:
    Printer(const Outline& outline, const std::string& which, int passes,
            std::function<void(const std::string&)> say)
        : outline_(outline), passes_(static_cast<uint64_t>(passes)), say_(std::move(say)) {
        for (const OutlineStep* step : select_steps(outline_, which))
            chosen_.push_back(step->number);
    }

    void before(const PassView& view) override {
        if (!is_shown(view)) return;
        const OutlineStep& step = outline_.steps[view.statement];
        const bool logits = step.section == "logits";
        say_(fmt::format("trace of {} {} (line {}), pass {}: {} {}\n", step.number, step.name,
                         step.line, view.pass, logits ? "row of position" : "from position",
                         view.position + view.first_row));
        if (!step.formula.empty()) say_(fmt::format("  {}\n", step.formula));
        for (const int64_t id : step.reads) tensor("reads", view, id);
        if (step.looks_back && view.cache) {
            const int64_t layer = *step.looks_back;
            const int64_t first = view.cache->first_held(view.sequence, layer);
            cache("reads", view, layer, first, view.cache->length(view.sequence, layer) - first);
        }
        for (const OutlineWeights& range : step.weights)
            line(
                "weights",
                fmt::format("{}{}  {}", outline_.param(range.first).name,
                            range.last > range.first ? " … " + outline_.param(range.last).name : "",
                            describe(outline_.param(range.first))));
    }

    void after(const PassView& view) override {
        if (!is_shown(view)) return;
        const OutlineStep& step = outline_.steps[view.statement];
        if (step.writes) tensor("writes", view, *step.writes);
        if (step.stores && view.cache)
            cache("writes", view, *step.stores, view.position,
                  view.cache->length(view.sequence, *step.stores) - view.position);
    }

  private:
    bool is_shown(const PassView& view) const {
        const int number = static_cast<int>(view.statement) + 1;
        return view.pass <= passes_ && std::ranges::find(chosen_, number) != chosen_.end();
    }

    void line(const char* what, const std::string& text) const {
        say_(fmt::format("  {:<8}{}\n", what, text));
    }

    void tensor(const char* what, const PassView& view, int64_t id) const {
        const StoredValues stored = tensor_values(*view.arena, id);
        line(what, fmt::format("tensor {} {}  {}: {}", id, view.arena->place(id).name,
                               stored.shape_text(), summary_text(stored.values)));
    }

    void cache(const char* what, const PassView& view, int64_t layer, int64_t first,
               int64_t count) const {
        for (const bool keys : {true, false}) {
            const StoredValues stored =
                cache_values(*view.cache, view.sequence, layer, first, count, keys);
            line(what, fmt::format("cache layer {}, {} from position {}  {}: {}", layer,
                                   keys ? "keys" : "values", first, stored.shape_text(),
                                   summary_text(stored.values)));
        }
    }

    const Outline& outline_;
    const uint64_t passes_;
    const std::function<void(const std::string&)> say_;
    std::vector<int> chosen_;
};

}  // namespace

std::unique_ptr<PassObserver> make_printer(const Outline& outline, const std::string& which,
                                           int passes,
                                           std::function<void(const std::string&)> say) {
    return std::make_unique<Printer>(outline, which, passes, std::move(say));
}

}  // namespace llmsql
