// SPDX-License-Identifier: MIT
// PageRefill: a file that others have read lies in the page cache in small pages, in which using it
// where it is mapped takes half as long again for as long as it stays there. This has them replaced
// by huge ones (common/page_cache.h), a part at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/weights/model_file.h"

namespace llmsql {

/// For one thread, which calls it while nothing reads through the mapping.
class PageRefill {
  public:
    explicit PageRefill(std::shared_ptr<ModelFile> file);

    /// When a pass or its logits have ended: has a part replaced, once the run has gone on for so
    /// long that this is likely to pay, which depends on how fast the device is; until all are, or
    /// pages stay, as another process has them mapped. Whether this was the last part.
    bool after_turn();

    /// Whether nothing is left to be done, be it in vain.
    bool ended() const { return ended_; }

  private:
    bool replace_part();

    std::shared_ptr<ModelFile> file_;
    std::shared_ptr<const FileMapping> mapping_;
    uint64_t at_ = 0;  // what lies before it is replaced
    int turns_ = 0;
    double seconds_a_byte_ = 0;  // what replacing takes; unknown before the first part
    bool ended_ = false;
};

}  // namespace llmsql
