// SPDX-License-Identifier: MIT
// Two evaluators over hashes instead of numbers: one of an OpGraph, straight from its definition,
// one of a Plan, statement by statement in a simulated arena. An element's hash depends on all that
// its value may depend on and on nothing else, so the two agree exactly if the plan computes what
// the graph says, and a single stale or overwritten byte shows.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
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
#include "tests/unit/compiler/fuse_graphs.h"

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

/// Any operator but those over a cache, once for both evaluators: what is the same for all elements
/// of a row (its name, parameters and numbers, the token, the position), then of each operand what
/// the operator's locality lets it see for one element, and which element it is among those that
/// see the same.
class Made {
  public:
    Made(const Operator& op, uint64_t token, uint64_t position) : hash_(tag(op.name)) {
        if (takes_pass_parameter(op, "tokens")) hash_ = mix(hash_, token);
        if (takes_pass_parameter(op, "position")) hash_ = mix(hash_, position);
    }
    void take(uint64_t value) { hash_ = mix(hash_, value); }
    uint64_t at(int64_t column) const { return mix(hash_, static_cast<uint64_t>(column)); }

  private:
    uint64_t hash_;
};

/// How many elements of an operand one element of the result depends on.
inline int64_t reach(const Operator& op, int64_t head, int64_t row) {
    return op.locality == Locality::element ? 1 : op.locality == Locality::head ? head : row;
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

/// Element `column` of row `r` of what an operator makes of its operands' rows.
template<class Rows>
uint64_t element_of(const Op& op, Rows rows, const Value& result, uint64_t token, size_t r,
                    int64_t column) {
    Made made(*op.op, token, r);
    int64_t within = column;
    for (const Arg& arg : op.args) {
        if (const auto* param = std::get_if<ParamRef>(&arg))
            made.take(static_cast<uint64_t>(param->id));
        else if (const auto* number = std::get_if<double>(&arg))
            made.take(bits(*number));
        else if (const auto* value = std::get_if<ValueRef>(&arg)) {
            const Row& row = rows(*value)[r];
            const int64_t size = reach(*op.op, result.width, std::ssize(row));
            const int64_t from = size == std::ssize(row) ? 0 : column / size * size;
            made.take(mix_all(row.data() + from, size));
            within = column % size;
        }
    }
    return made.at(reads_stored(*op.op) ? column : within);
}

/// The rows of the graph's output for these tokens.
inline std::vector<Row> evaluate_graph(const OpGraph& graph, const std::vector<uint64_t>& tokens) {
    std::vector<std::vector<Row>> values(graph.values.size());
    for (const Op& op : graph.ops) {
        const Value& result = graph.values[static_cast<size_t>(op.result)];
        const auto rows = [&](ValueRef value) -> const std::vector<Row>& {
            return values[static_cast<size_t>(value.id)];
        };
        const auto shape = [&](ValueRef value) {
            const Value& v = graph.values[static_cast<size_t>(value.id)];
            return RowShape{v.heads, v.width};
        };
        for (size_t r = 0; r < tokens.size(); ++r) {
            Row out;
            if (op.op->locality == Locality::cache) {
                const ValueRef q = op.value("q"), k = op.value("k"), v = op.value("v");
                out = attention_row(rows(q)[r], shape(q), rows(k), rows(v), shape(k), r,
                                    op.number("scale"), op.number("window"));
            } else if (op.op->locality == Locality::view) {
                out = rows(std::get<ValueRef>(op.args[0]))[r];
            } else {
                for (int64_t c = 0; c < result.elements(); ++c)
                    out.push_back(element_of(op, rows, result, tokens[r], r, c));
            }
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

    static bool looks_back(const PlanExpr& e) {
        return e.calls(Locality::cache) || std::ranges::any_of(e.args, looks_back);
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
        if (s.data.wraps(Wrap::joins)) {
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
        const int64_t step = looks_back(s.data) ? all : granule(s.data, target.shape);
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
        if (e.wraps(Wrap::picks_rows)) return eval(e.args[0], shape, first_ + row, from, to);
        if (e.wraps(Wrap::stores_q8)) return eval(e.args[0], shape, row, from, to);
        if (e.calls(Locality::cache)) {
            const PlanTensor& q = plan_.tensor(e.argument("q")->id);
            const PlanCache& cache = plan_.caches[static_cast<size_t>(cache_)];
            return attention_row(read(q, row, 0, q.shape.elements()), q.shape, keys_.at(cache_),
                                 values_.at(cache_), {cache.heads, cache.width}, row,
                                 e.argument("scale")->number, e.argument("window")->number);
        }
        // Of each operand the elements that all of from … to need.
        std::vector<Row> operands;
        for (const PlanExpr& arg : e.args) {
            operands.emplace_back();
            if (arg.kind == PlanExpr::Kind::param || arg.kind == PlanExpr::Kind::number) continue;
            if (reads_stored(*e.op)) {
                const PlanTensor& x = plan_.tensor(arg.id);
                operands.back() = read(x, row, 0, x.shape.elements());
            } else {
                operands.back() = eval(arg, shape, row, from, to);
            }
        }
        Row out;
        for (int64_t c = 0; c < to - from; ++c) {
            Made made(*e.op, tokens_[row], row);
            int64_t within = c;
            for (size_t i = 0; i < e.args.size(); ++i) {
                const Row& values = operands[i];
                if (e.args[i].kind == PlanExpr::Kind::param) {
                    made.take(static_cast<uint64_t>(e.args[i].id));
                } else if (e.args[i].kind == PlanExpr::Kind::number) {
                    made.take(bits(e.args[i].number));
                } else {
                    const int64_t size = reach(*e.op, shape.width, std::ssize(values));
                    const int64_t start = reads_stored(*e.op) ? 0 : c / size * size;
                    made.take(mix_all(values.data() + start, size));
                    within = c % size;
                }
            }
            out.push_back(made.at(reads_stored(*e.op) ? from + c : within));
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

/// Runs a plan of a builder's graph, two passes one after the other, and compares every row of
/// logits with what the graph says.
inline void expect_computes(const GraphBuilder& b, const Plan& plan) {
    std::vector<int64_t> param_rows;
    for (const Param& p : b.model.params) param_rows.push_back(p.shape.row_count());
    PlanInterpreter interpreter(plan, param_rows);
    for (const uint64_t pass : {0, 1}) {  // the second over what the first left behind
        const std::vector<uint64_t> tokens{pass + 5, pass + 3, pass + 8};
        const std::vector<Row> expected = evaluate_graph(b.graph, tokens);
        interpreter.forward(tokens);
        EXPECT_EQ(interpreter.logits(2, 1)[0], expected[2]);
        EXPECT_EQ(interpreter.logits(0, 2), std::vector(expected.begin(), expected.begin() + 2));
        EXPECT_EQ(interpreter.logits(1, 1)[0], expected[1]);
    }
}

}  // namespace llmsql::compiler::test
