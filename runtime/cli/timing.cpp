// SPDX-License-Identifier: MIT
// The block of --profile=passes. See timing.h.
#include "runtime/cli/timing.h"

#include <fmt/core.h>

#include "common/error.h"

namespace llmsql {

std::string timing_text(const char* name, const PassTimes& times, double seconds) {
    if (times.passes == 0) return {};
    const auto passes = static_cast<double>(times.passes);
    const auto a_pass = [&](uint64_t count) { return static_cast<double>(count) / passes; };
    std::string text = fmt::format(
        "timing of {}: {}, {}; a pass: {:.2f} ms, {:.0f} statements, {:.0f} "
        "jobs\n",
        name, counted(times.tokens, "token"), counted(times.passes, "pass", "es"),
        seconds / passes * 1e3, a_pass(times.statements), a_pass(times.jobs));
    const auto line = [&](const char* part, double part_seconds) {
        text += fmt::format("  {:<18} {:9.3f} ms {:6.2f} %\n", part, part_seconds / passes * 1e3,
                            seconds > 0 ? part_seconds / seconds * 100 : 0);
    };
    line("computing", times.computing);
    line("reading", times.reading);
    line("SQL", times.sql);
    line("hand-offs", times.waiting);
    line("sampling and text", seconds - times.total);
    return text;
}

}  // namespace llmsql
