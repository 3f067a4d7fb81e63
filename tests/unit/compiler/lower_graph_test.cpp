// SPDX-License-Identifier: MIT
// Lowering: the operators that a graph and a model's numbers come to, as text.
#include <algorithm>

#include "check_support.h"
#include "compiler/load/load.h"

namespace llmsql::compiler {
namespace {

namespace fs = std::filesystem;

class LowerGraph : public testing::Test {
  protected:
    /// Lowers a graph whose forward has this body; errors come back as text.
    std::string lowered(const std::string& body, const std::string& numbers = "",
                        const std::string& present = "") {
        std::string graph = R"(graph t {
  dim heads = 2; dim kv = 1; dim n = 2; dim w = 4; const window = 5; const c = 3;
  let d = heads * w;
  param embd : [10, d];
  block layer[n] {
    let local = index % 2 == 0;
    param norm : [d]; param q : [d, d]; param k : [kv * w, d]; param v : [kv * w, d];
    optional param bias : [d];
  }
  param head : [10, d] = embd;
  forward(tokens: i32[T]) -> f32[T, 10] {
    x = embed(embd, tokens);
)";
        graph.append(body).append(R"(
    if c < 0 { for z in layer { if has(z.bias) {
      x = linear(x, z.q, z.bias); y = attention(heads(linear(rms_norm(x, z.norm, 1), z.q), heads),
      heads(linear(x, z.k), kv), heads(linear(x, z.v), kv)); } } }
    return linear(x, head);
  }
})");
        folder_.write("t.graph", graph);
        std::string toml = "name = \"t\"\ngraph = \"t\"\nparameters.present = [";
        toml.append(present).append("]\n[dims]\n").append(numbers);
        toml.append("\n[weights]\n\"*\" = \"q8\"\n[tokenizer]\nkind = \"spm\"\n");
        const fs::path file = folder_.write("t.toml", toml);
        try {
            const Model model = load_model(file, {});
            return to_text(lower_model(file, {}, model), model.params);
        } catch (const Error& error) {
            return replaced(error.what(), folder_.path().string() + "/", "");
        }
    }

    TemporaryFolder folder_;
};

TEST_F(LowerGraph, TwoLayers) {
    EXPECT_EQ(lowered(R"(
    for l in layer {
      h = rms_norm(x, l.norm, 1e-5);
      base = l.local ? 100 : 1000;
      q = rope(heads(linear(h, l.q, l.bias), heads), base);
      k = rope(heads(linear(h, l.k), kv), base);
      v = heads(linear(h, l.v), kv);
      if l.local { a = attention(q, k, v, window = window); } else { a = attention(q, k, v, scale = 1); }
      x = x + silu(a) * a;
      unused = gelu(x);
    }
    x = 2 * x * sqrt(16);)",
                      "", "\"layer.1.bias\""),
              R"(v0 = embed(embd, tokens)                                 -- x  [T, 8]
v1 = rms_norm(v0, layer.0.norm, 1e-05)                   -- h  [T, 8]  layer 0
v2 = linear(v1, layer.0.q)                               -- [T, 8]  layer 0
v3 = heads(v2, 2.0)                                      -- [T, 2, 4]  layer 0
v4 = rope(v3, 100.0)                                     -- q  [T, 2, 4]  layer 0
v5 = linear(v1, layer.0.k)                               -- [T, 4]  layer 0
v6 = heads(v5, 1.0)                                      -- [T, 4]  layer 0
v7 = rope(v6, 100.0)                                     -- k  [T, 4]  layer 0
v8 = linear(v1, layer.0.v)                               -- [T, 4]  layer 0
v9 = heads(v8, 1.0)                                      -- v  [T, 4]  layer 0
v10 = attention(v4, v7, v9, 0.5, 5.0)                    -- a  [T, 8]  layer 0  cache 0
v11 = silu(v10)                                          -- [T, 8]  layer 0
v12 = mul(v11, v10)                                      -- [T, 8]  layer 0
v13 = add(v0, v12)                                       -- x  [T, 8]  layer 0
v14 = rms_norm(v13, layer.1.norm, 1e-05)                 -- h  [T, 8]  layer 1
v15 = linear(v14, layer.1.q, layer.1.bias)               -- [T, 8]  layer 1
v16 = heads(v15, 2.0)                                    -- [T, 2, 4]  layer 1
v17 = rope(v16, 1000.0)                                  -- q  [T, 2, 4]  layer 1
v18 = linear(v14, layer.1.k)                             -- [T, 4]  layer 1
v19 = heads(v18, 1.0)                                    -- [T, 4]  layer 1
v20 = rope(v19, 1000.0)                                  -- k  [T, 4]  layer 1
v21 = linear(v14, layer.1.v)                             -- [T, 4]  layer 1
v22 = heads(v21, 1.0)                                    -- v  [T, 4]  layer 1
v23 = attention(v17, v20, v22, 1.0)                      -- a  [T, 8]  layer 1  cache 1
v24 = silu(v23)                                          -- [T, 8]  layer 1
v25 = mul(v24, v23)                                      -- [T, 8]  layer 1
v26 = add(v13, v25)                                      -- x  [T, 8]  layer 1
v27 = scale(v26, 2.0)                                    -- [T, 8]
v28 = scale(v27, 4.0)                                    -- x  [T, 8]
v29 = linear(v28, embd)                                  -- [T, 10]
return v29
)");
}

