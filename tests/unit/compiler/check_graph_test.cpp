// SPDX-License-Identifier: MIT
// The checker: what it says of each kind of mistake, and what it accepts.
#include "check_support.h"

namespace llmsql::compiler {
namespace {

TEST(CheckGraph, ASoundGraphHasNoErrors) {
    EXPECT_EQ(errors_in(in_forward("")), "");
}

TEST(CheckGraph, ShapeMismatchesNameBothShapes) {
    EXPECT_EQ(
        errors_in(in_forward("for l in layer { x = linear(x, l.b); }")),
        R"(t.graph:10:32: error: linear: weight has the shape [n, m], but must be [n, n] to go with x [T, n]
for l in layer { x = linear(x, l.b); }
                               ^)");
    EXPECT_SAYS(messages_in(in_forward("for l in layer { y = linear(x, l.wide); x = x + y; }")),
                "10:47 '+' takes … [T, n] … [T, m]\n");
    EXPECT_SAYS(messages_in(in_forward("x = rope(x, 10000);")),
                "10:10 rope: … [T, n] … [T, h, d]; heads(x, n) …\n");
    EXPECT_SAYS(
        messages_in(in_forward("q = heads(x, h); k = heads(x, m);\ny = attention(q, q, k);")),
        "11:21 attention: … [T, m, n/m] … [T, h, n/h] … [T, h, n/h] … [T, h, n/h]\n");
}

TEST(CheckGraph, StatesAreDeclaredAndTakenByScans) {
    const auto graph = [](const std::string& states, const std::string& body) {
        return "graph t {\ndim n; dim v;\nparam w : [v, n]; param taps : [4 * n];\n" + states +
               "\nforward(tokens: i32[T]) -> f32[T, v] {\nx = embed(w, tokens);\n" + body +
               "\nreturn linear(x, w);\n}\n}\n";
    };
    EXPECT_EQ(errors_in(graph("state last : [4, n];", "x = causal_conv(x, taps, last);")), "");
    EXPECT_SAYS(messages_in(graph("state last : [3, n];", "x = causal_conv(x, taps, last);")),
                "7:26 causal_conv: last … [3, n] … [4, n] …\n");
    EXPECT_SAYS(messages_in(graph("state last : [4, n];", "x = causal_conv(x, taps, taps);")),
                "7:26 causal_conv: last must be a state, not a parameter …\n");
    EXPECT_SAYS(messages_in(graph("state last : [4, n];", "x = silu(last);")),
                "7:10 silu: x must be a tensor, not a state …\n");
    EXPECT_SAYS(messages_in(graph("state last : [4, n]; state other : [n];",
                                  "x = causal_conv(x, taps, last);")),
                "4:28 state 'other' is never used in forward\n");
    EXPECT_SAYS(messages_in(graph("state last : [1, 2, 3, 4]; state last : [n];", "x = silu(x);")),
                "4:7 'last' has 4 dimensions; …\n4:34 'last' is already declared…\n");
}

TEST(CheckGraph, ErrorsDoNotHideLaterOnes) {
    // The norm's result is fixed by x, so the projection after it is still checked.
    EXPECT_SAYS(
        messages_in(in_forward("for l in layer {\ny = rms_norm(x, w, 1);\ny = linear(y, l.b);\n"
                               "y = unknown + 1; y = y * x; z = y;\n}")),
        "11:17 rms_norm: … [n, n] … [n] … [T, n]\n"
        "12:15 linear: … [n, m] … [n, n] … [T, n]\n"
        "13:5 unknown … 'unknown'\n");
}

TEST(CheckGraph, UnknownNamesSuggestTheNearest) {
    EXPECT_SAYS(
        messages_in(in_forward("y = tokns; x = sillu(x); for l in layer { x = rms_norm(x, l.aa, "
                               "1); }\nfor l in layr { }\nx = rms_norm(x, l.a, 1); y = a;")),
        "10:5 unknown … 'tokns' … 'tokens'?\n"
        "10:16 there … operator 'sillu' … 'silu'?\n"
        "10:59 block 'layer' … 'aa' … 'a'?\n"
        "11:10 there … block 'layr' … 'layer'?\n"
        "12:17 unknown … 'l'\n"
        "12:30 'a' … 'layer' … l.a … `for l in layer`\n");
    EXPECT_SAYS(messages_in(in_forward(
                    "y = T; y = layer; y = layer.a; y = x.a; for l in layer { y = l; }")),
                "10:5 unknown … 'T'\n"
                "10:12 'layer' … `for l in layer` …\n"
                "10:23 'layer' … `for l in layer` … l.a\n"
                "10:36 'x' … `for` …\n"
                "10:62 'l' … 'layer' … l.NAME …\n");
}

TEST(CheckGraph, ArgumentsAreMatchedByPlaceAndName) {
    EXPECT_SAYS(messages_in(in_forward("y = embed(w, tokens, 1, 2);\ny = attention(x);\n"
                                       "y = rope(heads(x, h), bas = 3);\ny = silu(x = x, x = x);\n"
                                       "y = rope(x = x, 3);\ny = silu(a, x);\ny = heads();")),
                "10:5 embed takes … 2 … (weight, tokens) … 4\n"
                "11:5 attention needs 3 … 8 … (q, k, v, scale, window, softcap, sinks, chunked) … "
                "missing\n"
                "12:23 rope … 'bas' … 'base'?\n"
                "13:5 silu takes … 1 … (x) … 2\n"
                "14:17 an argument without … named one\n"
                "15:5 silu takes … 1 … (x) … 2\n"
                "15:10 'a' … 'layer' … l.a … `for l in layer`\n"
                "16:5 heads needs 2 … (x, h) … missing\n");
    EXPECT_SAYS(messages_in(in_forward("y = linear(x, w, x = x);")), "10:18 linear … 'x' twice\n");
}

TEST(CheckGraph, ArgumentsMustBeOfTheirKind) {
    EXPECT_SAYS(
        messages_in(in_forward("y = embed(x, w);\ny = silu(w);\ny = rope(heads(x, h), x);\n"
                               "y = silu(3);\ny = x - x;\ny = x + 1;\ny = w * 2;\ny = -x;\n"
                               "y = !3;\ny = 1 < true;\ny = tokens;\ny = sqrt(x);\ny = \"t\";")),
        "10:11 embed: … parameter … tensor [T, n]\n"
        "10:14 embed: tokens … tokens … parameter [n, n]\n"
        "11:10 silu: … tensor … parameter [n, n]\n"
        "12:23 rope: … number … tensor [T, n]\n"
        "13:10 silu: … tensor … number\n"
        "14:7 '-' … tensor [T, n] … tensor [T, n]: tensors … tensors … numbers\n"
        "15:7 '+' … tensor [T, n] … number: tensors … tensors … numbers\n"
        "16:7 '*' … parameter [n, n] … number\n"
        "17:5 '-' takes … number … tensor [T, n]\n"
        "18:6 true … number\n"
        "19:7 '<' … numbers … number … true or false\n"
        "20:5 the tokens … variable\n"
        "21:10 a number … tensor [T, n]\n"
        "22:5 a text … annotation\n");
}

TEST(CheckGraph, TensorsAndNumbersCombine) {
    EXPECT_EQ(messages_in(in_forward("x = 2 * x * sqrt(n) + x * x; y = x * c; z = n * c + 1 == 2; "
                                     "s = 1; for l in layer { s = s * 2; x = x * s; }")),
              "");
}

TEST(CheckGraph, VariablesMustBeAssignedOnEveryWay) {
    EXPECT_SAYS(messages_in(in_forward("if c > 1 { y = x; }\nz = y;")), "11:5 'y' … 'if' … 10 …\n");
    EXPECT_EQ(
        messages_in(in_forward("if c > 1 { y = x; } else if c > 0 { y = x; } else { y = x + x; }\n"
                               "x = y;")),
        "");
    EXPECT_EQ(messages_in(in_forward("for l in layer { y = x; } x = y;")), "");
    EXPECT_SAYS(messages_in(in_forward("for l in layer { x = y; y = x; }")),
                "10:22 unknown … 'y'\n");
    EXPECT_SAYS(messages_in(in_forward("for l in layer { if l.even { y = x; } else { x = y; } }")),
                "10:50 unknown … 'y'\n");
}

TEST(CheckGraph, BothArmsAreCheckedAndMustAgree) {
    EXPECT_SAYS(messages_in(in_forward("if c > 1 { y = nope; } else { y = nopes; }")),
                "10:16 unknown … 'nope'\n"
                "10:35 unknown … 'nopes'\n");
    EXPECT_SAYS(
        messages_in(in_forward("if c > 1 { y = x; } else { y = 1; }\nz = c > 1 ? x : heads(x, h);\n"
                               "z = c ? 1 : 2; if x { }")),
        "10:1 'y' … tensor [T, n] … number …\n"
        "11:11 the … ':' … tensor [T, n] … tensor [T, h, n/h]\n"
        "12:5 true … number\n"
        "12:19 true … tensor [T, n]\n");
}

TEST(CheckGraph, LoopsKeepShapes) {
    EXPECT_SAYS(messages_in(in_forward("for l in layer { x = heads(x, h); }")),
                "10:18 'x' … tensor [T, n] … tensor [T, h, n/h] …\n");
    // A number that a loop changes is no dimension any more.
    EXPECT_SAYS(messages_in(in_forward("k = h; for l in layer { y = heads(x, k); k = k * 2; }")),
                "10:38 heads: … numbers\n");
}

TEST(CheckGraph, OptionalParametersNeedAskingFirst) {
    const std::string needed =
        "rms_norm: weight is needed, but l.o is optional; ask has(l.o) first\n";
    EXPECT_EQ(messages_in(in_forward("for l in layer { x = rms_norm(x, l.o, 1); }")),
              "10:34 " + needed);
    EXPECT_EQ(messages_in(
                  in_forward("for l in layer { if !has(l.o) || c > 1 {\nx = rms_norm(x, l.o, 1);\n"
                             "} else { x = rms_norm(x, l.o, 1); } }")),
              "11:17 " + needed);
    EXPECT_EQ(
        messages_in(in_forward("for l in layer { x = has(l.o) && c > 1 ? rms_norm(x, l.o, 1) : x;\n"
                               "if has(l.o) { } else {\nx = rms_norm(x, l.o, 1); } }")),
        "12:17 " + needed);
    EXPECT_EQ(messages_in(
                  in_forward("for l in layer { x = linear(x, w, l.o); x = linear(x, w, bias = l.o);"
                             " }")),
              "");
    EXPECT_SAYS(messages_in(in_forward("if has(x) { } if has(n) { } if has(w, w) { }")),
                "10:8 has() takes … parameter\n"
                "10:22 has() takes … parameter … number\n"
                "10:32 has takes … 2\n");
}

TEST(CheckGraph, NamesOfForward) {
    EXPECT_SAYS(messages_in(in_forward(
                    "n = 3;\nw = x;\ntokens = x;\nfor n in layer { }\nfor x in layer { }\n"
                    "for l in layer { l = 3; }")),
                "10:1 'n' … 2 …\n"
                "11:1 'w' … 3 …\n"
                "12:1 'tokens' … assigned …\n"
                "13:5 'n' … 2 …\n"
                "14:5 'x' … already …\n"
                "15:18 'l' … assigned …\n");
}

TEST(CheckGraph, TheResultIsWhatForwardDeclares) {
    const std::string head = "graph t { dim n; dim m; param w : [n, m];\n";
    EXPECT_SAYS(messages_in(head + "forward(t: i32[T]) -> f32[T, n] { return embed(w, t); } }"),
                "2:42 forward … return [T, n] … [T, m]\n");
    EXPECT_SAYS(messages_in(head + "forward(t: f32[n]) -> i32[n, T] { x = embed(w, t); } }"),
                "2:1 forward … return\n"
                "2:12 tokens … i32 … f32\n"
                "2:16 'n' … 1 … number … tokens …\n"
                "2:23 the … f32 … i32\n"
                "2:30 unknown … 'T'\n");
    EXPECT_SAYS(messages_in(head + "forward(t: i32[T]) -> f32[n, T] { return w; return t; } }"),
                "2:23 forward … f32[T, width] … f32[n, T]\n"
                "2:35 return … last …\n"
                "2:42 forward … tensor … parameter [n, m]\n"
                "2:52 forward … tensor … tokens\n");
    EXPECT_SAYS(messages_in(head + "}"), "1:7 graph 't' … forward\n");
}

TEST(CheckGraph, DefaultsUseEarlierNames) {
    EXPECT_SAYS(
        messages_in(
            "graph t { dim a = b;\ndim b = c + 1;\ndim c = a;\ndim d = e;\ndim e;\nconst f = f;\n"
            "let g = !a; forward(t: i32[T]) -> f32[T, 1] { } }"),
        "1:15 'a' … a -> b -> c -> a\n"
        "4:9 'e' … later … 5 …\n"
        "6:7 'f' … f -> f\n"
        "7:10 true … number\n"
        "7:13 forward … return\n");
}

TEST(CheckGraph, Declarations) {
    EXPECT_SAYS(messages_in(R"(graph t @gguf(3) {
  dim n; dim n; const c @gguf(rows(3));
  param v : [n, n, n, n]; param u : [c]; param s : [sqrt(n)]; param x : [n] = z; param y : [n];
  param z : [n, n] = y; optional param o : [n] = y; param p : [n] = n;
  block b[true] { param index : [n]; param q : [n]; param q : [n]; let k = w; }
  let t = silu(n);
  require n;
})"),
                "1:7 graph 't' … forward\n"
                "1:15 a text … architecture's name\n"
                "2:14 'n' … 2\n"
                "2:31 a … rows(\"tensor\"), cols(\"tensor\") … is(\"key\", \"text\") …\n"
                "3:9 'v' … 4 … parameter … [n] … [rows, columns] … [count, rows, columns]\n"
                "3:38 a … numbers …\n"
                "3:53 a … numbers … sqrt(n) …\n"
                "3:79 'z' … later … 4 …\n"
                "4:22 'z' … [n, n] … 'y' … [n]\n"
                "4:50 a parameter … optional … stand-in …\n"
                "4:69 a parameter … number\n"
                "5:11 a number … true or false\n"
                "5:25 'index' … number …\n"
                "5:59 'q' … 5\n"
                "5:76 unknown … 'w'\n"
                "6:11 silu … tensors …\n"
                "7:11 true … number\n");
}

TEST(CheckGraph, Annotations) {
    EXPECT_SAYS(messages_in(R"(graph t {
  dim n;
  param a : [n] @gguf("blk.{i}.a") @xx("a") @gguf("b");
  param b : [n] @hf(3) @gguf("b", twist(3)); param e : [n] @hf("");
  block k[n] { param c : [n] @gguf("c") @hf("{i}", unpermute(1, 2)); param d : [n] @gguf("{i}", plus(true), 3); }
})"),
                "1:7 graph 't' … forward\n"
                "3:23 {i} … parameter …\n"
                "3:37 unknown … 'xx' … gguf … hf\n"
                "3:46 a second … gguf …\n"
                "4:21 the tensor … computed(expression) …\n"
                "4:35 unknown … twist(3) … unpermute(heads), plus(number), slice(first, rows) …\n"
                "4:64 a tensor … empty\n"
                "5:36 {i} … missing … tensor …\n"
                "5:52 unpermute takes … number …\n"
                "5:102 a number … true or false\n"
                "5:109 unknown transform 3 …\n");
}

