// SPDX-License-Identifier: MIT
// PassObserver: somebody who looks at what a pass stores, statement by statement.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/state/arena.h"
#include "runtime/state/kv_cache.h"

namespace llmsql {

/// What is stored when a statement is about to run, or has run: all that was stored before is
/// computed.
struct PassView {
    size_t statement = 0;   // among those of forward and logits, from 0
    uint64_t pass = 0;      // from 1
    int64_t position = 0;   // of the pass's first token
    int64_t first_row = 0;  // in logits: of the pass's tokens, the first whose row is computed
    int64_t sequence = 0;
    const Arena* arena = nullptr;
    const KvCache* cache = nullptr;  // null in a plan without one
};

/// Called by the thread that runs the program, which waits. What it throws ends the pass.
class PassObserver {
  public:
    virtual ~PassObserver() = default;
    virtual void before(const PassView& /*view*/) {}
    virtual void after(const PassView& view) = 0;
};

}  // namespace llmsql