TEST_F(LowerGraph, CachesCountOnlyAttentionThatTheResultNeeds) {
    const std::string text = lowered(R"(
    for l in layer {
      a = attention(heads(linear(x, l.q), heads), heads(linear(x, l.k), kv), heads(linear(x, l.v), kv));
      if !l.local { x = x + a; }
    })");
    EXPECT_EQ(text.find("layer 0"), std::string::npos) << text;
    EXPECT_NE(text.find("layer 1  cache 0"), std::string::npos) << text;
}

TEST_F(LowerGraph, ConditionsAreDecided) {
    EXPECT_EQ(
        lowered(
            "for l in layer { if l.index == 1 && has(l.bias) { x = silu(x); } else if l.index + 1 "
            "!= n || has(head) { x = gelu(x); } }",
            "", "\"layer.*.bias\", \"head\""),
        R"(v0 = embed(embd, tokens)                                 -- x  [T, 8]
v1 = gelu(v0)                                            -- x  [T, 8]  layer 0
v2 = silu(v1)                                            -- x  [T, 8]  layer 1
v3 = linear(v2, head)                                    -- [T, 10]
return v3
)");
    EXPECT_EQ(
        lowered(
            "s = 1; for l in layer { s = s * 3 - l.index % 2; p = l.local ? l.q : l.q; } x = x * "
            "(s + -7 % 4 / 2);"),
        R"(v0 = embed(embd, tokens)                                 -- x  [T, 8]
v1 = scale(v0, 8.5)                                      -- x  [T, 8]
v2 = linear(v1, embd)                                    -- [T, 10]
return v2
)");
}