TEST(CheckGraph, AnnotationsOfLets) {
    EXPECT_SAYS(messages_in(R"(graph t {
  dim n @hf("sizes.{i}");
  let a = 1 @hf(is("kinds.{i}", "x")) @xx("a");
  block k[n] { let b = index == 0 @hf(is("kinds.{i}", "x"), "b") @gguf(3); param p : [n] @gguf("{i}"); }
})"),
                "1:7 graph 't' … forward\n"
                "2:13 {i} … block …\n"
                "3:20 {i} … block …\n"
                "3:40 unknown … 'xx' … gguf … hf\n"
                "4:72 a … rows(\"tensor\"), cols(\"tensor\") … is(\"key\", \"text\") …\n");
}

TEST(CheckGraph, AnnotationsOfWhatIsComputed) {
    EXPECT_SAYS(messages_in(R"(graph t {
  dim n;
  const c = 1 @hf(is("kind"), is("kind", 3), is("kind", "a", "b"), pow("kind"));
  param a : [n] @hf(computed(pow(2, element) / c));
  param b : [n, n] @hf(computed(element), plus(1));
  param d : [n] @hf(computed(element, when = c == 1));
  optional param e : [n] @hf(computed(elements, when = c));
  optional param f : [n] @hf(computed(element, c)) @gguf(computed());
  let g = pow(2) + min(1, 2, 3) + sqrt(x = 2) + element;
})"),
                "1:7 graph 't' … forward\n"
                "3:19 a … rows(\"tensor\"), cols(\"tensor\") … is(\"key\", \"text\") …\n"
                "3:31 a … rows(\"tensor\"), cols(\"tensor\") … is(\"key\", \"text\") …\n"
                "3:68 pow takes 2 … 1\n"
                "5:24 only … `element`\n"
                "5:43 what … computed … transform\n"
                "6:39 `when` … optional parameter …\n"
                "7:39 unknown … 'elements' … 'element'?\n"
                "7:56 true … number\n"
                "8:30 computed takes … `element` …\n"
                "8:58 computed takes … `element` …\n"
                "9:11 pow takes 2 … 1\n"
                "9:20 min takes 2 … 3\n"
                "9:35 sqrt takes …\n"
                "9:49 unknown … 'element'\n");
}

