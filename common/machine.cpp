// SPDX-License-Identifier: MIT
// Reading /proc and the cgroup file systems. See machine.h.
//
// Where groups are, two files tell. /proc/self/cgroup has a line a hierarchy: "4:memory:/a/b" in
// v1, "0::/a/b" in v2. /proc/self/mountinfo has a line a mount: which group (field 4) is seen at
// which folder (field 5), and after a "-" the file system's type and, in v1, its controllers. In a
// container the group that is seen may be one within the machine's tree.
#include "common/machine.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace llmsql {
namespace {

namespace fs = std::filesystem;

template<class T>
std::optional<T> number_in(const fs::path& path) {
    std::ifstream file(path);
    T value{};
    if (file >> value) return value;
    return std::nullopt;
}

template<class T>
void lower(std::optional<T>& limit, std::optional<T> other) {
    if (other && (!limit || *other < *limit)) limit = other;
}

bool has_word(std::string_view list, std::string_view word) {
    for (size_t at = 0; at <= list.size();) {
        const size_t end = std::min(list.find(',', at), list.size());
        if (list.substr(at, end - at) == word) return true;
        at = end + 1;
    }
    return false;
}

// "\040" is a space: mountinfo's way of keeping its fields apart.
std::string unescaped(std::string_view field) {
    std::string text;
    for (size_t i = 0; i < field.size(); ++i) {
        int code = 0;
        const bool escape =
            field[i] == '\\' && i + 3 < field.size() &&
            std::from_chars(&field[i + 1], &field[i + 1] + 3, code, 8).ptr == &field[i + 1] + 3;
        text += escape ? static_cast<char>(code) : field[i];
        if (escape) i += 3;
    }
    return text;
}

// A mounted hierarchy.
struct Mount {
    fs::path group;           // that is seen at
    fs::path folder;          // here
    bool unified = false;     // v2
    std::string controllers;  // v1: among the options of the file system
};

std::vector<Mount> mounts(const fs::path& root) {
    std::vector<Mount> found;
    std::ifstream file(root / "proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        const size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
        std::string id, parent, device, group, folder, type, source, options;
        before >> id >> parent >> device >> group >> folder;
        after >> type >> source >> options;
        if (type == "cgroup2" || type == "cgroup")
            found.push_back({unescaped(group), unescaped(folder), type == "cgroup2", options});
    }
    if (found.empty()) {  // not told: where systems have them
        found.push_back({"/", "/sys/fs/cgroup", true, ""});
        for (const char* controller : {"memory", "cpu"})
            found.push_back({"/", fs::path("/sys/fs/cgroup") / controller, false, controller});
    }
    return found;
}

std::optional<double> quota_v2(const fs::path& group) {
    std::ifstream file(group / "cpu.max");
    double quota = 0, period = 0;  // "max 100000" is no quota
    if (!(file >> quota >> period) || quota <= 0 || period <= 0) return std::nullopt;
    return quota / period;
}

std::optional<double> quota_v1(const fs::path& group) {
    const double quota = number_in<double>(group / "cpu.cfs_quota_us").value_or(-1);
    const double period = number_in<double>(group / "cpu.cfs_period_us").value_or(0);
    if (quota <= 0 || period <= 0) return std::nullopt;
    return quota / period;
}

// What memory.stat says of files in the page cache; v1's lines that count the groups below, too,
// have a `prefix`.
uint64_t page_cache(const fs::path& statistics, const std::string& prefix) {
    std::ifstream file(statistics);
    std::string name;
    uint64_t sum = 0;
    for (uint64_t value = 0; file >> name >> value;)
        if (name == prefix + "inactive_file" || name == prefix + "active_file") sum += value;
    return sum;
}

// The page cache counts as left, as it does for MemAvailable: of a file that has been read twice it
// is "active". A limit that is beyond what a machine has, as v1 says that there is none, leaves
// that much too.
void lower_left(CgroupLimits& limits, const fs::path& group, std::optional<uint64_t> limit,
                const char* usage, const std::string& prefix) {
    if (!limit) return;
    const uint64_t used = number_in<uint64_t>(group / usage).value_or(0);
    const uint64_t busy = used - std::min(used, page_cache(group / "memory.stat", prefix));
    lower(limits.memory_left, std::optional(*limit > busy ? *limit - busy : 0));
}

// What a group and those around it, as far up as the mount shows them, allow.
void lower_by(CgroupLimits& limits, const fs::path& root, const Mount& mount,
              const std::string& group) {
    // Relative to what is mounted; a group outside of it (".." in a namespace) is not seen.
    fs::path below = fs::path(group).lexically_relative(mount.group);
    if (below.empty() || *below.begin() == "..") below = ".";
    const fs::path top = root / mount.folder.relative_path();
    const auto look_at = [&](const fs::path& folder) {
        if (mount.unified) {
            for (const char* name : {"memory.max", "memory.high"}) {
                const auto limit = number_in<uint64_t>(folder / name);
                lower(limits.memory, limit);
                lower_left(limits, folder, limit, "memory.current", "");
            }
            lower(limits.cpus, quota_v2(folder));
            return;
        }
        if (has_word(mount.controllers, "memory")) {
            const auto limit = number_in<uint64_t>(folder / "memory.limit_in_bytes");
            lower(limits.memory, limit);
            lower_left(limits, folder, limit, "memory.usage_in_bytes", "total_");
        }
        if (has_word(mount.controllers, "cpu")) lower(limits.cpus, quota_v1(folder));
    };
    fs::path folder = top;
    look_at(folder);
    for (const fs::path& part : below) {
        if (part == "." || part.empty()) continue;
        folder /= part;
        look_at(folder);
    }
}

// Processors that the affinity mask has; empty where the system does not say.
std::vector<int> allowed_processors() {
    // A mask that is too small for the machine is refused.
    for (size_t count = CPU_SETSIZE; count <= size_t{1} << 20; count *= 2) {
        const auto free_set = [](cpu_set_t* set) { CPU_FREE(set); };
        const std::unique_ptr<cpu_set_t, decltype(free_set)> mask(CPU_ALLOC(count), free_set);
        if (!mask) break;
        const size_t bytes = CPU_ALLOC_SIZE(count);
        CPU_ZERO_S(bytes, mask.get());
        if (sched_getaffinity(0, bytes, mask.get()) != 0) continue;
        std::vector<int> processors;
        for (size_t i = 0; i < count; ++i)
            if (CPU_ISSET_S(i, bytes, mask.get())) processors.push_back(static_cast<int>(i));
        return processors;
    }
    return {};
}

int within_quota(size_t processors) {
    const int most = std::max(1, static_cast<int>(processors));
    const auto quota = cgroup_limits().cpus;
    if (!quota || *quota >= most) return most;
    return std::max(1, static_cast<int>(*quota + 0.5));
}

std::optional<uint64_t> machine_memory(const fs::path& root = "/") {
    std::ifstream info(root / "proc/meminfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("MemAvailable:"))
            return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10) * 1024;
    return std::nullopt;
}

}  // namespace

