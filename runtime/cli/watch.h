// SPDX-License-Identifier: MIT
// What --trace looks at while a run runs.
#pragma once

#include <memory>
#include <vector>

#include "plan/outline.h"
#include "plan/plan_file.h"
#include "runtime/cli/options.h"
#include "runtime/observe/trace.h"

namespace llmsql {

/// All observers that the options ask for, as one.
class Watch final : public PassObserver {
  public:
    /// Fails where the options name statements that the plan has not, or files that cannot be.
    Watch(const PlanFile& plan, const Options& options);
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// For ProgramOptions: null if nobody looks.
    PassObserver* observer() { return observers_.empty() ? nullptr : this; }

    void before(const PassView& view) override;
    void after(const PassView& view) override;

    /// The run has ended with this exit status: writes and says what there is. Returns the status,
    /// 3 instead of 0 if two runs part.
    int finish(int status);

  private:
    Outline outline_;
    std::vector<std::unique_ptr<PassObserver>> observers_;
    std::vector<RunObserver*> to_finish_;
};

}  // namespace llmsql
