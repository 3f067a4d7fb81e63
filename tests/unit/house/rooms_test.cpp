// SPDX-License-Identifier: MIT
// The rooms of the house and what they may use of each other, read from the #include lines:
// dependencies point one way, no two rooms go in a circle, SQLite's C API is known in one place,
// and no room is so large that its name no longer says what is in it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

// From the ground up: a room may include what stands before it, and nothing behind it.
constexpr std::string_view kShared[] = {"common", "jinja",  "operators", "plan",
                                        "page",   "sqlite", "database"};
constexpr std::string_view kCompiler[] = {
    "compiler/parse",  "compiler/check",   "compiler/ir",   "compiler/model",  "compiler/lower",
    "compiler/passes", "compiler/load",    "compiler/fuse", "compiler/memory", "compiler/emit",
    "compiler/page",   "compiler/install", "compiler",      "importer",        "driver"};
constexpr std::string_view kRuntime[] = {"runtime/kernels",  "runtime/weights",   "runtime/state",
                                         "runtime/compute",  "runtime/text",      "runtime/program",
                                         "runtime/generate", "runtime/session",   "runtime/observe",
                                         "runtime/cli",      "runtime/extension", "bindings"};

std::vector<std::string_view> wing(std::span<const std::string_view> rooms) {
    std::vector<std::string_view> all(std::begin(kShared), std::end(kShared));
    all.insert(all.end(), rooms.begin(), rooms.end());
    return all;
}

/// compiler/ and runtime/ have rooms of their own; of what lies in them deeper, the second folder
/// counts.
std::string room_of(const std::string& file) {
    const size_t first = file.find('/');
    const std::string top = file.substr(0, first);
    if (top != "compiler" && top != "runtime") return top;
    const size_t second = file.find('/', first + 1);
    return second == std::string::npos ? top : file.substr(0, second);
}

struct Source {
    std::string file, room, text;
};

std::vector<Source> read_sources() {
    const fs::path root = LLMSQL_SOURCE_DIR;
    std::vector<Source> sources;
    for (const char* top : {"common", "jinja", "operators", "plan", "page", "sqlite", "database",
                            "compiler", "importer", "driver", "runtime", "bindings"})
        for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
            const fs::path& path = entry.path();
            if (path.extension() != ".h" && path.extension() != ".cpp") continue;
            std::string file = fs::relative(path, root).generic_string();
            sources.push_back({file, room_of(file), read_file(path)});
        }
    return sources;
}

const std::vector<Source>& sources() {
    static const std::vector<Source> all = read_sources();
    return all;
}

/// What stands behind #include in each line that begins so, with its quotes or brackets.
std::vector<std::string> includes_of(const std::string& text) {
    constexpr std::string_view kInclude = "#include ";
    std::vector<std::string> names;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string_view line = std::string_view(text).substr(at, end - at);
        if (line.starts_with(kInclude)) names.emplace_back(line.substr(kInclude.size()));
        at = end + 1;
    }
    return names;
}

/// The room of ours that an include leads to; empty: none.
std::string room_of_include(const std::string& name) {
    if (name.size() < 3 || name.front() != '"' || name.find('/') == std::string::npos) return "";
    const std::string file = name.substr(1, name.size() - 2);
    return fs::exists(fs::path(LLMSQL_SOURCE_DIR) / file) ? room_of(file) : "";
}

/// Why a room may not use another; empty if it may.
std::string refusal(const std::string& room, const std::string& other) {
    if (room == other || other.empty()) return "";
    const bool in_runtime = room.starts_with("runtime/") || room == "bindings";
    const bool knows_sqlite = room == "sqlite" || room == "database" || room == "importer" ||
                              room == "driver" || room == "compiler/install" || in_runtime;
    if ((other == "sqlite" || other == "database") && !knows_sqlite)
        return room + " knows nothing of SQLite";
    const auto rooms = in_runtime ? wing(kRuntime) : wing(kCompiler);
    const auto from = std::ranges::find(rooms, room), to = std::ranges::find(rooms, other);
    if (from == rooms.end()) return room + " has no place in the list of rooms";
    if (to == rooms.end()) return other + " is not of the same wing";
    return to < from ? "" : other + " stands above it";
}

