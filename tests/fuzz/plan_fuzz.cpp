// SPDX-License-Identifier: MIT
// Fuzz target: plan.sql, edited, run over a tiny model, and read as what shows plans reads it: from
// its text alone, whether SQLite would take it or not. The number of statements that it must end in
// is put right first.
#include "page/page.h"
#include "plan/outline.h"
#include "plan/select.h"
#include "tests/fuzz/tiny_program.h"

namespace {

using namespace llmsql;

void show(const std::string& text) {
    const PlanFile plan = parse_plan(text, "plan.sql");
    const Outline outline = outline_of(plan);
    for (const OutlineStep& step : outline.steps) {
        outline.kind(step);
        outline.weight_bytes(step);
        outline.streamed_bytes(step);
        select_steps(outline, step.name);
    }
    page_html(plan_json(plan, outline));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const fuzz::Folder folder;
    const std::string text = fuzz::with_its_count(folder, std::string(fuzz::text_of(data, size)));
    fuzz::answers([&] { show(text); });
    if (fuzz::run_plan(fuzz::text_of(data, size))) ++fuzz::accepted;
    return 0;
}
