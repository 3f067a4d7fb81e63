// SPDX-License-Identifier: MIT
// docs/architecture.md is true of the tree: its table has every room, and the functions and types
// that its drawings go through are there.
#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>

#include "common/files.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

std::string read_map() {
    return read_file(fs::path(LLMSQL_SOURCE_DIR) / "docs/architecture.md");
}

bool is_name(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

std::set<std::string> words_of(std::string_view text) {
    std::set<std::string> words;
    for (size_t at = 0; at < text.size();) {
        size_t end = at;
        while (end < text.size() && is_name(text[end])) ++end;
        if (end > at) words.emplace(text.substr(at, end - at));
        at = end + 1;
    }
    return words;
}

/// The names that are called in the drawings: those before a bracket that is no file's, statement's
/// or table's.
std::set<std::string> calls_of(const std::string& map) {
    std::set<std::string> names;
    for (size_t at = map.find("\n```\nllmsql-run"); at < map.size();) {
        const size_t bracket = map.find('(', at);
        if (bracket == std::string::npos) break;
        size_t begin = bracket;
        while (begin > 0 && is_name(map[begin - 1])) --begin;
        if (begin < bracket) names.insert(map.substr(begin, bracket - begin));
        at = bracket + 1;
    }
    return names;
}

TEST(Map, HasEveryRoom) {
    const std::string map = read_map();
    const fs::path root = LLMSQL_SOURCE_DIR;
    size_t rooms = 0;
    for (const char* wing : {"", "compiler", "runtime"})
        for (const auto& entry : fs::directory_iterator(root / wing)) {
            const std::string name = entry.path().filename().string();
            if (!entry.is_directory() || name.starts_with('.') || name.starts_with("build") ||
                name == "downloads" || name == "dist" || name == "docs" || name == "scripts" ||
                name == "__pycache__")
                continue;
            ++rooms;
            EXPECT_NE(map.find("`" + name + "/`"), std::string::npos) << name << " is not in it";
        }
    EXPECT_GT(rooms, 25u);
}

TEST(Map, GoesThroughFunctionsThatAreThere) {
    const std::set<std::string> names = calls_of(read_map());
    EXPECT_GT(names.size(), 15u);
    std::set<std::string> there;
    for (const char* top : {"common", "plan", "sqlite", "runtime"})
        for (const auto& entry :
             fs::recursive_directory_iterator(fs::path(LLMSQL_SOURCE_DIR) / top))
            if (entry.path().extension() == ".h" || entry.path().extension() == ".cpp")
                there.merge(words_of(read_file(entry.path())));
    for (const std::string& name : names) EXPECT_TRUE(there.contains(name)) << name;
}

}  // namespace
}  // namespace llmsql
