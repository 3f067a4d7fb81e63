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
    EXPECT_EQ(messages_in(in_forward("for l in layer { y = linear(x, l.wide); x = x + y; }")),
              "10:47 '+' takes equal shapes, not [T, n] and [T, m]\n");
    EXPECT_EQ(
        messages_in(in_forward("x = rope(x, 10000);")),
        "10:10 rope: x has the shape [T, n], but must be [T, h, 2*f]; heads(x, n) splits the last "
        "dimension\n");
    EXPECT_EQ(
        messages_in(in_forward("q = heads(x, h); k = heads(x, m);\ny = attention(q, q, k);")),
        "11:21 attention: v has the shape [T, m, n/m], but must be [T, h, n/h] to go with q [T, "
        "h, n/h] and k [T, h, n/h]\n");
}

TEST(CheckGraph, ErrorsDoNotHideLaterOnes) {
    // The norm's result is fixed by x, so the projection after it is still checked.
    EXPECT_EQ(
        messages_in(in_forward("for l in layer {\ny = rms_norm(x, w, 1);\ny = linear(y, l.b);\n"
                               "y = unknown + 1; y = y * x; z = y;\n}")),
        "11:17 rms_norm: weight has the shape [n, n], but must be [n] to go with x [T, n]\n"
        "12:15 linear: weight has the shape [n, m], but must be [n, n] to go with x [T, n]\n"
        "13:5 unknown name 'unknown'\n");
}

TEST(CheckGraph, UnknownNamesSuggestTheNearest) {
    EXPECT_EQ(
        messages_in(in_forward("y = tokns; x = sillu(x); for l in layer { x = rms_norm(x, l.aa, "
                               "1); }\nfor l in layr { }\nx = rms_norm(x, l.a, 1); y = a;")),
        "10:5 unknown name 'tokns', did you mean 'tokens'?\n"
        "10:16 there is no operator 'sillu', did you mean 'silu'?\n"
        "10:59 block 'layer' has no 'aa', did you mean 'a'?\n"
        "11:10 there is no block 'layr', did you mean 'layer'?\n"
        "12:17 unknown name 'l'\n"
        "12:30 'a' is in block 'layer': write l.a in a `for l in layer`\n");
    EXPECT_EQ(
        messages_in(
            in_forward("y = T; y = layer; y = layer.a; y = x.a; for l in layer { y = l; }")),
        "10:5 unknown name 'T'\n"
        "10:12 'layer' is a block; `for l in layer` runs through it\n"
        "10:23 'layer' is a block; run through it with `for l in layer` and write l.a\n"
        "10:36 'x' has no members; only the variable of a `for` has\n"
        "10:62 'l' stands for one repetition of block 'layer'; write l.NAME for what is in it\n");
}

TEST(CheckGraph, ArgumentsAreMatchedByPlaceAndName) {
    EXPECT_EQ(messages_in(in_forward("y = embed(w, tokens, 1, 2);\ny = attention(x);\n"
                                     "y = rope(heads(x, h), bas = 3);\ny = silu(x = x, x = x);\n"
                                     "y = rope(x = x, 3);\ny = silu(a, x);\ny = heads();")),
              "10:5 embed takes at most 2 arguments (weight, tokens), not 4\n"
              "11:5 attention needs 3 to 5 arguments (q, k, v, scale, window); k, v are missing\n"
              "12:23 rope has no argument 'bas', did you mean 'base'?\n"
              "13:5 silu takes at most 1 argument (x), not 2\n"
              "14:17 an argument without a name cannot follow a named one\n"
              "15:5 silu takes at most 1 argument (x), not 2\n"
              "15:10 'a' is in block 'layer': write l.a in a `for l in layer`\n"
              "16:5 heads needs 2 arguments (x, h); x, h are missing\n");
    EXPECT_EQ(messages_in(in_forward("y = linear(x, w, x = x);")),
              "10:18 linear is given its argument 'x' twice\n");
}

