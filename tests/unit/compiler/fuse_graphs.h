// SPDX-License-Identifier: MIT
// Graphs for the tests of the compiler's back half: a builder, three small decoders in the manner
// of real architectures, and random graphs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler::test {

/// Whether it is a call of the operator of the table with this name.
inline bool calls(const PlanExpr& e, std::string_view name) {
    return e.is_call() && e.op->name == name;
}

/// Builds an OpGraph and its catalogue side by side. Values and parameters are plain ints; the last
/// value made is the output.
class GraphBuilder {
  public:
    Model model;
    OpGraph graph;
    int layer = -1;
    WeightType matrices = WeightType::q8;

    GraphBuilder() {
        model.name = "test-model";
        model.graph = "test";
    }

    int matrix(const std::string& name, int64_t rows, int64_t cols) {
        return matrix(name, rows, cols, matrices);
    }
    int matrix(const std::string& name, int64_t rows, int64_t cols, WeightType type) {
        return add_param(name, type, {rows, cols});
    }
    int vector(const std::string& name, int64_t cols) {
        return add_param(name, WeightType::f32, {std::nullopt, cols});
    }

    int embed(int weight) {
        return add_op("embed", {ParamRef{weight}, TokensRef{}}, 1, shape_of(weight).cols);
    }
    int linear(int x, int weight, int bias = 0) {
        std::vector<Arg> args{ValueRef{x}, ParamRef{weight}};
        if (bias) args.push_back(ParamRef{bias});
        return add_op("linear", args, 1, *shape_of(weight).rows);
    }
    int rms_norm(int x, int weight) {
        return same("rms_norm", x, {ValueRef{x}, ParamRef{weight}, 1e-5});
    }
    int rope(int x, double base = 10000) { return same("rope", x, {ValueRef{x}, base}); }
    int heads(int x, int64_t count) {
        const int64_t n = value(x).elements();
        return add_op("heads", {ValueRef{x}, static_cast<double>(count)}, count, n / count);
    }
    int attention(int q, int k, int v, double window = 0) {
        const double scale = 1 / std::sqrt(static_cast<double>(value(q).width));
        const int result =
            add_op("attention", {ValueRef{q}, ValueRef{k}, ValueRef{v}, scale, window}, 1,
                   value(q).elements());
        graph.ops.back().cache = caches_++;
        return result;
    }
    int add(int a, int b) { return same("add", a, {ValueRef{a}, ValueRef{b}}); }
    int mul(int a, int b) { return same("mul", a, {ValueRef{a}, ValueRef{b}}); }
    int scale(int x, double factor) { return same("scale", x, {ValueRef{x}, factor}); }
    int silu(int x) { return same("silu", x, {ValueRef{x}}); }
    int gelu(int x) { return same("gelu", x, {ValueRef{x}}); }
    /// Any operator, of the table or not.
    int apply(const Operator& op, std::vector<Arg> args, int64_t heads, int64_t width) {
        Value made;
        made.heads = heads;
        made.width = width;
        graph.values.push_back(made);
        Op one;
        one.op = &op;
        one.args = std::move(args);
        one.result = static_cast<int>(graph.values.size()) - 1;
        one.layer = layer;
        graph.ops.push_back(one);
        graph.output = one.result;
        return one.result;
    }

    /// Names a value as an assignment in a graph file would.
    int named(const std::string& name, int v) {
        graph.values[static_cast<size_t>(v)].name = name;
        return v;
    }
    const Value& value(int v) const { return graph.values[static_cast<size_t>(v)]; }

  private:
    ParamShape shape_of(int param) const {
        return model.params[static_cast<size_t>(param - 1)].shape;
    }
    int add_param(const std::string& name, WeightType type, ParamShape shape) {
        Param param;
        param.name = layer >= 0 ? "layer." + std::to_string(layer) + "." + name : name;
        param.type = type;
        param.shape = shape;
        model.params.push_back(param);
        return static_cast<int>(model.params.size());
    }
    int same(const char* op, int x, std::vector<Arg> args) {
        const Value shape = value(x);
        return add_op(op, std::move(args), shape.heads, shape.width);
    }
    int add_op(const char* name, std::vector<Arg> args, int64_t heads, int64_t width) {
        return apply(*find_operator(name), std::move(args), heads, width);
    }

    int caches_ = 0;
};