TEST_F(LowerGraph, WhatOnlyNumbersCanShow) {
    EXPECT_EQ(lowered("for l in layer { y = x * (1 / (c - 3)); }"),
              "t.graph:13:29: error: 1 / (c - 3) has no finite value here (in repetition 0)\n"
              "for l in layer { y = x * (1 / (c - 3)); }\n                            ^");
    EXPECT_EQ(lowered("y = x * sqrt(0 - 1);").substr(0, 48),
              "t.graph:13:9: error: sqrt((0 - 1)) has no finite");
    EXPECT_EQ(lowered("y = x * (c % 0);").substr(0, 57),
              "t.graph:13:12: error: the remainder of a division by 0\ny ");
    EXPECT_EQ(lowered("t = heads(x, n);", "n = 3").substr(0, 73),
              "t.graph:13:5: error: heads would give [T, 3, 8/3]: its dimensions must be");
    const std::string attention =
        "y = x; for l in layer { q = heads(linear(x, l.q), heads); k = heads(linear(x, l.k), kv);\n"
        "y = attention(q, k, k, window = c - 4); }";
    EXPECT_TRUE(starts_with(
        lowered(attention),
        "t.graph:14:5: error: attention: window must be a whole number of positions, or 0 "
        "for none, "
        "not -1"));
    EXPECT_TRUE(starts_with(
        lowered(attention, "heads = 3\nkv = 2"),
        "t.graph:14:5: error: attention: 3 query heads cannot share 2 key-value heads evenly "
        "(in repetition 0)"));
    EXPECT_TRUE(starts_with(lowered("x = clamp(x, c - 2.5, 0);"),
                            "t.graph:13:5: error: clamp: 0.5 is above 0\n"));
    EXPECT_EQ(lowered("x = clamp(x, c - 3, 0);").find("error"), std::string::npos);
    EXPECT_TRUE(
        starts_with(lowered("r = rope(heads(x, d), 10);"),
                    "t.graph:13:5: error: rope: a part of 0 of the 1 elements cannot be rotated"));
}

TEST(LowerConvolution, NoMoreTapsThanARunTakes) {
    TemporaryFolder folder;
    folder.write("t.graph", R"(graph t {
  dim d = 8; dim taps = 64;
  param embd : [10, d]; param w : [taps * d]; state last : [taps, d];
  forward(tokens: i32[T]) -> f32[T, 10] {
    return linear(causal_conv(embed(embd, tokens), w, last), embd);
  }
})");
    const auto error = [&](const char* taps) -> std::string {
        const fs::path file = folder.write(
            "t.toml", fmt::format("name = \"t\"\ngraph = \"t\"\n[dims]\ntaps = {}\n[weights]\n"
                                  "\"*\" = \"q8\"\n[tokenizer]\nkind = \"spm\"\n",
                                  taps));
        try {
            lower_model(file, {}, load_model(file, {}));
        } catch (const Error& failed) {
            return failed.what();
        }
        return "";
    };
    EXPECT_EQ(error("64"), "");
    EXPECT_NE(error("65").find("causal_conv: k must be 1 to 64 taps, not 65"), std::string::npos);
}

TEST(LowerShipped, EveryModelsForwardIsWhole) {
    for (const auto& entry : fs::directory_iterator(fs::path(LLMSQL_SOURCE_DIR) / "models")) {
        const Model model = load_model(entry.path(), {});
        const OpGraph graph = lower_model(entry.path(), {}, model);
        ASSERT_GE(graph.output, 0);
        EXPECT_EQ(graph.values[static_cast<size_t>(graph.output)].width,
                  model.numbers.at("n_vocab"));
        std::vector<bool> used(model.params.size(), false);
        std::vector<bool> made(graph.values.size(), false);
        int caches = 0;
        for (const Op& op : graph.ops) {
            for (const Arg& arg : op.args) {
                if (const auto* value = std::get_if<ValueRef>(&arg)) {
                    EXPECT_TRUE(made.at(static_cast<size_t>(value->id)));
                }
                if (const auto* param = std::get_if<ParamRef>(&arg))
                    for (int i = 0; i < param->count; ++i)
                        used.at(static_cast<size_t>(param->id - 1 + i)) = true;
            }
            made.at(static_cast<size_t>(op.result)) = true;
            if (op.cache >= 0) {  // the next one, or one that it shares with an earlier layer
                EXPECT_LE(op.cache, caches) << entry.path();
                caches = std::max(caches, op.cache + 1);
            }
        }
        // Layers with states need no cache, those of Gemma 3n and 4 share some.
        const auto layers = model.numbers.find("n_layer");
        if (graph.states.empty() && model.graph != "gemma4" && model.graph != "gemma3n") {
            ASSERT_NE(layers, model.numbers.end()) << entry.path();
            EXPECT_EQ(caches, layers->second) << entry.path();
        }
        EXPECT_GT(caches + static_cast<int>(graph.states.size()), 0) << entry.path();
        for (size_t i = 0; i < used.size(); ++i)  // of LongRoPE's factors some, by the context
            EXPECT_TRUE(used[i] || model.params[i].name == "rope_long") << model.params[i].name;
    }
}