CgroupLimits cgroup_limits(const std::string& root) {
    CgroupLimits limits;
    const std::vector<Mount> mounted = mounts(root);
    std::ifstream groups(fs::path(root) / "proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string group = line.substr(second + 1);
        for (const Mount& mount : mounted) {
            const bool same =
                mount.unified
                    ? controllers.empty()
                    : (has_word(controllers, "memory") && has_word(mount.controllers, "memory")) ||
                          (has_word(controllers, "cpu") && has_word(mount.controllers, "cpu"));
            if (same) lower_by(limits, root, mount, group);
        }
    }
    return limits;
}

uint64_t available_memory() {
    std::optional<uint64_t> least = machine_memory();
    lower(least, cgroup_limits().memory);
    return least.value_or(UINT64_MAX);
}

uint64_t free_memory(const std::string& root) {
    std::optional<uint64_t> least = machine_memory(root);
    lower(least, cgroup_limits(root).memory_left);
    return least.value_or(UINT64_MAX);
}

int usable_processors() {
    const std::vector<int> processors = allowed_processors();
    return within_quota(processors.empty() ? std::thread::hardware_concurrency()
                                           : processors.size());
}

int usable_cores() {
    const std::vector<int> processors = allowed_processors();
    if (processors.empty()) return within_quota(std::thread::hardware_concurrency());
    std::set<std::pair<int, int>> cores;  // (package, core)
    for (const int processor : processors) {
        const fs::path topology =
            "/sys/devices/system/cpu/cpu" + std::to_string(processor) + "/topology";
        cores.emplace(number_in<int>(topology / "physical_package_id").value_or(0),
                      number_in<int>(topology / "core_id").value_or(processor));
    }
    return within_quota(cores.size());
}

}  // namespace llmsql
