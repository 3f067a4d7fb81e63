// How much memory the system leaves this process, its page cache included.
#pragma once

#include <cstdint>

namespace llmsql {

/// Bytes: the least of what the machine has available (MemAvailable) and the limits of the
/// process's memory cgroups (v1 and v2). UINT64_MAX where the system does not say.
uint64_t available_memory();

}  // namespace llmsql
