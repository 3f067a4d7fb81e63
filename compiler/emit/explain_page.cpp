// SPDX-License-Identifier: MIT
// A plan explained, statement by statement. See explain_page.h.
#include "compiler/emit/explain_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "common/types.h"
#include "plan/select.h"

namespace llmsql::compiler {
namespace {

class Page {
  public:
    explicit Page(const Outline& outline) : outline_(outline) {
        for (const OutlineStep& step : outline.steps) {
            for (const int64_t id : step.reads) readers_[stored(id)].push_back(step.number);
            if (step.writes) writers_[stored(*step.writes)].push_back(step.number);
            if (step.stores) stores_[*step.stores] = step.number;
            if (step.looks_back) looks_[*step.looks_back].push_back(step.number);
        }
    }

    void step(const OutlineStep& step) {
        if (!text_.empty()) text_ += '\n';
        add("{} {} · line {} · {}\n", step.number, step.name, step.line, step.section);
        if (!step.formula.empty()) add("  {}\n", step.formula);
        for (const int64_t id : step.reads)
            line("reads", tensor(id) + who(", written by", before(id, step.number)));
        if (step.looks_back)
            line("reads", cache(*step.looks_back) + ", appended to by" +
                              who("", {stores_[*step.looks_back]}));
        for (const OutlineWeights& range : step.weights) weights(range);
        if (step.writes)
            line("writes",
                 tensor(*step.writes) + who(", read by", after(*step.writes, step.number)));
        if (step.stores)
            line("writes", cache(*step.stores) + who(", read by", looks_[*step.stores]));
        if (!step.understood)
            line("note", "not written as llmsqlc writes statements: it may read more");
    }

    std::string take() { return std::move(text_); }

  private:
    template<class... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    }
    void line(const char* what, const std::string& text) { add("  {:<8}{}\n", what, text); }

    /// The tensor itself, of slices what they are cut from.
    int64_t stored(int64_t id) const {
        const OutlineTensor* tensor = outline_.tensor(id);
        return tensor && tensor->slice_of ? *tensor->slice_of : id;
    }

    std::vector<int> before(int64_t id, int number) {
        std::vector<int> last;
        for (const int writer : writers_[stored(id)])
            if (writer < number) last = {writer};
        return last;
    }
    std::vector<int> after(int64_t id, int number) {
        std::vector<int> found;
        for (const int reader : readers_[stored(id)])
            if (reader > number && (found.empty() || found.back() != reader))
                found.push_back(reader);  // once, though it may read several columns of it
        return found;
    }

    static std::string who(const char* what, const std::vector<int>& numbers) {
        if (numbers.empty()) return "";
        std::string text = what;
        for (const int number : numbers)
            text += fmt::format("{} {}", number == numbers.front() ? "" : ",", number);
        return text;
    }

    std::string tensor(int64_t id) const {
        const OutlineTensor* t = outline_.tensor(id);
        if (!t) return fmt::format("tensor {}, which init does not declare", id);
        return fmt::format("tensor {} {}  {}, {} bytes at {}{}", id, t->name, shape_of(*t, "T"),
                           t->span(), t->offset,
                           t->slice_of ? fmt::format(" (columns of tensor {})", *t->slice_of) : "");
    }

    std::string cache(int64_t layer) const {
        if (layer < 0 || layer >= static_cast<int64_t>(outline_.layers.size()))
            return fmt::format("cache layer {}, which init does not declare", layer);
        const OutlineLayer& shape = outline_.layers[static_cast<size_t>(layer)];
        return fmt::format("cache layer {}: {} heads of {}, {}{}", layer, shape.heads, shape.width,
                           outline_.kv_type,
                           shape.window > 0 ? fmt::format(", window {}", shape.window) : "");
    }

    void weights(const OutlineWeights& range) {
        for (int id = range.first; id <= range.last; ++id) {
            const ParamEntry& entry = outline_.param(id);
            const auto bytes = static_cast<int64_t>(param_bytes(entry.type, entry.shape));
            std::string text = fmt::format("parameter {} {}  {}, {} bytes", id, entry.name,
                                           describe(entry), bytes);
            if (range.picked) text += ", rows of it";
            if (outline_.budget && !range.picked)
                text += fmt::format(", {} held, {} read each pass", outline_.held_bytes(id),
                                    bytes - outline_.held_bytes(id));
            if (range.chosen)
                text +=
                    fmt::format(", and up to parameter {}: those that tokens choose", range.last);
            line("weights", text);
            if (range.chosen) return;
        }
    }

    const Outline& outline_;
    std::map<int64_t, std::vector<int>> readers_, writers_, looks_;
    std::map<int64_t, int> stores_;
    std::string text_;
};

}  // namespace

std::string explain_page(const Outline& outline, const std::string& which) {
    Page page(outline);
    for (const OutlineStep* step : select_steps(outline, which)) page.step(*step);
    return page.take();
}

}  // namespace llmsql::compiler
