// SPDX-License-Identifier: MIT
// Names and values of what a statement has stored. See recorded.h.
#include "runtime/observe/recorded.h"

namespace llmsql {
namespace {

std::vector<const OutlineTensor*> slices_of(const Outline& outline, int64_t id) {
    std::vector<const OutlineTensor*> slices;
    for (const OutlineTensor& tensor : outline.tensors)
        if (tensor.slice_of == id) slices.push_back(&tensor);
    return slices;
}

std::string slice_name(const OutlineStep& step, const OutlineTensor& slice) {
    return step.name + "." + slice.name;
}

}  // namespace

std::vector<std::string> recorded_names(const Outline& outline, const OutlineStep& step) {
    if (step.stores) return {step.name + ".k", step.name + ".v"};
    if (!step.writes) return {};
    std::vector<std::string> names;
    for (const OutlineTensor* slice : slices_of(outline, *step.writes))
        names.push_back(slice_name(step, *slice));
    if (names.empty()) names.push_back(step.name);
    return names;
}

void for_each_recorded(const Outline& outline, const PassView& view,
                       const std::function<void(const std::string& name, const StoredValues&,
                                                int64_t position)>& take) {
    const OutlineStep& step = outline.steps[view.statement];
    if (step.stores && view.cache) {
        const int64_t count = view.cache->length(view.sequence, *step.stores) - view.position;
        for (const bool keys : {true, false})
            take(step.name + (keys ? ".k" : ".v"),
                 cache_values(*view.cache, view.sequence, *step.stores, view.position, count, keys),
                 view.position);
    }
    if (!step.writes) return;
    const int64_t position = view.position + view.first_row;
    const auto slices = slices_of(outline, *step.writes);
    for (const OutlineTensor* slice : slices)
        take(slice_name(step, *slice), tensor_values(*view.arena, slice->id), position);
    if (slices.empty()) take(step.name, tensor_values(*view.arena, *step.writes), position);
}

}  // namespace llmsql
