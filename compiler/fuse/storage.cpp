// SPDX-License-Identifier: MIT
// Deciding which values are stored. See storage.h.
#include "compiler/fuse/storage.h"

#include "common/weight_format.h"
#include "compiler/check/signature.h"

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
        for (size_t v = 0; v < storage_.size(); ++v) quantize_in_its_own_shape(static_cast<int>(v));
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
            result.scans |= s.scans;
            result.picks |= s.picks;
            if (s.head_shape) result.head_shape = s.head_shape;
            return;
        }
        s.stored = s.as_f32 = true;
    }

    bool fits_in_heads(int value, RowShape heads) {
        const ValueStorage& s = of(value);
        return !s.scans && !s.picks && !s.stands_alone && (!s.head_shape || *s.head_shape == heads);
    }

    bool fits_beside(const ValueStorage& result, int value) {
        const ValueStorage& s = of(value);
        if (s.stands_alone) return false;
        const int kinds = (result.scans || s.scans) + (result.picks || s.picks) +
                          (result.head_shape || s.head_shape);
        if (kinds > 1) return false;
        return !result.head_shape || !s.head_shape || *result.head_shape == *s.head_shape;
    }

    void decide(int index) {
        const Op& o = op(index);
        ValueStorage& result = of(o.result);
        result.size = 1;
        if (reads_stored(*o.op)) {
            const bool matrix = o.op->locality == Locality::matrix;
            result.picks = matrix && o.op->weight == WeightUse::picked;
            result.scans = matrix && !result.picks;
            result.stands_alone = !matrix;
            if (!matrix) result.stored = true;
            if (o.op->locality == Locality::scan) result.as_f32 = true;
        } else if (o.op->locality == Locality::head) {
            result.head_shape = shape(o.result);
        }
        for (size_t i = 0; i < o.args.size(); ++i)
            if (const auto* value = std::get_if<ValueRef>(&o.args[i])) read(o, i, *value, result);
    }

    // How an operator that makes `result` gets at its argument `i`.
    void read(const Op& o, size_t i, ValueRef value, ValueStorage& result) {
        const int operand = split_.base[static_cast<size_t>(value.id)];
        if (is_supplied(*o.op, signature_of(*o.op).params[i].name)) {
            // Appended to a cache, by a statement with the whole of kMostNested for each.
            ValueStorage append;
            nest_or_store(append, operand, fits_in_heads(operand, shape(value.id)));
        } else if (reads_stored(*o.op)) {
            require(operand, result.in_logits,
                    reads_q8(o, i, params_) ? TensorType::q8 : TensorType::f32);
        } else if (reads_stored_operand(graph_, o, o.args[i])) {
            nest_or_store(result, operand, false);
        } else if (o.op->locality == Locality::head) {
            nest_or_store(result, operand, fits_in_heads(operand, shape(o.result)));
        } else {
            nest_or_store(result, operand, fits_beside(result, operand));
        }
    }

    // A quantised tensor has no views, and its reader wants a plain row: an expression that makes
    // heads is stored as f32 first.
    void quantize_in_its_own_shape(int value) {
        ValueStorage& s = of(value);
        if (s.as_q8 && expression_shape(graph_, s, value).heads != 1) s.as_f32 = true;
    }

    const OpGraph& graph_;
    const std::vector<Param>& params_;
    const Split& split_;
    std::vector<ValueStorage> storage_;
};

}  // namespace

bool reads_stored_operand(const OpGraph& graph, const Op& op, const Arg& arg) {
    const auto elements = [&](int value) {
        const Value& v = graph.values[static_cast<size_t>(value)];
        return v.elements();
    };
    const ValueRef* value = std::get_if<ValueRef>(&arg);
    return value && op.op->locality == Locality::head && elements(value->id) != elements(op.result);
}

bool reads_q8(const Op& op, size_t index, const std::vector<Param>& params) {
    if (op.op->input != Input::as_weight) return false;
    for (size_t i = 0; i < index; ++i)
        if (std::holds_alternative<ValueRef>(op.args[i])) return false;
    for (const Arg& arg : op.args)
        if (const auto* weight = std::get_if<ParamRef>(&arg))
            return format_of(params[static_cast<size_t>(weight->id - 1)].type).quantized();
    return false;
}

RowShape expression_shape(const OpGraph& graph, const ValueStorage& storage, int v) {
    const Value& value = graph.values[static_cast<size_t>(v)];
    if (storage.head_shape) return *storage.head_shape;
    if (storage.scans || storage.picks || storage.stands_alone) return {1, value.elements()};
    return {value.heads, value.width};
}

std::vector<ValueStorage> decide_storage(const OpGraph& graph, const std::vector<Param>& params,
                                         const Split& split) {
    return Decider(graph, params, split).run();
}

}  // namespace llmsql::compiler
