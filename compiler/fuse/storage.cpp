// SPDX-License-Identifier: MIT
// Deciding which values are stored. See storage.h.
#include "compiler/fuse/storage.h"

#include <string_view>

namespace llmsql::compiler {
namespace {

class Decider {
  public:
    Decider(const OpGraph& graph, const std::vector<Param>& params, const Split& split)
        : graph_(graph), params_(params), split_(split), storage_(graph.values.size()) {}

    std::vector<ValueStorage> run() {
        note_ops(split_.forward, false);
        note_ops(split_.logits, true);
        of(split_.output).uses += 1;
        for (const int v : split_.crossing) of(v).crosses = true;
        for (ValueStorage& value : storage_)
            if (value.uses > 1 || value.crosses) value.stored = true;
        for (const int v : split_.crossing) of(v).as_f32 = true;

        for (const int i : split_.forward) decide(i);
        for (const int i : split_.logits) decide(i);

        ValueStorage& output = of(split_.output);
        if (output.in_logits)
            output.stored = output.as_f32 = true;
        else
            output.rows_f32 = true;
        for (size_t v = 0; v < storage_.size(); ++v) quantise_in_its_own_shape(static_cast<int>(v));
        return std::move(storage_);
    }

  private:
    ValueStorage& of(int value) { return storage_[static_cast<size_t>(value)]; }
    const Op& op(int index) const { return graph_.ops[static_cast<size_t>(index)]; }
    int base(const Arg& arg) const {
        return split_.base[static_cast<size_t>(std::get<ValueRef>(arg).id)];
    }
    RowShape shape(int value) const {
        const Value& v = graph_.values[static_cast<size_t>(value)];
        return {v.heads, v.width};
    }

    void note_ops(const std::vector<int>& ops, bool in_logits) {
        for (const int i : ops) {
            of(op(i).result).op = i;
            of(op(i).result).in_logits = in_logits;
            for (const Arg& arg : op(i).args)
                if (std::holds_alternative<ValueRef>(arg)) of(base(arg)).uses += 1;
        }
    }

    // Reads `value` as a stored tensor from an operator of the given section.
    void require(int value, bool in_logits, TensorType form) {
        ValueStorage& s = of(value);
        if (in_logits && s.crosses) {
            (form == TensorType::q8 ? s.rows_q8 : s.rows_f32) = true;
            return;
        }
        s.stored = true;
        (form == TensorType::q8 ? s.as_q8 : s.as_f32) = true;
    }

    // Lets `result` hold `value`'s expression if `allowed`, and has it stored otherwise.
    void nest_or_store(ValueStorage& result, int value, bool allowed) {
        ValueStorage& s = of(value);
        if (result.in_logits && s.crosses) return;  // read through llm_rows
        if (!s.stored && allowed && result.size + s.size <= kMostNested) {
            result.size += s.size;
            result.has_linear |= s.has_linear;
            result.has_embed |= s.has_embed;
            if (s.head_shape) result.head_shape = s.head_shape;
            return;
        }
        s.stored = s.as_f32 = true;
    }

    bool fits_in_heads(int value, RowShape heads) {
        const ValueStorage& s = of(value);
        return !s.has_linear && !s.has_embed && !s.stands_alone &&
               (!s.head_shape || *s.head_shape == heads);
    }

    bool fits_beside(const ValueStorage& result, int value) {
        const ValueStorage& s = of(value);
        if (s.stands_alone) return false;
        const int kinds = (result.has_linear || s.has_linear) + (result.has_embed || s.has_embed) +
                          (result.head_shape || s.head_shape);
        if (kinds > 1) return false;
        return !result.head_shape || !s.head_shape || *result.head_shape == *s.head_shape;
    }

    void decide(int index) {
        const Op& o = op(index);
        ValueStorage& result = of(o.result);
        result.size = 1;
        const std::string_view name = o.op->name;
        if (name == "embed") {
            result.has_embed = true;
        } else if (name == "linear") {
            result.has_linear = true;
            const auto weight = static_cast<size_t>(std::get<ParamRef>(o.args[1]).id - 1);
            const WeightType type = params_[weight].type;
            const bool quantised = type == WeightType::q8 || type == WeightType::q4;
            require(base(o.args[0]), result.in_logits,
                    quantised ? TensorType::q8 : TensorType::f32);
        } else if (name == "attention") {
            result.stands_alone = result.stored = true;
            require(base(o.args[0]), false, TensorType::f32);
            ValueStorage
                append;  // a statement of its own, so each side has the whole of kMostNested
            for (const size_t i : {size_t{1}, size_t{2}}) {
                const RowShape heads = shape(std::get<ValueRef>(o.args[i]).id);
                append.size = 0;
                nest_or_store(append, base(o.args[i]), fits_in_heads(base(o.args[i]), heads));
            }
        } else if (o.op->locality == Locality::choice) {
            // linear_sum gathers rows of f32, and quantises them itself.
            result.stands_alone = result.stored = true;
            const auto first = static_cast<size_t>(std::get<ParamRef>(o.args[1]).id - 1);
            const WeightType type = params_[first].type;
            const bool q8 =
                name == "linear_each" && (type == WeightType::q8 || type == WeightType::q4);
            require(base(o.args[0]), result.in_logits, q8 ? TensorType::q8 : TensorType::f32);
            require(base(o.args[2]), result.in_logits, TensorType::f32);
        } else if (o.op->locality == Locality::head) {
            result.head_shape = shape(o.result);
            nest_or_store(result, base(o.args[0]), fits_in_heads(base(o.args[0]), shape(o.result)));
        } else {
            for (const Arg& arg : o.args)
                if (std::holds_alternative<ValueRef>(arg))
                    nest_or_store(result, base(arg), fits_beside(result, base(arg)));
        }
    }

    // A quantised tensor has no views, and its reader wants a plain row: an expression that makes
    // heads is stored as f32 first.
    void quantise_in_its_own_shape(int value) {
        ValueStorage& s = of(value);
        if (s.as_q8 && expression_shape(graph_, s, value).heads != 1) s.as_f32 = true;
    }

    const OpGraph& graph_;
    const std::vector<Param>& params_;
    const Split& split_;
    std::vector<ValueStorage> storage_;
};

}  // namespace

RowShape expression_shape(const OpGraph& graph, const ValueStorage& storage, int v) {
    const Value& value = graph.values[static_cast<size_t>(v)];
    if (storage.head_shape) return *storage.head_shape;
    if (storage.has_linear || storage.has_embed || storage.stands_alone)
        return {1, value.elements()};
    return {value.heads, value.width};
}

std::vector<ValueStorage> decide_storage(const OpGraph& graph, const std::vector<Param>& params,
                                         const Split& split) {
    return Decider(graph, params, split).run();
}

}  // namespace llmsql::compiler
