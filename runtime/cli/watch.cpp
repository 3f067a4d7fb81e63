// SPDX-License-Identifier: MIT
// Observers of a run. See watch.h.
#include "runtime/cli/watch.h"

#include "common/error.h"
#include "runtime/cli/console.h"

namespace llmsql {
namespace {

constexpr int kParted = 3;

void say(const std::string& line) {
    end_line_of_terminal();
    report(line);
}

}  // namespace

Watch::Watch(const PlanFile& plan, const Options& options) {
    if (!options.watches()) return;
    outline_ = outline_of(plan);
    if (!options.trace.empty())
        observers_.push_back(make_printer(outline_, options.trace, options.trace_passes, say));
    const auto add = [&](std::unique_ptr<RunObserver> observer) {
        to_finish_.push_back(observer.get());
        observers_.push_back(std::move(observer));
    };
    if (!options.compare.empty()) add(make_comparer(outline_, options.compare, options.tolerance));
    if (!options.trace_db.empty()) add(make_trace_writer(outline_, options.trace_db));
}

void Watch::before(const PassView& view) {
    for (const auto& observer : observers_) observer->before(view);
}

void Watch::after(const PassView& view) {
    for (const auto& observer : observers_) observer->after(view);
}

int Watch::finish(int status) {
    bool same = true;
    for (RunObserver* observer : to_finish_) same = observer->finish() && same;
    return status == 0 && !same ? kParted : status;
}

}  // namespace llmsql
