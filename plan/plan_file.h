// SPDX-License-Identifier: MIT
// PlanFile: a plan.sql cut into sections and statements, before any of it runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace llmsql {

struct PlanStatement {
    std::string sql;      // without the comments before it
    int line = 0;         // of its first word, from 1
    std::string comment;  // the lines of comments before it, without their dashes
};

struct PlanSection {
    std::string name;                     // "init", "forward", "logits", "chat", "stop"
    std::vector<std::string> parameters;  // ":tokens", …
    int line = 0;
    std::vector<PlanStatement> statements;
};

struct PlanFile {
    std::filesystem::path path;       // or, of a plan that lies in a database, what to call it
    std::vector<std::string> header;  // the lines of comments before the first section
    std::vector<PlanSection> sections;

    const PlanSection* find(const std::string& name) const;
};

/// Reads and cuts a plan (docs/plan-format.md). Fails on what is not a plan, on another version, on
/// a truncated plan (no `--@ end`, or another number of statements than it says), and on unknown,
/// repeated or missing sections.
PlanFile read_plan(const std::filesystem::path& path);

/// Cuts a plan's text, as read_plan() does a file's; `path` is what errors call it.
PlanFile parse_plan(const std::string& text, const std::filesystem::path& path);

}  // namespace llmsql