TEST(LowerShipped, GemmasLayersDifferByTheirPlace) {
    const fs::path file = fs::path(LLMSQL_SOURCE_DIR) / "models/gemma3-270m.toml";
    const Model model = load_model(file, {});
    for (const Op& op : lower_model(file, {}, model).ops) {
        const bool global = op.layer % 6 == 5;
        if (op.op->name == "rope") {
            EXPECT_EQ(std::get<double>(op.args[1]), global ? 1e6 : 1e4);
        }
        if (op.op->name == "attention") {
            EXPECT_EQ(std::get<double>(op.args[3]), 1.0 / 16);
            EXPECT_EQ(std::get<double>(op.args[4]), global ? 0 : 512);
        }
    }
}

// A graph of its own: what tokens choose among.
class LowerChoices : public testing::Test {
  protected:
    std::string lowered(const std::string& body, int used = 2) {
        folder_.write("t.graph", fmt::format(R"(graph t {{
  dim d = 8; dim many = 3; dim u = {};
  param embd : [10, d]; param router : [many, d];
  param up : [many, d, d]; param down : [many, d, d]; param norm : [d];
  forward(tokens: i32[T]) -> f32[T, 10] {{
    x = embed(embd, tokens);
    w = top(softmax(linear(x, router)), u);
    y = linear_each(x, up, w, u);
{}
    return linear(x + linear_sum(rms_norm(y, norm, 1), down, w), embd);
  }}
}}
)",
                                             used, body));
        const fs::path file =
            folder_.write("t.toml",
                          "name = \"t\"\ngraph = \"t\"\n[dims]\n[weights]\n\"*\" = "
                          "\"q8\"\n[tokenizer]\nkind = \"spm\"\n");
        try {
            const Model model = load_model(file, {});
            return to_text(lower_model(file, {}, model), model.params);
        } catch (const Error& error) {
            const std::string said = replaced(error.what(), folder_.path().string() + "/", "");
            return said.substr(0, said.find('\n'));
        }
    }

    TemporaryFolder folder_;
};

TEST_F(LowerChoices, RowsForChoices) {
    EXPECT_EQ(lowered("y = silu(y) * y;"),
              R"(v0 = embed(embd, tokens)                                 -- x  [T, 8]
v1 = linear(v0, router)                                  -- [T, 3]
v2 = softmax(v1)                                         -- [T, 3]
v3 = top(v2, 2.0)                                        -- w  [T, 3]
v4 = linear_each(v0, up[3], v3, 2.0)                     -- y  [T*2, 8]
v5 = silu(v4)                                            -- [T*2, 8]
v6 = mul(v5, v4)                                         -- y  [T*2, 8]
v7 = rms_norm(v6, norm, 1.0)                             -- [T*2, 8]
v8 = linear_sum(v7, down[3], v3)                         -- [T, 8]
v9 = add(v0, v8)                                         -- [T, 8]
v10 = linear(v9, embd)                                   -- [T, 10]
return v10
)");
}

TEST_F(LowerChoices, WhatDoesNotGoWithThem) {
    EXPECT_EQ(
        lowered("y = rope(y, 100);"),
        "t.graph:9:5: error: rope does not work on what linear_each makes, which has a row for "
        "each choice");
    EXPECT_EQ(
        lowered("x = attention(y, y, linear_each(x, down, w, u)) * 1; x = embed(embd, tokens);"),
        "t.graph:9:5: error: attention does not work on what linear_each makes, which has a row "
        "for each choice");
    EXPECT_EQ(lowered("", 4), "t.graph:8:9: error: linear_each: 4 of 3 matrices cannot be chosen");
    EXPECT_EQ(lowered("w = top(w, 0);"),
              "t.graph:9:5: error: top: count must be a whole number of at least 1, not 0");
}

}  // namespace
}  // namespace llmsql::compiler
