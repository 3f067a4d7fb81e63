// SPDX-License-Identifier: MIT
// Searching a growing text for stop texts.
#include "runtime/text/stop_filter.h"

#include <algorithm>
#include <utility>

namespace llmsql {
namespace {

/// Bytes at the end of `text` that are the beginning of `stop`.
size_t beginning_at_end(std::string_view text, std::string_view stop) {
    for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length)
        if (text.ends_with(stop.substr(0, length))) return length;
    return 0;
}

}  // namespace

StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
    std::erase(stops_, std::string());
}

std::string StopFilter::push(std::string_view bytes) {
    if (stopped_) return {};
    held_ += bytes;
    size_t first = std::string::npos;
    size_t hold = 0;
    for (const std::string& stop : stops_) {
        first = std::min(first, held_.find(stop));
        hold = std::max(hold, beginning_at_end(held_, stop));
    }
    stopped_ = first != std::string::npos;
    std::string out = held_.substr(0, stopped_ ? first : held_.size() - hold);
    held_.erase(0, stopped_ ? held_.size() : out.size());
    return out;
}

std::string StopFilter::finish() {
    return std::exchange(held_, {});
}

}  // namespace llmsql
