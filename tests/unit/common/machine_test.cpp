// SPDX-License-Identifier: MIT
// Limits of control groups, in trees of files like those that systems show.
#include "common/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/unit/temporary_folder.h"

namespace llmsql {
namespace {

class CgroupTest : public testing::Test {
  protected:
    CgroupLimits limits(const std::map<std::string, std::string>& files) {
        const test::TemporaryFolder root;
        for (const auto& [name, content] : files) root.write(name, content);
        return cgroup_limits(root.path());
    }
};

const std::string kV2 = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string kV1 =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
const std::string kV1Groups = "5:cpuset:/other\n4:memory:/a/b\n2:cpu,cpuacct:/a/b\n0::/\n";

TEST_F(CgroupTest, TheProcessesOwnGroupAndThoseAroundIt) {
    const std::map<std::string, std::string> tree = {
        {"proc/self/mountinfo", kV2},
        {"proc/self/cgroup", "0::/system.slice/a.service\n"},
        {"sys/fs/cgroup/cpu.stat", "usage_usec 1\n"},
        {"sys/fs/cgroup/system.slice/cpu.max", "400000 100000\n"},
        {"sys/fs/cgroup/system.slice/memory.max", "3000\n"},
        {"sys/fs/cgroup/system.slice/a.service/cpu.max", "max 100000\n"},
        {"sys/fs/cgroup/system.slice/a.service/memory.max", "5000\n"},
        {"sys/fs/cgroup/system.slice/other.service/cpu.max", "1000 100000\n"},
    };
    EXPECT_EQ(limits(tree).cpus, 4.0);
    EXPECT_EQ(limits(tree).memory, 3000u);
    auto own = tree;
    own["sys/fs/cgroup/system.slice/a.service/cpu.max"] = "150000 100000\n";
    own["sys/fs/cgroup/system.slice/a.service/memory.high"] = "2000\n";
    EXPECT_EQ(limits(own).cpus, 1.5);
    EXPECT_EQ(limits(own).memory, 2000u);
}

TEST_F(CgroupTest, FirstVersionsHierarchies) {
    const std::map<std::string, std::string> tree = {
        {"proc/self/mountinfo", kV1},
        {"proc/self/cgroup", kV1Groups},
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "50000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"},
        {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
        {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "7000\n"},
        {"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9000\n"},
    };
    EXPECT_EQ(limits(tree).cpus, 0.5);
    EXPECT_EQ(limits(tree).memory, 7000u);
}

// A container sees a part of the tree; its own name there may be the machine's, or none.
TEST_F(CgroupTest, WithinAContainer) {
    const std::string part = "30 20 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    for (const char* group : {"0::/docker/x/job\n", "0::/docker/x\n", "0::/\n", "0::/../..\n"}) {
        const CgroupLimits found = limits({
            {"proc/self/mountinfo", part},
            {"proc/self/cgroup", group},
            {"sys/fs/cgroup/cpu.max", "300000 100000\n"},
            {"sys/fs/cgroup/job/cpu.max", "100000 100000\n"},
            {"sys/fs/cgroup/memory.max", "1234\n"},
        });
        EXPECT_EQ(found.cpus, std::string(group).ends_with("job\n") ? 1.0 : 3.0) << group;
        EXPECT_EQ(found.memory, 1234u) << group;
    }
}

TEST_F(CgroupTest, SpacesInNames) {
    EXPECT_EQ(limits({
                         {"proc/self/mountinfo",
                          "30 20 0:26 / /sys/my\\040groups rw - cgroup2 cgroup2 rw\n"},
                         {"proc/self/cgroup", "0::/a b/c:d\n"},
                         {"sys/my groups/a b/c:d/cpu.max", "20 10"},
                     })
                  .cpus,
              2.0);
}

TEST_F(CgroupTest, WhatIsNotToldLimitsNothing) {
    const std::map<std::string, std::string> trees[] = {
        {},
        {{"proc/self/cgroup", "0::/a\n"}},
        {{"proc/self/mountinfo", kV2}},
        {{"proc/self/mountinfo", "x - cgroup2\n - \n1 2 3 \\ \\xyz - cgroup\n"},
         {"proc/self/cgroup", ":\n::\n0\n\n"}},
        {{"proc/self/mountinfo", kV2},
         {"proc/self/cgroup", "0::/a\n"},
         {"sys/fs/cgroup/a/cpu.max", "max 100000"},
         {"sys/fs/cgroup/a/memory.max", "max"}},
        {{"proc/self/mountinfo", kV2},
         {"proc/self/cgroup", "0::/a\n"},
         {"sys/fs/cgroup/a/cpu.max", "5 0"}},
    };
    for (const auto& tree : trees) {
        EXPECT_EQ(limits(tree).cpus, std::nullopt);
        EXPECT_EQ(limits(tree).memory, std::nullopt);
    }
    // Without mountinfo, where systems have them.
    EXPECT_EQ(limits({{"proc/self/cgroup", "0::/a\n"}, {"sys/fs/cgroup/a/cpu.max", "20 10"}}).cpus,
              2.0);
}

TEST(Machine, ProcessorsAreThoseOfTheMask) {
    const int all = usable_processors();
    EXPECT_GE(all, 1);
    EXPECT_GE(all, usable_cores());
    EXPECT_GT(available_memory(), 0u);
    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
        if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_processors(), 1);
    EXPECT_EQ(usable_cores(), 1);
    sched_setaffinity(0, sizeof before, &before);
}

