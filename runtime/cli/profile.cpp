// SPDX-License-Identifier: MIT
// Collecting a run's profile. See profile.h.
#include "runtime/cli/profile.h"

#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "page/page.h"
#include "runtime/cli/console.h"
#include "runtime/cli/timing.h"
#include "runtime/kernels/kernels.h"
#include "runtime/observe/profile_page.h"

namespace llmsql {

void check_profile_paths(const Options& options) {
    for (const auto& path : {options.profile_db, options.profile_html}) {
        if (path.empty() || path == "-") continue;
        std::error_code ignored;
        const auto folder =
            path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
        if (!std::filesystem::is_directory(folder, ignored))
            fail("{}: there is no folder {}", path.string(), folder.string());
    }
    if (!options.profile_html.empty()) {
        const auto page = output_path(options.profile_html, kPageStart, "a page");
        std::error_code none;
        // Where it is to be written beside: nothing is left of it.
        if (page != "-" &&
            (std::filesystem::is_regular_file(page, none) || !std::filesystem::exists(page, none)))
            TemporaryFile trial(page);
    }
    if (!options.profile_db.empty()) check_profile_db(options.profile_db);
}

void report_profile(const Program& program, const Options& options, std::vector<RunPhase> phases) {
    if (!options.profiles()) return;
    const RunStats stats = program.stats();
    RunProfile run{.outline = outline_of(program.plan()),
                   .plan = program.name(),
                   .model_db = options.db.string(),
                   .ignored = program.ignored_keys(),
                   .kernels = std::string(kernels().name),
                   .io = std::string(name_of(stats.io)),
                   .threads = stats.threads,
                   .held_bytes = stats.counters.loaded,
                   .peak_rss = peak_resident_bytes(),
                   .phases = std::move(phases)};
    if (options.profile) report(profile_text(run));
    if (!options.profile_db.empty()) write_profile_db(run, options.profile_db);
    if (!options.profile_html.empty())
        write_file_atomically(output_path(options.profile_html, kPageStart, "a page"),
                              profile_page(program.plan(), run));
}

OnePhase::OnePhase(const Program& program, const Options& options, const char* name)
    : program_(program), options_(options), name_(name) {}

void OnePhase::report() const {
    if (!options_.timing && !options_.profiles()) return;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
    RunPhase phase{name_, program_.stats().times, took.count()};
    if (options_.timing) llmsql::report(timing_text(name_, phase.times, phase.seconds));
    report_profile(program_, options_, {std::move(phase)});
}

}  // namespace llmsql
