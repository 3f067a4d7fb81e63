// Reading /proc and the cgroup file systems. See memory_limit.h.
#include "runtime/storage/memory_limit.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace llmsql {
namespace {

uint64_t number_in(const std::filesystem::path& file) {
    std::ifstream in(file);
    uint64_t value = 0;
    return in >> value ? value : UINT64_MAX;  // "max" is no number
}

// The least limit of a group and those above it.
uint64_t limit_of(const std::filesystem::path& root, const std::string& group, const char* name) {
    uint64_t least = UINT64_MAX;
    for (std::filesystem::path path = std::filesystem::path(group).relative_path();;
         path = path.parent_path()) {
        least = std::min(least, number_in(root / path / name));
        if (path.empty()) return least;
    }
}

uint64_t cgroup_limit() {
    uint64_t least = UINT64_MAX;
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        // "4:memory:/some/group" (v1) or "0::/some/group" (v2)
        const size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string group = line.substr(second + 1);
        if (controllers == "memory")
            least =
                std::min(least, limit_of("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
        else if (controllers.empty())
            least = std::min(least, limit_of("/sys/fs/cgroup", group, "memory.max"));
    }
    return least;
}

uint64_t machine_memory() {
    std::ifstream info("/proc/meminfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("MemAvailable:"))
            return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10) * 1024;
    return UINT64_MAX;
}

}  // namespace

uint64_t available_memory() {
    return std::min(machine_memory(), cgroup_limit());
}

}  // namespace llmsql
