// SPDX-License-Identifier: MIT
// Two evaluators over hashes instead of numbers: one of an OpGraph, straight from its definition,
// one of a Plan, statement by statement in a simulated arena. An element's hash depends on all that
// its value may depend on and on nothing else, so the two agree exactly if the plan computes what
// the graph says, and a single stale or overwritten byte shows.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler::test {

using Row = std::vector<uint64_t>;

inline uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t h = a * 0x9e3779b97f4a7c15u ^ std::rotl(b * 0xc2b2ae3d27d4eb4fu, 31);
    h ^= h >> 29;
    return h * 0x165667b19e3779f9u + 0x27d4eb2f165667c5u;
}

template<class... More>
uint64_t mix(uint64_t a, uint64_t b, More... more) {
    return mix(mix(a, b), static_cast<uint64_t>(more)...);
}

inline uint64_t mix_all(const uint64_t* values, int64_t count) {
    uint64_t h = 1;
    for (int64_t i = 0; i < count; ++i) h = mix(h, values[i]);
    return h;
}

inline uint64_t tag(std::string_view name) {
    uint64_t h = 2;
    for (const char c : name) h = mix(h, static_cast<uint64_t>(c));
    return h;
}

inline uint64_t bits(double number) {
    return std::bit_cast<uint64_t>(number);
}

// The operators, once for both evaluators.

inline uint64_t embed_element(int weight, uint64_t token, int64_t column) {
    return mix(tag("embed"), weight, token, column);
}
inline uint64_t linear_element(uint64_t input, int weight, int bias, int64_t column) {
    return mix(tag("linear"), input, weight, bias, column);
}
/// rms_norm and rope: `parameter` is the weight or the base, `position` 0 for rms_norm.
inline uint64_t head_element(std::string_view op, uint64_t head, uint64_t parameter,
                             uint64_t position, int64_t column) {
    return mix(tag(op), head, parameter, position, column);
}
inline uint64_t element(std::string_view op, uint64_t a, uint64_t b) {
    return mix(tag(op), a, b);
}

/// Attention of one row over the keys and values of rows 0 … row.
inline Row attention_row(const Row& q, RowShape q_shape, const std::vector<Row>& k,
                         const std::vector<Row>& v, RowShape kv_shape, size_t row, double scale,
                         double window) {
    Row out;
    for (int64_t h = 0; h < q_shape.heads; ++h) {
        const int64_t group = h * kv_shape.heads / q_shape.heads * kv_shape.width;
        uint64_t seen = mix_all(q.data() + h * q_shape.width, q_shape.width);
        for (size_t r = 0; r <= row; ++r)
            seen = mix(seen, mix_all(k[r].data() + group, kv_shape.width),
                       mix_all(v[r].data() + group, kv_shape.width));
        for (int64_t i = 0; i < kv_shape.width; ++i)
            out.push_back(mix(seen, bits(scale), bits(window), i));
    }
    return out;
}

/// The rows of the graph's output for these tokens.
inline std::vector<Row> evaluate_graph(const OpGraph& graph, const std::vector<uint64_t>& tokens) {
    std::vector<std::vector<Row>> values(graph.values.size());
    for (const Op& op : graph.ops) {
        const auto value_id = [&](size_t i) {
            return static_cast<size_t>(std::get<ValueRef>(op.args[i]).id);
        };
        const auto rows = [&](size_t i) -> const std::vector<Row>& { return values[value_id(i)]; };
        const auto shape = [&](size_t i) {
            const Value& v = graph.values[value_id(i)];
            return RowShape{v.heads, v.width};
        };
        const auto param = [&](size_t i) { return std::get<ParamRef>(op.args[i]).id; };
        const auto number = [&](size_t i) { return std::get<double>(op.args[i]); };
        const std::string_view name = op.op->name;
        const Value& result = graph.values[static_cast<size_t>(op.result)];
        for (size_t r = 0; r < tokens.size(); ++r) {
            Row out(static_cast<size_t>(result.elements()));
            for (size_t i = 0; i < out.size(); ++i) {
                const auto c = static_cast<int64_t>(i);
                if (name == "embed") {
                    out[i] = embed_element(param(0), tokens[r], c);
                } else if (name == "linear") {
                    const Row& x = rows(0)[r];
                    out[i] = linear_element(mix_all(x.data(), std::ssize(x)), param(1),
                                            op.args.size() > 2 ? param(2) : 0, c);
                } else if (name == "rms_norm" || name == "rope") {
                    const int64_t head = c / result.width * result.width;
                    const bool rope = name == "rope";
                    out[i] = head_element(name, mix_all(rows(0)[r].data() + head, result.width),
                                          rope ? bits(number(1)) : static_cast<uint64_t>(param(1)),
                                          rope ? r : 0, c - head);
                } else if (name == "heads") {
                    out[i] = rows(0)[r][i];
                } else if (name == "scale") {
                    out[i] = element(name, rows(0)[r][i], bits(number(1)));
                } else if (name == "add" || name == "mul") {
                    out[i] = element(name, rows(0)[r][i], rows(1)[r][i]);
                } else if (name == "silu" || name == "gelu" || name == "tanh") {
                    out[i] = element(name, rows(0)[r][i], 0);
                }
            }
            if (name == "attention")
                out = attention_row(rows(0)[r], shape(0), rows(1), rows(2), shape(1), r, number(3),
                                    number(4));
            values[static_cast<size_t>(op.result)].push_back(std::move(out));
        }
    }
    return values[static_cast<size_t>(graph.output)];
}