TEST(CheckGraph, Slices) {
    EXPECT_SAYS(messages_in(R"(graph t {
  dim n;
  param a : [n] @hf("qkv", slice(n, 3 * n)) @gguf("qkv", slice(n));
  param b : [n] @hf("qkv", slice(n, 3, n, n)) @gguf("qkv", slice(m, true));
})"),
                "1:7 graph 't' … forward\n"
                "3:58 slice takes … numbers …\n"
                "4:28 slice takes … numbers …\n"
                "4:66 unknown … 'm'\n"
                "4:69 a number … true or false\n");
}

TEST(CheckGraph, Tables) {
    EXPECT_SAYS(messages_in(R"(graph t {
  dim n;
  optional param a : [n, n, n]; param b : [n, n] @hf("{j}"); param c : [n, n, n] = b;
  param d : [n, n, n] @hf("{j}") @gguf("all");
  forward(tokens: i32[T]) -> f32[T, n] { return linear(embed(b, tokens), d); }
})"),
                "3:18 'a' … table …\n"
                "3:54 {j} … parameter …\n"
                "3:68 'c' … table …\n"
                "5:74 linear: … [n, n, n] … [n, n] … [T, n]\n");
}

TEST(CheckGraph, EveryParameterIsUsed) {
    EXPECT_EQ(errors_in("graph t { dim n; param w : [n, n];\n param unused : [n];\n"
                        "block b[n] { param also : [n]; }\n"
                        "forward(t: i32[T]) -> f32[T, n] { return embed(w, t); } }"),
              "t.graph:2:8: error: parameter 'unused' is never used in forward\n"
              " param unused : [n];\n       ^\n"
              "t.graph:3:20: error: parameter 'also' is never used in forward\n"
              "block b[n] { param also : [n]; }\n                   ^");
}

}  // namespace
}  // namespace llmsql::compiler