TEST(CheckGraph, ArgumentsMustBeOfTheirKind) {
    EXPECT_EQ(
        messages_in(in_forward("y = embed(x, w);\ny = silu(w);\ny = rope(heads(x, h), x);\n"
                               "y = silu(3);\ny = x - x;\ny = x + 1;\ny = w * 2;\ny = -x;\n"
                               "y = !3;\ny = 1 < true;\ny = tokens;\ny = sqrt(x);\ny = \"t\";")),
        "10:11 embed: weight must be a parameter, not a tensor [T, n]\n"
        "10:14 embed: tokens must be the tokens, not a parameter [n, n]\n"
        "11:10 silu: x must be a tensor, not a parameter [n, n]\n"
        "12:23 rope: base must be a number, not a tensor [T, n]\n"
        "13:10 silu: x must be a tensor, not a number\n"
        "14:7 '-' does not work on a tensor [T, n] and a tensor [T, n]: tensors are added and "
        "multiplied with tensors of their shape, and multiplied with numbers\n"
        "15:7 '+' does not work on a tensor [T, n] and a number: tensors are added and "
        "multiplied with tensors of their shape, and multiplied with numbers\n"
        "16:7 '*' does not work on a parameter [n, n] and a number\n"
        "17:5 '-' takes a number, not a tensor [T, n]\n"
        "18:6 true or false is needed here, not a number\n"
        "19:7 '<' compares numbers, not a number and true or false\n"
        "20:5 the tokens cannot be assigned to a variable\n"
        "21:10 a number is needed here, not a tensor [T, n]\n"
        "22:5 a text can only stand in an annotation\n");
}

TEST(CheckGraph, TensorsAndNumbersCombine) {
    EXPECT_EQ(messages_in(in_forward("x = 2 * x * sqrt(n) + x * x; y = x * c; z = n * c + 1 == 2; "
                                     "s = 1; for l in layer { s = s * 2; x = x * s; }")),
              "");
}

TEST(CheckGraph, VariablesMustBeAssignedOnEveryWay) {
    EXPECT_EQ(
        messages_in(in_forward("if c > 1 { y = x; }\nz = y;")),
        "11:5 'y' may not be assigned here: the 'if' in line 10 assigns it on some ways only\n");
    EXPECT_EQ(
        messages_in(in_forward("if c > 1 { y = x; } else if c > 0 { y = x; } else { y = x + x; }\n"
                               "x = y;")),
        "");
    EXPECT_EQ(messages_in(in_forward("for l in layer { y = x; } x = y;")), "");
    EXPECT_EQ(messages_in(in_forward("for l in layer { x = y; y = x; }")),
              "10:22 unknown name 'y'\n");
    EXPECT_EQ(messages_in(in_forward("for l in layer { if l.even { y = x; } else { x = y; } }")),
              "10:50 unknown name 'y'\n");
}

TEST(CheckGraph, BothArmsAreCheckedAndMustAgree) {
    EXPECT_EQ(messages_in(in_forward("if c > 1 { y = nope; } else { y = nopes; }")),
              "10:16 unknown name 'nope'\n10:35 unknown name 'nopes'\n");
    EXPECT_EQ(
        messages_in(in_forward("if c > 1 { y = x; } else { y = 1; }\nz = c > 1 ? x : heads(x, h);\n"
                               "z = c ? 1 : 2; if x { }")),
        "10:1 'y' is a tensor [T, n] after one arm of this if and a number after another\n"
        "11:11 the two sides of ':' must be alike, but are a tensor [T, n] and a tensor [T, h, "
        "n/h]\n"
        "12:5 true or false is needed here, not a number\n"
        "12:19 true or false is needed here, not a tensor [T, n]\n");
}

TEST(CheckGraph, LoopsKeepShapes) {
    EXPECT_EQ(messages_in(in_forward("for l in layer { x = heads(x, h); }")),
              "10:18 'x' is a tensor [T, n] before the loop, but a tensor [T, h, n/h] after a "
              "repetition\n");
    // A number that a loop changes is no dimension any more.
    EXPECT_EQ(messages_in(in_forward("k = h; for l in layer { y = heads(x, k); k = k * 2; }")),
              "10:38 heads: h fixes a dimension, so it must be made of dims and whole numbers\n");
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
    EXPECT_EQ(messages_in(in_forward("if has(x) { } if has(n) { } if has(w, w) { }")),
              "10:8 has() takes the name of a parameter\n"
              "10:22 has() takes a parameter, not a number\n"
              "10:32 has takes one argument without a name, not 2\n");
}

TEST(CheckGraph, NamesOfForward) {
    EXPECT_EQ(messages_in(
                  in_forward("n = 3;\nw = x;\ntokens = x;\nfor n in layer { }\nfor x in layer { }\n"
                             "for l in layer { l = 3; }")),
              "10:1 'n' is declared in line 2 and cannot be a variable too\n"
              "11:1 'w' is declared in line 3 and cannot be a variable too\n"
              "12:1 'tokens' cannot be assigned to\n"
              "13:5 'n' is declared in line 2 and cannot be a variable too\n"
              "14:5 'x' is already a variable\n"
              "15:18 'l' cannot be assigned to\n");
}

