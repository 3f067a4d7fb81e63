// SPDX-License-Identifier: MIT
// The graph language's syntax: its tree as text, and the wording and place of syntax errors.
#include "check_support.h"
#include "common/files.h"
#include "compiler/load/load.h"

namespace llmsql::compiler {
namespace {

std::string ast_of(const std::string& text) {
    const SourceFile source("t.graph", text);
    Diagnostics errors(source);
    const auto graph = parse_graph(source, errors);
    return graph ? to_text(*graph) : errors.text();
}

std::string expression(const std::string& text) {
    return to_text(parse_expression(text));
}

TEST(ParseGraph, EveryDeclarationAndStatement) {
    EXPECT_EQ(ast_of(R"(
// a comment
graph tiny @gguf("a", "b") @hf("C") {
  dim n @gguf("x.n", rows("w")); const eps = 1e-5; let half = n / 2 @hf(is("kind", "a"));
  require n % 2 == 0, "even"; require n > 1;
  param w : [n, 2*n + 1] @gguf("w", unpermute(n)); param out : [n] = w;
  block layer[n] { let last = index == n - 1; optional param bias : [n]; }
  forward(tokens: i32[T]) -> f32[T, n] {
    x = embed(w, tokens);
    for l in layer { if l.last && has(l.bias) { x = -3 * x; } else if !l.last { y = 1; } else { } }
    if true { }
    return attention(x, x, x, scale = c ? 1 : d ? 2 : 3);
  }
}
)"),
              R"(graph tiny @gguf("a", "b") @hf("C") {
  dim n @gguf("x.n", rows("w"));
  const eps = 1e-05;
  let half = (n / 2) @hf(is("kind", "a"));
  require ((n % 2) == 0), "even";
  require (n > 1);
  param w: [n, ((2 * n) + 1)] @gguf("w", unpermute(n));
  param out: [n] = w;
  block layer[n] {
    let last = (index == (n - 1));
    optional param bias: [n];
  }
  forward(tokens: i32[T]) -> f32[T, n] {
    x = embed(w, tokens);
    for l in layer {
      if (l.last && has(l.bias)) {
        x = (-3 * x);
      } else if !l.last {
        y = 1;
      } else {
      }
    }
    if true {
    }
    return attention(x, x, x, scale = (c ? 1 : (d ? 2 : 3)));
  }
}
)");
}

TEST(ParseGraph, TheTreesTextIsAGraphFileOfTheSameTree) {
    for (const char* name : {"llama", "qwen2", "gemma3"}) {
        const auto path =
            std::filesystem::path(LLMSQL_SOURCE_DIR) / "graphs" / (std::string(name) + ".graph");
        const std::string once = ast_text(path);
        EXPECT_EQ(ast_of(once), once) << name;
        EXPECT_TRUE(once.starts_with("graph " + std::string(name))) << once.substr(0, 40);
    }
}

TEST(ParseGraph, Precedence) {
    EXPECT_EQ(expression("a + b * c - d / e"), "((a + (b * c)) - (d / e))");
    EXPECT_EQ(expression("a || b && c == d < e + f"), "(a || (b && (c == (d < (e + f)))))");
    EXPECT_EQ(expression("-a * b"), "(-a * b)");
    EXPECT_EQ(expression("!a && b"), "(!a && b)");
    EXPECT_EQ(expression("a ? b : c ? d : e"), "(a ? b : (c ? d : e))");
    EXPECT_EQ(expression("a - b - c"), "((a - b) - c)");
    EXPECT_EQ(expression("f(x, base = l.b)"), "f(x, base = l.b)");
}

TEST(ParseGraph, KeywordsAreNamesWhereNoDeclarationCanStand) {
    const std::string text = ast_of(
        "graph graph { dim dim; const block; param param: [dim, dim]; param optional: [dim];"
        " block forward[dim] { param in: [dim]; param output: [dim]; }"
        " forward(let: i32[require]) -> f32[require, dim] { const = f(in.let, param = optional);"
        " return const; } }");
    EXPECT_NE(text.find("const = f(in.let, param = optional);"), std::string::npos) << text;
    EXPECT_NE(text.find("param in: [dim];"), std::string::npos) << text;
}

TEST(ParseGraph, EachSyntaxErrorIsReportedAtItsPlace) {
    EXPECT_EQ(errors_in(R"(graph t {
  dim ;
  param for : [3];
  const x = (1 + ;
  let y = 3 $ 4;
  forward(t i32[T]) -> f32[T, 3] {
    x = f(a b);
    x = a
    for l in layer { }
    x 3;
  }
)"),
              R"(t.graph:2:7: error: expected a name before ';'
  dim ;
      ^
t.graph:3:9: error: expected a name before 'for' ('for' is a keyword and cannot be a name)
  param for : [3];
        ^
t.graph:4:18: error: expected an expression before ';'
  const x = (1 + ;
                 ^
t.graph:5:13: error: the character '$' means nothing here
  let y = 3 $ 4;
            ^
t.graph:6:13: error: expected ':' before 'i32'
  forward(t i32[T]) -> f32[T, 3] {
            ^
t.graph:7:13: error: expected ')' or ',' before 'b'
    x = f(a b);
            ^
t.graph:9:5: error: expected ';' before 'for'
    for l in layer { }
    ^
t.graph:10:7: error: expected '=' before '3'
    x 3;
      ^
t.graph:12:1: error: expected a declaration or '}' before the end of the file

^)");
}

TEST(ParseGraph, EmptyAndUnfinishedFiles) {
    EXPECT_SAYS(messages_in(""), "1:1 expected 'graph' … end of the file\n");
    EXPECT_SAYS(messages_in("graph t {"), "1:10 expected … '}' … end of the file\n");
    EXPECT_SAYS(messages_in("graph t { } graph"), "1:13 expected … end of the file … 'graph'\n");
    EXPECT_SAYS(messages_in("graph t @gguf(\"abc) {\n}"), "1:15 … closing quote\n");
    EXPECT_SAYS(messages_in("graph t { let a = 1e999; }"), "1:19 1e999 … number …\n");
}

TEST(ParseGraph, NestingAndLengthAreLimited) {
    const auto nested = [](size_t depth) {
        return "graph t { let a = " + std::string(depth, '(') + "1" + std::string(depth, ')') +
               "; }";
    };
    EXPECT_SAYS(messages_in(nested(70)), "1:82 brackets … nested … 64 …\n");
    EXPECT_SAYS(messages_in(nested(100000)), "1:82 brackets … nested … 64 …\n");
    EXPECT_SAYS(messages_in(nested(60)), "1:7 graph 't' … forward\n");
    EXPECT_SAYS(messages_in("graph t { let a = " + std::string(100000, '-') + "1; }"),
                "1:1016 this … 1000 …\n");
    EXPECT_SAYS(messages_in("graph t { let a = " + std::string(900, '-') + "1; }"),
                "1:7 graph 't' … forward\n");
    std::string sum = "graph t { let a = 1";
    for (int i = 0; i < 450; ++i) sum += " + 1";
    EXPECT_SAYS(messages_in(sum + "; }"), "1:7 graph 't' … forward\n");
}

TEST(ParseGraph, FilesMustBeShortUtf8Text) {
    EXPECT_EQ(errors_in("graph t {\n // \xc3\xa9 \xff\n}"),
              "t.graph:2:7: error: this is not UTF-8 text\n // \xc3\xa9 ?\n      ^");
    EXPECT_EQ(errors_in("\xed\xa0\x80"), "t.graph:1:1: error: this is not UTF-8 text\n???\n^");
    EXPECT_NE(errors_in(std::string(2 << 20, ' ')).find("at most 1048576 bytes"),
              std::string::npos);
    EXPECT_SAYS(messages_in("\xef\xbb\xbfgraph t {"), "1:10 expected … '}' … end of the file\n");
    EXPECT_EQ(messages_in(std::string("graph \0 {", 9)),
              "1:7 the character '" + std::string(1, '\0') + "' means nothing here\n");
}

TEST(ParseGraph, ColumnsCountCharactersAndLongLinesAreCut) {
    EXPECT_EQ(errors_in("graph t @gguf(\"\xe6\x97\xa5\xe6\x9c\xac\") ! {\n}"),
              "t.graph:1:21: error: expected '@' or '{' before '!'\n"
              "graph t @gguf(\"\xe6\x97\xa5\xe6\x9c\xac\") ! {\n                    ^");
    const std::string far = errors_in("graph t {" + std::string(1000, ' ') + "!\n}");
    EXPECT_LT(far.size(), 400u);
    EXPECT_NE(far.find("t.graph:1:1010: error:"), std::string::npos) << far;
}

TEST(ParseGraph, AFileOfNothingButErrorsIsReportedInPart) {
    std::string text = "graph t {\n";
    for (int i = 0; i < 50; ++i) text += "let a" + std::to_string(i) + " = nope;\n";
    const std::string all = errors_in(text + "}");
    EXPECT_NE(all.find("t.graph: and 31 more errors"), std::string::npos) << all;
}

}  // namespace
}  // namespace llmsql::compiler