TEST_F(CgroupTest, WhatIsLeftOfALimitIsWithoutWhatIsInUse) {
    std::map<std::string, std::string> tree = {
        {"proc/self/mountinfo", kV2},
        {"proc/self/cgroup", "0::/a/b\n"},
        {"sys/fs/cgroup/a/memory.max", "10000\n"},
        {"sys/fs/cgroup/a/memory.current", "7000\n"},
        {"sys/fs/cgroup/a/memory.stat",
         "anon 1000\ninactive_file 800\nactive_file 700\nfile 2000\n"},
        {"sys/fs/cgroup/a/b/memory.max", "max\n"},
        {"sys/fs/cgroup/a/b/memory.current", "6000\n"},
    };
    EXPECT_EQ(limits(tree).memory_left, 4500u);
    tree["sys/fs/cgroup/a/b/memory.high"] = "6100\n";
    EXPECT_EQ(limits(tree).memory_left, 100u);
    tree["sys/fs/cgroup/a/b/memory.high"] = "5000\n";
    EXPECT_EQ(limits(tree).memory_left, 0u);
    tree["sys/fs/cgroup/a/b/memory.stat"] = "inactive_file 9000\n";  // more than is in use
    EXPECT_EQ(limits(tree).memory_left, 4500u);
    const std::map<std::string, std::string> first = {
        {"proc/self/mountinfo", kV1},
        {"proc/self/cgroup", kV1Groups},
        {"sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9000\n"},
        {"sys/fs/cgroup/memory/a/memory.usage_in_bytes", "5000\n"},
        {"sys/fs/cgroup/memory/a/memory.stat",
         "inactive_file 1\ntotal_inactive_file 300\ntotal_active_file 400\n"},
        {"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"},
    };
    EXPECT_EQ(limits(first).memory_left, 4700u);
    EXPECT_FALSE(limits({{"proc/self/mountinfo", kV2}}).memory_left);
}

TEST(FreeMemory, IsTheLeastOfMachineAndGroups) {
    const test::TemporaryFolder root;
    EXPECT_EQ(free_memory(root.path()), UINT64_MAX);
    root.write("proc/self/mountinfo", kV2);
    root.write("proc/self/cgroup", "0::/a\n");
    root.write("sys/fs/cgroup/a/memory.max", "1048576\n");
    root.write("sys/fs/cgroup/a/memory.current", "48576\n");
    EXPECT_EQ(free_memory(root.path()), 1'000'000u);
    root.write("proc/meminfo", "MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable:    512 kB\n");
    EXPECT_EQ(free_memory(root.path()), 512u * 1024);
    EXPECT_LT(free_memory(), UINT64_MAX);
}

}  // namespace
}  // namespace llmsql
