// SPDX-License-Identifier: MIT
// Tables of memory and reading. See memory_page.h.
#include "compiler/emit/memory_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "common/byte_size.h"
#include "common/error.h"
#include "compiler/emit/sql_text.h"
#include "compiler/memory/residency.h"

namespace llmsql::compiler {
namespace {

int workers_of(const Plan& plan) {
    return plan.residency ? plan.residency->workers : kDefaultWorkers;
}

class MemoryPage {
  public:
    template<class... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    }

    void head(const Model& model, const Plan& plan) {
        add("{} · context {} · chunk {} · logits rows {} · {} workers", one_line(model.name),
            plan.context, plan.chunk, plan.logits_rows, workers_of(plan));
        if (plan.residency) add(" · budget {}", exact_bytes_text(plan.residency->budget));
        add("\n\n");
    }

    void bytes(std::string_view name, int64_t bytes) {
        add("{:<24}{:>14}{:>14}\n", name, bytes, mib_text(bytes));
    }

    std::string take() { return std::move(text_); }

  private:
    std::string text_;
};

double percent(int64_t part, int64_t whole) {
    return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

/// What cannot be known of tables of matrices before a token has chosen.
void choices(MemoryPage& page, const Model& model, const Plan& plan) {
    int64_t tables = 0, bytes = 0;
    for (const Param& param : model.params) {
        if (param.item < 0) continue;
        tables += param.item == 0 ? 1 : 0;
        bytes += static_cast<int64_t>(param_bytes(param.type, param.shape));
    }
    if (tables == 0) return;
    page.add(
        "\n{} tables of matrices, {} in all, are read as each token chooses, which only the run "
        "knows.\n",
        tables, mib_text(bytes));
    if (!plan.residency) return;
    page.add(
        "What of them is held was decided as if every choice were as likely as any: a token is "
        "expected to\nread {} of weights, and reads {} at most.\n\n",
        mib_text(plan.residency->read_bytes), mib_text(*plan.residency->most_bytes));
}

}  // namespace

std::string memory_page(const Model& model, const Plan& plan,
                        const std::vector<ChunkChoice>& considered) {
    MemoryPage page;
    page.head(model, plan);
    const std::vector<MemoryPart> parts = memory_parts(plan, model.params, workers_of(plan));
    for (const MemoryPart& part : parts) page.bytes(part.name, part.bytes);
    page.bytes("sum", sum_of(parts));
    choices(page, model, plan);
    if (!plan.residency) return page.take();
    page.bytes("budget", plan.residency->budget);
    page.bytes("left", plan.residency->budget - sum_of(parts));

    page.add("\nchunk   logits rows   all but weights     cost of a prompt and 128 tokens\n");
    for (const ChunkChoice& choice : considered)
        page.add("{:>5}{:>14}{:>18}{:>36}{}\n", choice.chunk, choice.logits_rows,
                 mib_text(choice.fixed_bytes),
                 choice.cost ? fmt::format("{:.2f} GB", *choice.cost / 1e9) : "does not fit",
                 choice.chunk == plan.chunk ? "   chosen" : "");
    return page.take();
}

std::string schedule_page(const Model& model, const Plan& plan) {
    const PlanResidency& residency = *plan.residency;
    const PassScans pass = pass_of(plan, model.params);
    std::vector<int64_t> scans(model.params.size());  // tiles scanned in a pass
    for (const int tile : pass.scans)
        ++scans[static_cast<size_t>(pass.tiles[static_cast<size_t>(tile)].param - 1)];

    MemoryPage page;
    page.head(model, plan);
    page.add("{:>5}  {:<28}{:>7}{:>7}{:>15}{:>15}   held tiles\n", "param", "name", "tiles",
             "scans", "held bytes", "bytes");
    int64_t held_matrices = 0, most_tile = 0;
    for (size_t r = 0; r < residency.tiles.size();) {
        const auto i = static_cast<size_t>(residency.tiles[r].param - 1);
        const Param& param = model.params[i];
        const int64_t tiles = tile_count(param.type, param.shape);
        int64_t held = 0;
        std::string which;
        for (; r < residency.tiles.size() && residency.tiles[r].param == static_cast<int>(i) + 1;
             ++r) {
            const PlanTiles& range = residency.tiles[r];
            if (!range.held) continue;
            for (int64_t tile = range.first; tile <= range.last; ++tile)
                held += static_cast<int64_t>(tile_bytes(param.type, param.shape, tile));
            which += which.empty() ? "" : ", ";
            which += range.first == range.last ? fmt::format("{}", range.first)
                                               : fmt::format("{}-{}", range.first, range.last);
        }
        const auto all = static_cast<int64_t>(param_bytes(param.type, param.shape));
        page.add("{:>5}  {:<28}{:>7}{:>7}{:>15}{:>15}   {}\n", i + 1, one_line(param.name), tiles,
                 scans[i] / tiles, held, all, which.empty() ? "none" : which);
        if (!param.shape.is_vector()) held_matrices += held;
    }
    for (const PassScans::Tile& tile : pass.tiles) most_tile = std::max(most_tile, tile.bytes);

    const int64_t scanned = pass.scanned_bytes();
    const bool choices = residency.most_bytes.has_value();
    const auto line = [&](std::string_view name, int64_t bytes) {
        page.add("{:<32}{:>15}{:>9.1f} %\n", name, bytes, percent(bytes, scanned));
    };
    page.add("\na steady pass: forward and logits, one token{:>22}\n", "bytes");
    line(choices ? "scans, with all matrices chosen" : "scans", scanned);
    line("held of that", held_matrices);
    line(choices ? "reads, expected" : "reads, by this schedule", residency.read_bytes);
    if (choices) line("reads, at most", *residency.most_bytes);
    line(residency.read_bytes == residency.lower_bound ? "lower bound (attained: optimal)"
                                                       : "lower bound",
         residency.lower_bound);
    page.add("largest tile{:>35}\n", most_tile);
    return page.take();
}

}  // namespace llmsql::compiler