/// A llama: pre-norm, grouped-query attention, SwiGLU whose width is no multiple of 32, tied head.
inline GraphBuilder small_llama(int layers = 2, WeightType matrices = WeightType::q8) {
    GraphBuilder b;
    b.matrices = matrices;
    b.model.name = "small-llama";
    b.model.graph = "llama";
    const int embedding = b.matrix("token_embd", 96, 64);
    int x = b.named("x", b.embed(embedding));
    for (b.layer = 0; b.layer < layers; ++b.layer) {
        const int attn_norm = b.vector("attn_norm", 64), wq = b.matrix("attn_q", 64, 64),
                  wk = b.matrix("attn_k", 32, 64), wv = b.matrix("attn_v", 32, 64),
                  wo = b.matrix("attn_output", 64, 64), ffn_norm = b.vector("ffn_norm", 64),
                  gate = b.matrix("ffn_gate", 176, 64), up = b.matrix("ffn_up", 176, 64),
                  down = b.matrix("ffn_down", 64, 176);
        int h = b.named("h", b.rms_norm(x, attn_norm));
        const int q = b.named("q", b.rope(b.heads(b.linear(h, wq), 4)));
        const int k = b.named("k", b.rope(b.heads(b.linear(h, wk), 2)));
        const int v = b.named("v", b.heads(b.linear(h, wv), 2));
        x = b.named("x", b.add(x, b.linear(b.attention(q, k, v), wo)));
        h = b.named("h", b.rms_norm(x, ffn_norm));
        const int raised = b.linear(h, up);  // before the gate: operators are in the order of calls
        const int inner = b.mul(b.silu(b.linear(h, gate)), raised);
        x = b.named("x", b.add(x, b.linear(inner, down)));
    }
    b.layer = -1;
    b.linear(b.rms_norm(x, b.vector("output_norm", 64)), embedding);
    b.model.chat.query = "SELECT '<s>' || role, content, '</s>' FROM message";
    b.model.chat.stop = {"</s>", "it's"};
    return b;
}

/// A qwen2: as llama, with biases that follow the three weights in the catalogue.
inline GraphBuilder small_qwen(int layers = 2) {
    GraphBuilder b;
    b.model.name = "small-qwen";
    b.model.graph = "qwen2";
    const int embedding = b.matrix("token_embd", 96, 64);
    const int output = b.matrix("output", 96, 64, WeightType::f16);
    int x = b.named("x", b.embed(embedding));
    for (b.layer = 0; b.layer < layers; ++b.layer) {
        const int attn_norm = b.vector("attn_norm", 64);
        const int wq = b.matrix("attn_q", 64, 64, WeightType::q4),
                  wk = b.matrix("attn_k", 32, 64, WeightType::q4),
                  wv = b.matrix("attn_v", 32, 64, WeightType::q8);
        const int bq = b.vector("attn_q_bias", 64), bk = b.vector("attn_k_bias", 32),
                  bv = b.vector("attn_v_bias", 32);
        const int wo = b.matrix("attn_output", 64, 64);
        const int ffn_norm = b.vector("ffn_norm", 64), gate = b.matrix("ffn_gate", 96, 64),
                  up = b.matrix("ffn_up", 96, 64), down = b.matrix("ffn_down", 64, 96);
        int h = b.named("h", b.rms_norm(x, attn_norm));
        const int q = b.named("q", b.rope(b.heads(b.linear(h, wq, bq), 4), 1e6));
        const int k = b.named("k", b.rope(b.heads(b.linear(h, wk, bk), 2), 1e6));
        const int v = b.named("v", b.heads(b.linear(h, wv, bv), 2));
        x = b.named("x", b.add(x, b.linear(b.attention(q, k, v), wo)));
        h = b.named("h", b.rms_norm(x, ffn_norm));
        const int raised = b.linear(h, up);  // before the gate: operators are in the order of calls
        const int inner = b.mul(b.silu(b.linear(h, gate)), raised);
        x = b.named("x", b.add(x, b.linear(inner, down)));
    }
    b.layer = -1;
    b.linear(b.rms_norm(x, b.vector("output_norm", 64)), output);
    return b;
}

/// A gemma3: scaled embedding, norms before and after each part, normed q and k, windows on some
/// layers, GeGLU; unquantised weights in its last layer.
inline GraphBuilder small_gemma(int layers = 2) {
    GraphBuilder b;
    b.model.name = "small-gemma";
    b.model.graph = "gemma3";
    const int embedding = b.matrix("token_embd", 96, 64);
    int x = b.named("x", b.scale(b.embed(embedding), 8));
    for (b.layer = 0; b.layer < layers; ++b.layer) {
        b.matrices = b.layer == layers - 1 ? WeightType::f16 : WeightType::q8;
        const int attn_norm = b.vector("attn_norm", 64), wq = b.matrix("attn_q", 128, 64),
                  wk = b.matrix("attn_k", 32, 64), wv = b.matrix("attn_v", 32, 64),
                  q_norm = b.vector("attn_q_norm", 32), k_norm = b.vector("attn_k_norm", 32),
                  wo = b.matrix("attn_output", 64, 128), post = b.vector("post_attention_norm", 64),
                  ffn_norm = b.vector("ffn_norm", 64), gate = b.matrix("ffn_gate", 160, 64),
                  up = b.matrix("ffn_up", 160, 64), down = b.matrix("ffn_down", 64, 160),
                  post_ffn = b.vector("post_ffw_norm", 64);
        const bool local = b.layer % 2 == 0;
        const double base = local ? 10000 : 1000000;
        int h = b.named("h", b.rms_norm(x, attn_norm));
        const int q = b.named("q", b.rope(b.rms_norm(b.heads(b.linear(h, wq), 4), q_norm), base));
        const int k = b.named("k", b.rope(b.rms_norm(b.heads(b.linear(h, wk), 1), k_norm), base));
        const int v = b.named("v", b.heads(b.linear(h, wv), 1));
        const int a = b.attention(q, k, v, local ? 512 : 0);
        x = b.named("x", b.add(x, b.rms_norm(b.linear(a, wo), post)));
        h = b.named("h", b.rms_norm(x, ffn_norm));
        const int inner = b.mul(b.gelu(b.linear(h, gate)), b.linear(h, up));
        x = b.named("x", b.add(x, b.rms_norm(b.linear(inner, down), post_ffn)));
    }
    b.layer = -1;
    b.linear(b.rms_norm(x, b.vector("output_norm", 64)), embedding);
    return b;
}

