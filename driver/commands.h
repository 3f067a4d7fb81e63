// SPDX-License-Identifier: MIT
// The commands of llmsql that are more than a call of one program. Each returns an exit status.
#pragma once

#include "driver/arguments.h"

namespace llmsql::driver {

/// What is in a source, a model database or a plan.
int show(const RunRequest& request);

/// How fast a source's prompts are read and its tokens made, here and now.
int bench(const RunRequest& request);

}  // namespace llmsql::driver
