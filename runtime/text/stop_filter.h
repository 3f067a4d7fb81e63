// SPDX-License-Identifier: MIT
// StopFilter: lets generated text through until one of the stop texts appears.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

/// Bytes that may be the beginning of a stop text are held back until it is known whether they are:
/// nothing of a stop text ever gets through.
class StopFilter {
  public:
    /// Empty stop texts are ignored.
    explicit StopFilter(std::vector<std::string> stops);

    /// What gets through of the bytes held back and `bytes`. After a stop text was found, nothing.
    std::string push(std::string_view bytes);

    /// True once a stop text was found.
    bool stopped() const { return stopped_; }

    /// The end of the text: what was held back, unless a stop text was found.
    std::string finish();

  private:
    std::vector<std::string> stops_;
    std::string held_;
    bool stopped_ = false;
};

}  // namespace llmsql