TEST(Rooms, UseOnlyWhatStandsBelowThem) {
    std::vector<std::string> found;
    size_t checked = 0;
    for (const Source& source : sources())
        for (const std::string& name : includes_of(source.text)) {
            const std::string why = refusal(source.room, room_of_include(name));
            if (!why.empty()) found.push_back(source.file + " includes " + name + ": " + why);
            ++checked;
        }
    EXPECT_GT(checked, 1000u);
    EXPECT_EQ(found, std::vector<std::string>());
}

TEST(Rooms, AreAllInTheListAndNoneIsEmpty) {
    std::map<std::string, size_t> files;
    for (const Source& source : sources()) ++files[source.room];
    std::vector<std::string> listed;
    for (const std::string_view room : wing(kCompiler)) listed.emplace_back(room);
    for (const std::string_view room : kRuntime) listed.emplace_back(room);
    for (const auto& [room, count] : files)
        EXPECT_NE(std::ranges::find(listed, room), listed.end()) << room << " is not in the list";
    for (const std::string& room : listed) EXPECT_GT(files[room], 0u) << room << " is empty";
}

TEST(Rooms, NoneHoldsMoreThanThirtyPercentOfTheLines) {
    std::map<std::string, size_t> lines;
    size_t all = 0;
    for (const Source& source : sources()) {
        const auto count = static_cast<size_t>(std::ranges::count(source.text, '\n'));
        lines[source.room] += count;
        all += count;
    }
    ASSERT_GT(all, 20000u);
    for (const auto& [room, count] : lines)
        EXPECT_LE(count * 100, all * 30) << room << " has " << count << " of " << all << " lines";
}

TEST(Rooms, SqlitesHeadersAreIncludedInOneRoomAlone) {
    std::vector<std::string> found;
    size_t there = 0;
    for (const Source& source : sources())
        for (const std::string& name : includes_of(source.text)) {
            if (name != "<sqlite3.h>" && name != "<sqlite3ext.h>" && name != "\"sqlite3.h\"")
                continue;
            ++there;
            if (source.room != "sqlite") found.push_back(source.file);
        }
    EXPECT_GT(there, 0u);
    EXPECT_EQ(found, std::vector<std::string>());
}

TEST(Rooms, WhatMayNotBeUsedIsFound) {
    EXPECT_EQ(includes_of("#include <sqlite3.h>\n// #include \"a/b.h\"\n#include \"plan/c.h\""),
              (std::vector<std::string>{"<sqlite3.h>", "\"plan/c.h\""}));
    EXPECT_EQ(room_of("runtime/kernels/avx2/kernels.cpp"), "runtime/kernels");
    EXPECT_EQ(room_of("compiler/main.cpp"), "compiler");
    EXPECT_EQ(room_of("sqlite/api.h"), "sqlite");
    EXPECT_NE(refusal("runtime/weights", "runtime/compute"), "");
    EXPECT_NE(refusal("runtime/program", "compiler/ir"), "");
    EXPECT_NE(refusal("compiler/emit", "runtime/program"), "");
    EXPECT_NE(refusal("compiler/model", "compiler/lower"), "");
    EXPECT_NE(refusal("compiler/emit", "sqlite"), "");
    EXPECT_NE(refusal("attic", "common"), "");
    EXPECT_EQ(refusal("compiler/install", "sqlite"), "");
    EXPECT_EQ(refusal("runtime/program", "runtime/compute"), "");
    EXPECT_EQ(refusal("importer", "compiler/load"), "");
    EXPECT_EQ(refusal("bindings", "sqlite"), "");
    EXPECT_NE(refusal("bindings", "importer"), "");
    EXPECT_EQ(refusal("common", ""), "");
}

}  // namespace
}  // namespace llmsql
