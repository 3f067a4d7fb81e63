// SPDX-License-Identifier: MIT
// What the system leaves this process: memory and processors, within the control groups that it is
// in, cgroup v1 or v2, its own and those around it. Nothing is cached: limits may change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace llmsql {

/// The least of what a process's control groups and the groups around them allow; absent: no limit.
struct CgroupLimits {
    std::optional<uint64_t> memory;  // bytes, the page cache included
    std::optional<double> cpus;      // processor time a time

    /// What is left of it: the least, over those groups, of the limit less what is in use; the
    /// page cache counts as left. Absent: no limit.
    std::optional<uint64_t> memory_left;
};

/// Reads proc/self/cgroup, proc/self/mountinfo and the file systems that they name, below `root`,
/// which tests set. What cannot be read limits nothing.
CgroupLimits cgroup_limits(const std::string& root = "/");

/// Bytes: the least of what the machine has available (MemAvailable) and the limits of the
/// process's memory cgroups. UINT64_MAX where the system does not say.
uint64_t available_memory();

/// Bytes that this process could take more than it has, without anything being swapped out or
/// killed: the least of the machine's MemAvailable and, for each memory cgroup of the process that
/// has a limit and those around it, what the limit leaves beside what the group has in use; files
/// that it has read and does not use count as free. UINT64_MAX where the system does not say. Reads
/// below `root` as cgroup_limits() does.
uint64_t free_memory(const std::string& root = "/");

/// Processors that this process may keep busy: its affinity mask and its cgroups' CPU quota
/// respected, never less than 1.
int usable_processors();

/// As usable_processors(), but threads of one core count once.
int usable_cores();

}  // namespace llmsql
