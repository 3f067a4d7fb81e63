// What each function of the extension takes and does, with an example: docs/sql-reference.md is
// made from it, and so is the table llm_functions.
#pragma once

#include <span>

namespace llmsql {

struct FunctionReference {
    const char* name;
    const char* call;         // "llm_generate(prompt [, options])"
    const char* description;  // Markdown
    const char* example;      // SQL that runs on the tiny model of the tests and on any other
};

std::span<const FunctionReference> function_reference();

}  // namespace llmsql