TEST(CheckGraph, TheResultIsWhatForwardDeclares) {
    const std::string head = "graph t { dim n; dim m; param w : [n, m];\n";
    EXPECT_EQ(messages_in(head + "forward(t: i32[T]) -> f32[T, n] { return embed(w, t); } }"),
              "2:42 forward is declared to return [T, n], but this is [T, m]\n");
    EXPECT_EQ(messages_in(head + "forward(t: f32[n]) -> i32[n, T] { x = embed(w, t); } }"),
              "2:1 forward must end with a return\n"
              "2:12 tokens are i32, not f32\n"
              "2:16 'n' is declared in line 1 and cannot be the number of tokens too\n"
              "2:23 the result is f32, not i32\n"
              "2:30 unknown name 'T'\n");
    EXPECT_EQ(messages_in(head + "forward(t: i32[T]) -> f32[n, T] { return w; return t; } }"),
              "2:23 forward returns a row a token: f32[T, width], not f32[n, T]\n"
              "2:35 return must be forward's last statement\n"
              "2:42 forward returns a tensor, not a parameter [n, m]\n"
              "2:52 forward returns a tensor, not the tokens\n");
    EXPECT_EQ(messages_in(head + "}"), "1:7 graph 't' has no forward\n");
}

TEST(CheckGraph, DefaultsUseEarlierNames) {
    EXPECT_EQ(
        messages_in(
            "graph t { dim a = b;\ndim b = c + 1;\ndim c = a;\ndim d = e;\ndim e;\nconst f = f;\n"
            "let g = !a; forward(t: i32[T]) -> f32[T, 1] { } }"),
        "1:15 'a' is defined by itself: a -> b -> c -> a\n"
        "4:9 'e' is declared later, in line 5; only earlier names can be used here\n"
        "6:7 'f' is defined by itself: f -> f\n"
        "7:10 true or false is needed here, not a number\n"
        "7:13 forward must end with a return\n");
}

TEST(CheckGraph, Declarations) {
    EXPECT_EQ(
        messages_in(R"(graph t @gguf(3) {
  dim n; dim n; const c @gguf(rows(3));
  param v : [n, n, n, n]; param u : [c]; param s : [sqrt(n)]; param x : [n] = z; param y : [n];
  param z : [n, n] = y; optional param o : [n] = y; param p : [n] = n;
  block b[true] { param index : [n]; param q : [n]; param q : [n]; let k = w; }
  let t = silu(n);
  require n;
})"),
        "1:7 graph 't' has no forward\n"
        "1:15 a text is needed here: the architecture's name\n"
        "2:14 'n' is already declared, in line 2\n"
        "2:31 a metadata key in quotes is needed here, or rows(\"tensor\"), cols(\"tensor\") or "
        "is(\"key\", \"text\")\n"
        "3:9 'v' has 4 dimensions; a parameter is a vector [n], a matrix [rows, columns] or a "
        "table "
        "of matrices [count, rows, columns]\n"
        "3:38 a dimension is made of dims and whole numbers with + - * and /; c is not\n"
        "3:53 a dimension is made of dims and whole numbers with + - * and /; sqrt(n) is not\n"
        "3:79 'z' is declared later, in line 4; only earlier names can be used here\n"
        "4:22 'z' is [n, n], but its stand-in 'y' is [n]\n"
        "4:50 a parameter is optional or has a stand-in, not both\n"
        "4:69 a parameter is needed here, not a number\n"
        "5:11 a number is needed here, not true or false\n"
        "5:25 'index' is the number of the repetition of a block\n"
        "5:59 'q' is already declared, in line 5\n"
        "5:76 unknown name 'w'\n"
        "6:11 silu works on tensors, and there are none outside forward\n"
        "7:11 true or false is needed here, not a number\n");
}

TEST(CheckGraph, Annotations) {
    EXPECT_EQ(messages_in(R"(graph t {
  dim n;
  param a : [n] @gguf("blk.{i}.a") @xx("a") @gguf("b");
  param b : [n] @hf(3) @gguf("b", twist(3)); param e : [n] @hf("");
  block k[n] { param c : [n] @gguf("c") @hf("{i}", unpermute(1, 2)); param d : [n] @gguf("{i}", plus(true), 3); }
})"),
              "1:7 graph 't' has no forward\n"
              "3:23 {i} stands for the repetition of a block, and this parameter is in none\n"
              "3:37 unknown source format 'xx'; there are gguf and hf\n"
              "3:46 a second @gguf; several places can be listed in one\n"
              "4:21 the tensor's name in quotes is needed here, or computed(expression)\n"
              "4:35 unknown transform twist(3); there are unpermute(heads), plus(number) "
              "and slice(first, rows)\n"
              "4:64 a tensor has a name, this one is empty\n"
              "5:36 {i} is missing: in a block each repetition has a tensor of its own\n"
              "5:52 unpermute takes one number\n"
              "5:102 a number is needed here, not true or false\n"
              "5:109 a tensor has one transform at most\n");
}