/// Runs a Plan. Throws std::runtime_error where a byte is read that is not what it is read as.
class PlanInterpreter {
  public:
    PlanInterpreter(const Plan& plan, const std::vector<int64_t>& param_rows)
        : plan_(plan), param_rows_(param_rows), arena_(static_cast<size_t>(plan.arena_bytes)) {
        for (uint64_t& byte : arena_) byte = junk();
    }

    void forward(const std::vector<uint64_t>& tokens) {
        tokens_ = tokens;
        keys_.clear();
        values_.clear();
        for (const PlanInsert& s : plan_.forward) run(s, tokens.size());
    }

    std::vector<Row> logits(size_t first, size_t rows) {
        first_ = first;
        for (const PlanInsert& s : plan_.logits) run(s, rows);
        std::vector<Row> out;
        const PlanTensor& output = plan_.tensor(plan_.output);
        for (size_t r = 0; r < rows; ++r)
            out.push_back(read(output, r, 0, output.shape.elements()));
        return out;
    }

  private:
    uint64_t junk() { return mix(tag("junk"), ++junk_); }

    size_t address(const PlanTensor& t, size_t row) const {
        return static_cast<size_t>(t.offset + static_cast<int64_t>(row) * t.stride);
    }

    Row read(const PlanTensor& t, size_t row, int64_t from, int64_t to) const {
        const size_t bytes = t.type == TensorType::f32 ? 4 : 1;
        Row out;
        for (int64_t c = from; c < to; ++c) {
            const size_t at = address(t, row) + static_cast<size_t>(c) * bytes;
            for (size_t b = 1; b < bytes; ++b)
                if (arena_.at(at + b) != arena_.at(at))
                    throw std::runtime_error("torn element in tensor '" + t.name + "'");
            out.push_back(arena_.at(at));
        }
        return out;
    }

    void write(const PlanTensor& t, size_t row, int64_t from, const Row& values) {
        const size_t bytes = t.type == TensorType::f32 ? 4 : 1;
        size_t at = address(t, row) + static_cast<size_t>(from) * bytes;
        for (const uint64_t value : values)
            for (size_t b = 0; b < bytes; ++b) arena_.at(at++) = value;
        if (t.type == TensorType::q8)  // padding, scales and sums
            for (auto c = static_cast<size_t>(t.shape.elements());
                 c < static_cast<size_t>(t.stride); ++c)
                arena_.at(address(t, row) + c) = junk();
    }

    // Elements of a row are evaluated and written in blocks of this many, as the runtime may.
    static int64_t granule(const PlanExpr& e, RowShape shape) {
        int64_t columns =
            e.kind == PlanExpr::Kind::call && e.op->locality == Locality::head ? shape.width : 1;
        for (const PlanExpr& arg : e.args) columns = std::lcm(columns, granule(arg, shape));
        return columns;
    }

    static const PlanExpr* find(const PlanExpr& e, std::string_view op) {
        if (e.calls(op)) return &e;
        for (const PlanExpr& arg : e.args)
            if (const PlanExpr* found = find(arg, op)) return found;
        return nullptr;
    }

