// SPDX-License-Identifier: MIT
// AnswerText: the text of picked tokens on its way out: stop texts are cut off, characters stay
// whole.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/utf8.h"
#include "runtime/text/stop_filter.h"

namespace llmsql {

class AnswerText {
  public:
    explicit AnswerText(const std::vector<std::string>& stops) : stops_(stops) {}

    /// What can be shown after these bytes.
    std::string push(std::string_view bytes) { return characters_.push(stops_.push(bytes)); }
    /// The rest, at the end.
    std::string finish() {
        std::string rest = characters_.push(stops_.finish());
        return rest + characters_.finish();
    }
    bool stopped() const { return stops_.stopped(); }

  private:
    StopFilter stops_;
    Utf8Stream characters_;
};

}  // namespace llmsql