TEST(CheckGraph, AnnotationsOfLets) {
    EXPECT_EQ(
        messages_in(R"(graph t {
  dim n @hf("sizes.{i}");
  let a = 1 @hf(is("kinds.{i}", "x")) @xx("a");
  block k[n] { let b = index == 0 @hf(is("kinds.{i}", "x"), "b") @gguf(3); param p : [n] @gguf("{i}"); }
})"),
        "1:7 graph 't' has no forward\n"
        "2:13 {i} stands for the repetition of a block, and this is in none\n"
        "3:20 {i} stands for the repetition of a block, and this is in none\n"
        "3:40 unknown source format 'xx'; there are gguf and hf\n"
        "4:72 a metadata key in quotes is needed here, or rows(\"tensor\"), cols(\"tensor\") or "
        "is(\"key\", \"text\")\n");
}

TEST(CheckGraph, AnnotationsOfWhatIsComputed) {
    EXPECT_EQ(
        messages_in(R"(graph t {
  dim n;
  const c = 1 @hf(is("kind"), is("kind", 3), is("kind", "a", "b"), pow("kind"));
  param a : [n] @hf(computed(pow(2, element) / c));
  param b : [n, n] @hf(computed(element), plus(1));
  param d : [n] @hf(computed(element, when = c == 1));
  optional param e : [n] @hf(computed(elements, when = c));
  optional param f : [n] @hf(computed(element, c)) @gguf(computed());
  let g = pow(2) + min(1, 2, 3) + sqrt(x = 2) + element;
})"),
        "1:7 graph 't' has no forward\n"
        "3:19 a metadata key in quotes is needed here, or rows(\"tensor\"), cols(\"tensor\") or "
        "is(\"key\", \"text\")\n"
        "3:31 a metadata key in quotes is needed here, or rows(\"tensor\"), cols(\"tensor\") or "
        "is(\"key\", \"text\")\n"
        "3:68 a metadata key in quotes is needed here, or rows(\"tensor\"), cols(\"tensor\") or "
        "is(\"key\", \"text\")\n"
        "5:24 only a vector can be computed: its values go by `element`\n"
        "5:43 what is computed needs no transform\n"
        "6:39 `when` says whether an optional parameter is there; this one always is\n"
        "7:39 unknown name 'elements', did you mean 'element'?\n"
        "7:56 true or false is needed here, not a number\n"
        "8:30 computed takes an expression of `element`, and perhaps when = condition\n"
        "8:58 computed takes an expression of `element`, and perhaps when = condition\n"
        "9:11 pow takes 2 arguments without a name, not 1\n"
        "9:20 min takes 2 arguments without a name, not 3\n"
        "9:35 sqrt takes one argument without a name, not a named one\n"
        "9:49 unknown name 'element'\n");
}

TEST(CheckGraph, Slices) {
    EXPECT_EQ(messages_in(R"(graph t {
  dim n;
  param a : [n] @hf("qkv", slice(n, 3 * n)) @gguf("qkv", slice(n));
  param b : [n] @hf("qkv", slice(n, 3, n)) @gguf("qkv", slice(m, true));
})"),
              "1:7 graph 't' has no forward\n"
              "3:58 slice takes two numbers\n"
              "4:28 slice takes two numbers\n"
              "4:63 unknown name 'm'\n"
              "4:66 a number is needed here, not true or false\n");
}

TEST(CheckGraph, Tables) {
    EXPECT_EQ(
        messages_in(R"(graph t {
  dim n;
  optional param a : [n, n, n]; param b : [n, n] @hf("{j}"); param c : [n, n, n] = b;
  param d : [n, n, n] @hf("{j}") @gguf("all");
  forward(tokens: i32[T]) -> f32[T, n] { return linear(embed(b, tokens), d); }
})"),
        "3:18 'a' is a table of matrices; every model has it, and nothing stands in for it\n"
        "3:54 {j} stands for the matrix of a table, and this parameter is none\n"
        "3:68 'c' is a table of matrices; every model has it, and nothing stands in for it\n"
        "5:74 linear: weight has the shape [n, n, n], but must be [n, n] to go with x [T, n]\n");
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
