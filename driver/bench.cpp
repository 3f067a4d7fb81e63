// SPDX-License-Identifier: MIT
// llmsql bench: one run of llmsql-run, whose statistics are what is told.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "common/error.h"
#include "common/files.h"
#include "database/plans.h"
#include "driver/commands.h"
#include "driver/prepare.h"
#include "driver/processes.h"
#include "plan/outline.h"
#include "plan/plan_file.h"

namespace llmsql::driver {
namespace {

// Of the plan that is measured; of those that are installed in a database, the least.
int64_t context_of(const RunRequest& request, const ReadyModel& prepared) {
    int64_t context = request.context.value_or(1024);
    if (prepared.plan.empty())
        for (const auto& [name, text] : plans_installed_in(prepared.database).texts)
            context = std::min(context, outline_of(parse_plan(text, name)).context);
    return context;
}

}  // namespace

int bench(const RunRequest& request) {
    refuse_run_options(request, "bench");
    const ReadyModel prepared = prepare(request);
    // Words of a token or two each. Where the context is small, fewer of both.
    const int64_t context = context_of(request, prepared);
    const int64_t words = std::max<int64_t>(1, std::min<int64_t>(256, context / 4));
    const int64_t tokens = std::max<int64_t>(1, std::min<int64_t>(64, context / 4));
    std::string prompt = "word";
    for (int64_t i = 1; i < words; ++i) prompt += " word";
    std::vector<std::string> options = request.run_options;
    options.insert(options.end(), {"--prompt", prompt, "--predict", fmt::format("{}", tokens),
                                   "--ignore-eos", "--temp", "0", "--seed", "1"});
    const Ended ended =
        run_program("llmsql-run", prepared.arguments(options), Channel::dropped, Channel::captured);
    std::string figures;
    for (size_t at = 0; at < ended.errors.size();) {
        const size_t end = std::min(ended.errors.find('\n', at), ended.errors.size());
        const std::string line = ended.errors.substr(at, end - at);
        const bool figure = line.starts_with("prefill: ") || line.starts_with("decode: ");
        if (ended.status == 0 && figure)
            figures += line + "\n";
        else if (!line.empty())
            report(line + "\n");
        at = end + 1;
    }
    if (!figures.empty()) write_file_atomically("-", figures);
    return ended.status;
}

}  // namespace llmsql::driver
