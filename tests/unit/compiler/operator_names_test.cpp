// SPDX-License-Identifier: MIT
// Nothing but the operator table and the runtime's one list of functions knows what operators are
// called: the sources are searched for the names that the table has.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "common/files.h"
#include "operators/operators.h"

namespace llmsql {
namespace {

namespace fs = std::filesystem;

/// A row of the lists that say which C++ function computes which operator.
bool names_a_function(const std::string& file, const std::string& line) {
    static const std::regex kRow(R"(^ *\{\.sql = "\w+", \.(scalar|aggregate|inspect) = op_\w+)");
    return file.starts_with("runtime/compute/") && std::regex_search(line, kRow);
}

/// The code of a line: without what stands behind `//`, unless that is in a string.
std::string code_of(const std::string& line) {
    bool quoted = false;
    for (size_t at = 0; at + 1 < line.size(); ++at) {
        if (line[at] == '\\') {
            ++at;
            continue;
        }
        if (line[at] == '"') quoted = !quoted;
        if (!quoted && line[at] == '/' && line[at + 1] == '/') return line.substr(0, at);
    }
    return line;
}

/// Why a line of a file knows operators by name; empty if it does not.
std::string knows_names(const std::string& file, const std::string& line) {
    if (names_a_function(file, line)) return "";
    const std::string code = code_of(line);
    for (const Operator& op : operators())
        for (const std::string_view name : {op.name, op.sql}) {
            // In a plan, and in what shows one, "heads" is a column of its tables.
            const bool never_there = op.sql.empty() && !file.starts_with("compiler/");
            if (name.empty() || never_there) continue;
            for (const char quote : std::string_view(file.ends_with(".js") ? "\"'" : "\""))
                if (code.find(quote + std::string(name) + quote) != std::string::npos)
                    return "names " + std::string(name);
        }
    static const std::regex kCompared(
        R"(\bop(->|\.)(op->)?(name|sql)\s*[!=]=|[!=]=\s*\w*\.?(op)(->|\.)(name|sql)\b|)"
        R"(\b(op|o)(->|\.)(op(->|\.))?(name|sql)(\.|->)(starts_with|ends_with|find|compare)\()");
    if (std::regex_search(code, kCompared)) return "compares an operator's name";
    return "";
}

std::vector<std::string> found_in(const std::string& file, const std::string& text) {
    std::vector<std::string> found;
    size_t number = 1;
    for (size_t at = 0; at < text.size(); ++number) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const std::string why = knows_names(file, text.substr(at, end - at));
        if (!why.empty()) found.push_back(file + ":" + std::to_string(number) + ": " + why);
        at = end + 1;
    }
    return found;
}

TEST(OperatorNames, AreKnownToTheTableAndTheListsOfFunctionsAlone) {
    const fs::path root = LLMSQL_SOURCE_DIR;
    std::vector<std::string> found;
    size_t files = 0;
    for (const char* room :
         {"common", "compiler", "database", "importer", "page", "plan", "runtime"})
        for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
            const fs::path& path = entry.path();
            const std::string file = fs::relative(path, root).generic_string();
            if (path.extension() != ".cpp" && path.extension() != ".h" && path.extension() != ".js")
                continue;
            ++files;
            // What config.json files say, in words of their own.
            if (file == "importer/hf_classes.cpp") continue;
            for (std::string& each : found_in(file, read_file(path)))
                found.push_back(std::move(each));
        }
    EXPECT_GT(files, 200u);
    EXPECT_EQ(found, std::vector<std::string>());
}

TEST(OperatorNames, AreFoundWhereTheyAre) {
    for (const Operator& op : operators()) {
        if (!op.sql.empty()) {
            EXPECT_NE(knows_names("plan/x.cpp", "if (s == \"" + std::string(op.sql) + "\") f();"),
                      "");
        }
        if (!op.name.empty()) {
            EXPECT_NE(
                knows_names("compiler/x.cpp", "case_of(\"" + std::string(op.name) + "\"); // x"),
                "");
        }
    }
    for (const char* line :
         {"if (op.name == kLinear)", "if (o.op->name != other)", "return e.op->sql == what;",
          "if (what == op.name)", "e.op->sql.starts_with(prefix)", "if (x == e.op->name)",
          "kind: 'attention',"})
        EXPECT_NE(knows_names("page/x.js", line), "") << line;
    for (const char* line :
         {"name_of(op.name);", "// \"linear\" is one", "fail(\"llm_rows of what?\");",
          "const std::string url = \"a//b\"; f(op.name);", "row[\"heads\"]"})
        EXPECT_EQ(knows_names("page/x.cpp", line), "") << line;
}

}  // namespace
}  // namespace llmsql
