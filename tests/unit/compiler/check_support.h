// SPDX-License-Identifier: MIT
// What tests of the front share: graphs given as text, and files in a folder of their own.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "common/error.h"
#include "compiler/check/check.h"
#include "compiler/parse/parser.h"
#include "tests/unit/says.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql::compiler {

/// All errors of a graph file called t.graph with this text, as they are printed; "" if it is
/// sound.
inline std::string errors_in(const std::string& text) {
    try {
        const SourceFile source("t.graph", text);
        Diagnostics errors(source);
        const auto graph = parse_graph(source, errors);
        if (graph) check_graph(*graph, errors);
        return errors.text();
    } catch (const Error& error) {
        return error.what();
    }
}

/// For errors whose source line does not matter.
inline testing::AssertionResult starts_with(const std::string& text, const std::string& start) {
    if (text.starts_with(start)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << text << " does not start with " << start;
}

/// Only the messages: "line:column message" a line.
inline std::string messages_in(const std::string& text) {
    const std::string all = errors_in(text);
    std::string messages;
    size_t at = 0;
    while ((at = all.find("t.graph:", at)) != std::string::npos) {
        const size_t start = at + 8, end = std::min(all.find('\n', at), all.size());
        const std::string line = all.substr(start, end - start);
        const size_t mark = line.find(": error: ");
        if (mark == std::string::npos) {
            messages.append(line).append("\n");
        } else {
            messages.append(line, 0, mark).append(" ").append(line, mark + 9).append("\n");
        }
        at = end;
    }
    return messages;
}

/// A graph with one parameter w [n, n] and these lines as the body of its forward, from line 10 on.
inline std::string in_forward(const std::string& body) {
    std::string text = R"(graph t {
  dim n; dim m; dim h; const c = 2;
  param w : [n, n];
  block layer[n] {
    let even = index % 2 == 0; param a : [n]; param b : [n, m]; param wide : [m, n]; optional param o : [n];
  }
  forward(tokens: i32[T]) -> f32[T, n] {
    x = embed(w, tokens); for z in layer { x = rms_norm(x, z.a, 1); if has(z.o) { x = rms_norm(x, z.o, 1); }
      x = linear(linear(x, z.wide), z.b); }
)";
    text.append(body).append("\n    return x;\n  }\n}\n");
    return text;
}

using llmsql::test::TemporaryFolder;

/// `text` with every occurrence of `what` replaced.
inline std::string replaced(std::string text, const std::string& what, const std::string& by) {
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
        text.replace(at, what.size(), by);
    return text;
}

}  // namespace llmsql::compiler