    void run(const PlanInsert& s, size_t rows) {
        if (s.appends()) {
            const PlanCache& cache = plan_.caches[static_cast<size_t>(s.cache)];
            const RowShape shape{cache.heads, cache.width};
            for (size_t r = 0; r < rows; ++r) {
                keys_[s.cache].push_back(eval(s.data, shape, r, 0, shape.elements()));
                values_[s.cache].push_back(eval(s.values, shape, r, 0, shape.elements()));
            }
            return;
        }
        const PlanTensor& target = plan_.tensor(s.target);
        cache_ = s.cache;
        if (s.data.calls("llm_concat")) {
            const PlanExpr& linear = s.data.args[0];
            int64_t column = 0;
            for (int i = 0; linear.args[1].id + i <= linear.args[1].last; ++i) {
                PlanExpr one = linear;
                for (size_t a = 1; a < one.args.size(); ++a)
                    one.args[a].id = one.args[a].last = one.args[a].id + i;
                const int64_t width = param_rows_[static_cast<size_t>(one.args[1].id - 1)];
                for (size_t r = 0; r < rows; ++r)
                    write(target, r, column, eval(one, {1, width}, r, 0, width));
                column += width;
            }
            return;
        }
        const int64_t all = target.shape.elements();
        const int64_t step = find(s.data, "attention") ? all : granule(s.data, target.shape);
        for (size_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < all; c += step) {
                const int64_t to = std::min(all, c + step);
                write(target, r, c, eval(s.data, target.shape, r, c, to));
            }
    }

    Row eval(const PlanExpr& e, RowShape shape, size_t row, int64_t from, int64_t to) {
        if (e.kind == PlanExpr::Kind::tensor) {
            if (plan_.tensor(e.id).shape != shape)
                throw std::runtime_error("read under another shape");
            return read(plan_.tensor(e.id), row, from, to);
        }
        if (e.calls("llm_rows")) return eval(e.args[0], shape, first_ + row, from, to);
        if (e.calls("llm_quantize")) return eval(e.args[0], shape, row, from, to);
        Row out;
        if (e.calls("embed")) {
            for (int64_t c = from; c < to; ++c)
                out.push_back(embed_element(e.args[0].id, tokens_[row], c));
        } else if (e.calls("linear")) {
            const PlanTensor& x = plan_.tensor(e.args[0].id);
            const Row input = read(x, row, 0, x.shape.elements());
            for (int64_t c = from; c < to; ++c)
                out.push_back(linear_element(mix_all(input.data(), std::ssize(input)), e.args[1].id,
                                             e.args.size() > 2 ? e.args[2].id : 0, c));
        } else if (e.calls("attention")) {
            const PlanTensor& q = plan_.tensor(e.args[0].id);
            const PlanCache& cache = plan_.caches[static_cast<size_t>(cache_)];
            out = attention_row(read(q, row, 0, q.shape.elements()), q.shape, keys_.at(cache_),
                                values_.at(cache_), {cache.heads, cache.width}, row,
                                e.args[1].number, e.args[2].number);
        } else if (e.op->locality == Locality::head) {
            const Row x = eval(e.args[0], shape, row, from, to);
            const bool rope = e.calls("rope");
            for (int64_t c = 0; c < to - from; ++c) {
                const int64_t head = c / shape.width * shape.width;
                out.push_back(head_element(
                    e.op->name, mix_all(x.data() + head, shape.width),
                    rope ? bits(e.args[1].number) : static_cast<uint64_t>(e.args[1].id),
                    rope ? row : 0, c - head));
            }
        } else {
            const Row a = eval(e.args[0], shape, row, from, to);
            const Row b = e.args.size() > 1 && e.args[1].kind != PlanExpr::Kind::number
                              ? eval(e.args[1], shape, row, from, to)
                              : Row(a.size(), e.args.size() > 1 ? bits(e.args[1].number) : 0);
            for (size_t i = 0; i < a.size(); ++i) out.push_back(element(e.op->name, a[i], b[i]));
        }
        return out;
    }

    const Plan& plan_;
    const std::vector<int64_t>& param_rows_;
    std::vector<uint64_t> arena_;  // one hash a byte
    uint64_t junk_ = 0;
    std::vector<uint64_t> tokens_;
    size_t first_ = 0;  // of llm_rows
    int cache_ = -1;    // of the statement that is running
    std::map<int, std::vector<Row>> keys_, values_;
};

}  // namespace llmsql::compiler::test