/// A graph that nobody would train: any operator over any earlier values of fitting shapes, several
/// attentions, values read long after they were made, weights of every type.
inline GraphBuilder random_graph(uint32_t seed) {
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
    constexpr WeightType kTypes[] = {WeightType::f32, WeightType::f16, WeightType::q8,
                                     WeightType::q4};
    constexpr int64_t kWidths[] = {16, 24, 32, 48, 64};
    const auto embedding = [&](GraphBuilder& b) {
        return b.embed(b.matrix("embedding", 40, kWidths[below(5)], kTypes[below(4)]));
    };

    GraphBuilder b;
    b.model.name = "random";
    std::vector<int> values{embedding(b)};  // to draw operands from
    // A value that fits, recent ones more often than old ones, as in real graphs; -1 if none was
    // met.
    const auto draw = [&](const std::function<bool(const Value&)>& fits) {
        for (int tries = 0; tries < 30; ++tries) {
            const size_t reach = below(3) ? std::min<size_t>(4, values.size()) : values.size();
            const int v = values[values.size() - 1 - below(reach)];
            if (fits(b.value(v))) return v;
        }
        return -1;
    };
    const auto flat = [](const Value& v) { return v.heads == 1; };
    const auto whatever = [](const Value&) { return true; };
    const auto alike = [&](int x) {
        return [&b, x](const Value& v) {
            return v.heads == b.value(x).heads && v.width == b.value(x).width;
        };
    };

    const auto linears = [&](int x) {  // up to three of one input, weights in a row or not
        const size_t count = 1 + below(3);
        const bool biased = below(2) > 0, apart = below(3) == 0;
        const WeightType type = kTypes[below(4)];
        const int64_t width = b.value(x).width;
        std::vector<int> weights, biases;
        std::vector<int64_t> heights;
        for (size_t i = 0; i < count; ++i) {
            heights.push_back(kWidths[below(5)]);
            weights.push_back(b.matrix("w", heights[i], width, below(5) ? type : kTypes[below(4)]));
            if (apart) b.vector("unused", 8);
        }
        for (const int64_t height : heights) biases.push_back(b.vector("b", height));
        const bool backwards = below(2) > 0;
        for (size_t i = 0; i < count; ++i) {
            const size_t j = backwards ? count - 1 - i : i;
            values.push_back(b.linear(x, weights[j], biased ? biases[j] : 0));
        }
    };
    const auto attention = [&](int q) {
        const int k = draw([&](const Value& v) {
            return v.width == b.value(q).width && b.value(q).heads % v.heads == 0;
        });
        const int v = k < 0 ? -1 : draw(alike(k));
        return v < 0 ? -1 : b.attention(q, k, v, below(2) ? 0 : 40);
    };
    const auto binary = [&](int x) {
        const int y = draw(alike(x));
        if (y < 0) return -1;
        return below(2) ? b.add(x, y) : b.mul(x, y);
    };

    const size_t steps = 4 + below(40);
    for (size_t step = 0; step < steps; ++step) {
        if (below(4) == 0) b.layer = static_cast<int>(step / 8);
        const int x = draw(whatever);
        const Value shape = b.value(x);
        int made = -1;
        switch (below(11)) {
            case 0:
                made = embedding(b);
                break;
            case 1:
            case 2:
                if (flat(shape)) linears(x);
                break;
            case 3:
                made = b.rms_norm(x, b.vector("norm", shape.width));
                break;
            case 4:
                made = b.rope(x);
                break;
            case 5:
                if (flat(shape)) made = b.heads(x, below(2) ? 2 : 4);
                break;
            case 6:
            case 7:
                made = binary(x);
                break;
            case 8:
                made = below(2) ? b.silu(x) : b.scale(x, 0.5);
                break;
            default:
                made = attention(x);
        }
        if (made < 0) continue;
        if (below(3) == 0) b.named(std::string(1, "abcxyz"[below(6)]), made);
        values.push_back(made);
    }
    const int output = draw(flat);
    b.graph.output = output < 0 ? values.front() : output;
    return b;
}

}  // namespace llmsql::compiler::test
