// SPDX-License-Identifier: MIT
// The residency's verifier. See verify_residency.h; docs/model-db.md has the sizes.
#include "compiler/memory/verify_residency.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "common/weight_format.h"

namespace llmsql::compiler {
namespace {

class Verifier {
  public:
    Verifier(const Plan& plan, const std::vector<Param>& params)
        : plan_(plan), residency_(*plan.residency), params_(params), held_(params.size()) {}

    std::vector<std::string> run() {
        check_ranges();
        if (!faults_.empty()) return faults_;
        check_pool();
        replay();
        if (residency_.read_bytes < residency_.lower_bound)
            fault("{} bytes are read per pass, below the lower bound of {}", residency_.read_bytes,
                  residency_.lower_bound);
        return faults_;
    }

  private:
    template<class... Args>
    void fault(fmt::format_string<Args...> format, Args&&... args) {
        faults_.push_back(fmt::format(format, std::forward<Args>(args)...));
    }

    const Param& param(int id) const { return params_[static_cast<size_t>(id - 1)]; }

    int64_t strips(int id) const {
        const Param& p = param(id);
        return p.shape.rows ? (*p.shape.rows + 15) / 16 : 1;
    }

    int64_t bytes_of_strip(int id) const {
        const Param& p = param(id);
        if (!p.shape.rows) return p.shape.cols * 4;
        const WeightFormat& format = format_of(p.type);
        return (p.shape.cols + format.columns - 1) / format.columns * 16 * format.bytes;
    }

    int64_t strips_of_tile(int id) const {
        const Param& p = param(id);
        return p.shape.rows ? tile_rows(p.type, p.shape) / 16 : 1;
    }

    // Marks every strip of every parameter as held or not, as the ranges say.
    void check_ranges() {
        for (size_t i = 0; i < held_.size(); ++i) held_[i].clear();
        for (const PlanTiles& range : residency_.tiles) {
            if (range.param < 1 || range.param > static_cast<int>(params_.size())) {
                fault("there is no parameter {}", range.param);
                return;
            }
            auto& marks = held_[static_cast<size_t>(range.param - 1)];
            const int64_t each = strips_of_tile(range.param), all = strips(range.param);
            const int64_t begin = range.first * each;
            if (range.last < range.first || range.first < 0 || range.last * each >= all) {
                fault("parameter {} has no tiles {} to {}", range.param, range.first, range.last);
                return;
            }
            if (begin != static_cast<int64_t>(marks.size()))
                fault("parameter {}: tile {} follows strip {}", range.param, range.first,
                      marks.size());
            const int64_t end = range.last * each + each;
            for (int64_t s = begin; s < end && s < all; ++s) marks.push_back(range.held);
            if (order_.empty() || order_.back() != range.param) order_.push_back(range.param);
        }
        for (int id = 1; id <= static_cast<int>(params_.size()); ++id) {
            const auto& marks = held_[static_cast<size_t>(id - 1)];
            if (static_cast<int64_t>(marks.size()) != strips(id))
                fault("parameter {}: {} of its {} strips are covered", id, marks.size(),
                      strips(id));
            else if (!param(id).shape.rows && !marks[0])
                fault("parameter {} is a vector and not held", id);
        }
    }

    void check_pool() {
        int64_t bytes = 0;
        for (int id = 1; id <= static_cast<int>(params_.size()); ++id)
            for (const bool held : held_[static_cast<size_t>(id - 1)])
                if (held) bytes += bytes_of_strip(id);
        if (bytes != residency_.pool)
            fault("{} bytes are held, the pool is {}", bytes, residency_.pool);
        if (bytes + residency_.windows > residency_.budget)
            fault("{} bytes are held and {} for reading, the budget is {}", bytes,
                  residency_.windows, residency_.budget);
        if (residency_.workers < 1) fault("there are {} workers", residency_.workers);
    }

    // Tables are counted by how many of so many matrices a token uses: streamed bytes of all of
    // them, times the number used, by the number of matrices.
    void count_choice(const PlanExpr& e) {
        const PlanExpr& table = e.args.at(1);
        const int64_t used = e.op->choices == Choices::made
                                 ? static_cast<int64_t>(e.args.at(3).number)
                                 : plan_.tensor(e.args.at(0).id).choices;
        for (int id = table.id; id <= table.last; ++id) {
            const auto& marks = held_[static_cast<size_t>(id - 1)];
            for (const bool held : marks)
                if (!held) choices_[table.last - table.id + 1] += used * bytes_of_strip(id);
        }
    }

    // A scan of a matrix asks for each of its outputs, 16 of them a strip.
    int64_t streamed_by(const PlanExpr& e) {
        int64_t bytes = 0;
        const bool scans = e.kind == PlanExpr::Kind::call && e.op->weight == WeightUse::scanned;
        const bool chooses = scans && e.op->locality == Locality::choice;
        if (scans && !chooses) {
            for (int id = e.args.at(1).id; id <= e.args.at(1).last; ++id) {
                const auto& marks = held_[static_cast<size_t>(id - 1)];
                if (std::ranges::find(scanned_, id) == scanned_.end()) scanned_.push_back(id);
                for (int64_t row = 0; row < param(id).shape.rows.value_or(0); row += 16)
                    if (!marks[static_cast<size_t>(row / 16)]) bytes += bytes_of_strip(id);
            }
        }
        if (chooses) count_choice(e);
        for (const PlanExpr& arg : e.args) bytes += streamed_by(arg);
        return bytes;
    }

    void replay() {
        int64_t bytes = 0;
        for (const PlanInsert& s : plan_.forward)
            bytes += streamed_by(s.data) + (s.target == 0 ? streamed_by(s.values) : 0);
        for (const PlanInsert& s : plan_.logits)
            bytes += streamed_by(s.data) + (s.target == 0 ? streamed_by(s.values) : 0);
        // The fractions of all tables, added up and rounded up.
        int64_t numerator = 0, denominator = 1;
        for (const auto& [matrices, of] : choices_) {
            const int64_t common = std::lcm(denominator, matrices);
            numerator = numerator * (common / denominator) + of * (common / matrices);
            denominator = common;
        }
        bytes += (numerator + denominator - 1) / denominator;
        if (bytes != residency_.read_bytes)
            fault("a pass reads {} bytes, {} were predicted", bytes, residency_.read_bytes);
        // What is scanned comes last, in this order, each parameter's ranges together.
        if (order_.size() != params_.size() ||
            !std::equal(scanned_.rbegin(), scanned_.rend(), order_.rbegin()))
            fault("the ranges are not in the order of the scans");
    }

    const Plan& plan_;
    const PlanResidency& residency_;
    const std::vector<Param>& params_;
    std::vector<std::vector<bool>> held_;  // by parameter and strip
    std::vector<int> order_;               // parameters as the ranges name them
    std::map<int64_t, int64_t> choices_;   // by the number of matrices: see count_choice
    std::vector<int> scanned_;             // parameters as statements scan them first
    std::vector<std::string> faults_;
};

}  // namespace

std::vector<std::string> verify_residency(const Plan& plan, const std::vector<Param>& params) {
    if (!plan.residency) return {};
    return Verifier(plan, params).run();
}

}  // namespace llmsql::compiler
