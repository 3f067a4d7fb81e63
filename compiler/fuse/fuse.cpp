// SPDX-License-Identifier: MIT
// Writing the statements of a graph whose storage has been decided. See fuse.h.
#include "compiler/fuse/fuse.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

#include "common/error.h"
#include "compiler/check/signature.h"
#include "compiler/fuse/split.h"
#include "compiler/fuse/storage.h"

namespace llmsql::compiler {
namespace {

/// Where a value lies: columns of a stored tensor.
struct Place {
    int tensor = 0;
    int64_t first_column = 0;
};

/// Which of a value's stored forms is meant.
enum class Form { f32, q8, rows_f32, rows_q8 };

class Fuser {
  public:
    Fuser(const OpGraph& graph, const std::vector<Param>& params, const PlanSizes& sizes)
        : graph_(graph),
          split_(split_graph(graph)),
          storage_(decide_storage(graph, params, split_)),
          params_(params),
          snapshots_(sizes.snapshots.value_or(0)) {
        plan_.context = sizes.context;
        plan_.kv = sizes.kv;
        plan_.sequences = sizes.sequences;
        plan_.chunk = std::min(sizes.chunk, sizes.context);
        plan_.logits_rows = std::min(sizes.logits_rows, plan_.chunk);
        plan_.drafts = std::min(sizes.drafts.value_or(0), plan_.chunk - 1);
    }

    Plan run() {
        name_values();
        for (const StateShape& s : graph_.states)
            plan_.states.push_back({s.name, s.heads, s.rows, s.width});
        if (!plan_.states.empty()) plan_.snapshots = snapshots_ / plan_.snapshot_bytes();
        section_ = &plan_.forward;
        find_groups(split_.forward);
        for (const int i : split_.forward) write(i);
        count_inputs();
        section_ = &plan_.logits;
        find_groups(split_.logits);
        for (const int v : split_.crossing) take_rows(v);
        for (const int i : split_.logits) write(i);
        const Form form = of(split_.output).in_logits ? Form::f32 : Form::rows_f32;
        plan_.output = view(split_.output, form,
                            {1, graph_.values[static_cast<size_t>(split_.output)].elements()});
        return std::move(plan_);
    }

  private:
    const ValueStorage& of(int value) const { return storage_[static_cast<size_t>(value)]; }
    const Op& op(int index) const { return graph_.ops[static_cast<size_t>(index)]; }
    const Value& value(int v) const { return graph_.values[static_cast<size_t>(v)]; }
    int base(const Arg& arg) const {
        return split_.base[static_cast<size_t>(std::get<ValueRef>(arg).id)];
    }
    RowShape shape(const Arg& arg) const {
        const Value& v = value(std::get<ValueRef>(arg).id);
        return {v.heads, v.width};
    }
    int64_t section_rows() const {
        return section_ == &plan_.forward ? plan_.chunk : plan_.logits_rows;
    }

    // Gives every value the name under which a reader of the plan knows it: its variable; or that
    // of a view of it, or of the one norm, rotation or the like that reads it; or its operator.
    void name_values() {
        names_.resize(graph_.values.size());
        for (size_t v = graph_.values.size(); v-- > 0;) {
            std::string& name = names_[static_cast<size_t>(split_.base[v])];
            if (!graph_.values[v].name.empty()) name = graph_.values[v].name;
        }
        for (auto o = graph_.ops.rbegin(); o != graph_.ops.rend(); ++o) {
            const auto operands = std::ranges::count_if(
                o->args, [](const Arg& a) { return std::holds_alternative<ValueRef>(a); });
            if (operands != 1 || o->op->locality == Locality::matrix) continue;
            const int operand = base(*std::ranges::find_if(
                o->args, [](const Arg& a) { return std::holds_alternative<ValueRef>(a); }));
            std::string& name = names_[static_cast<size_t>(operand)];
            const auto result = static_cast<size_t>(split_.base[static_cast<size_t>(o->result)]);
            if (name.empty() && of(operand).uses == 1) name = names_[result];
        }
        std::string& output = names_[static_cast<size_t>(split_.output)];
        if (output.empty()) output = "logits";
        for (const Op& o : graph_.ops) {
            std::string& name = names_[static_cast<size_t>(o.result)];
            if (name.empty()) name = o.op->name;
        }
    }
    const std::string& name(int v) const { return names_[static_cast<size_t>(v)]; }

    // Scans of one input by one operator whose parameters follow each other in the catalogue become
    // one statement over a range of ids, if each result is stored as it is.
    void find_groups(const std::vector<int>& ops) {
        struct Member {
            std::vector<int> params;  // the matrix, and what goes with it
            int op;
        };
        struct Input {  // what they must have in common
            std::string_view op;
            std::vector<int> values;
            std::vector<double> numbers;
            int layer = -1;
            bool q8 = false;
            auto operator<=>(const Input&) const = default;
        };
        std::map<Input, std::vector<Member>> inputs;
        for (const int i : ops) {
            const Op& o = op(i);
            if (o.op->locality != Locality::matrix || o.op->weight != WeightUse::scanned ||
                !of(o.result).as_f32)
                continue;
            Input input{o.op->name, {}, {}, o.layer};
            Member member{{}, i};
            for (size_t a = 0; a < o.args.size(); ++a) {
                if (const auto* param = std::get_if<ParamRef>(&o.args[a]))
                    member.params.push_back(param->id);
                else if (const auto* number = std::get_if<double>(&o.args[a]))
                    input.numbers.push_back(*number);
                else if (std::holds_alternative<ValueRef>(o.args[a]))
                    input.values.push_back(base(o.args[a]));
                input.q8 |= reads_q8(o, a, params_);
            }
            inputs[input].push_back(std::move(member));
        }
        const auto follows = [](const std::vector<int>& next, const std::vector<int>& params) {
            return std::ranges::equal(next, params, [](int a, int b) { return a == b + 1; });
        };
        for (auto& [key, members] : inputs) {
            std::ranges::stable_sort(members, {}, &Member::params);
            std::vector<int> run;
            for (size_t m = 0; m < members.size(); ++m) {
                run.push_back(members[m].op);
                const bool goes_on = m + 1 < members.size() &&
                                     follows(members[m + 1].params, members[m].params) &&
                                     // a slice starts on 64 bytes, as every tensor does
                                     value(op(members[m].op).result).elements() % 16 == 0;
                if (goes_on) continue;
                if (run.size() > 1)
                    for (const int i : run) groups_[i] = run;
                run.clear();
            }
        }
    }

    int new_tensor(std::string name, TensorType type, RowShape shape, int64_t choices = 1) {
        PlanTensor tensor;
        tensor.name = std::move(name);
        tensor.type = type;
        tensor.rows = section_rows() * choices;
        tensor.shape = shape;
        tensor.choices = choices;
        plan_.tensors.push_back(std::move(tensor));
        return static_cast<int>(plan_.tensors.size());
    }

    // The tensor that shows a stored value under a shape: where it lies, or a view of that.
    int view(int v, Form form, RowShape shape) {
        const Place place = places_.at({v, form});
        const PlanTensor& stored = plan_.tensor(place.tensor);
        if (place.first_column == 0 && stored.shape == shape) return place.tensor;
        const auto key = std::tuple{place.tensor, place.first_column, shape.heads, shape.width};
        const auto found = views_.find(key);
        if (found != views_.end()) return found->second;
        PlanTensor tensor = stored;
        tensor.name = name(v);
        tensor.shape = shape;
        tensor.view_of = place.tensor;
        tensor.first_column = place.first_column;
        plan_.tensors.push_back(std::move(tensor));
        return views_[key] = static_cast<int>(plan_.tensors.size());
    }

    // A value as an operand: a stored tensor, its wanted rows, or the expression that makes it.
    PlanExpr operand(int v, RowShape shape) {
        const ValueStorage& s = of(v);
        if (section_ == &plan_.logits && !s.in_logits)
            return PlanExpr::call(rows_, {PlanExpr::tensor(view(v, Form::f32, shape))});
        if (s.stored) return PlanExpr::tensor(view(v, Form::f32, shape));
        return expression(op(s.op), shape);
    }

    // The call of an operator whose operands, where they are not stored, are read under `shape`.
    PlanExpr expression(const Op& o, RowShape shape) {
        const std::vector<SignatureParam>& parameters = signature_of(*o.op).params;
        std::vector<PlanExpr> args;
        for (size_t i = 0; i < o.args.size(); ++i) {
            const Arg& arg = o.args[i];
            if (is_supplied(*o.op, parameters[i].name)) continue;
            if (const auto* param = std::get_if<ParamRef>(&arg))
                args.push_back(PlanExpr::param(param->id, param->id + param->count - 1));
            else if (const auto* state = std::get_if<StateRef>(&arg))
                args.push_back(PlanExpr::state(state->id));
            else if (const auto* number = std::get_if<double>(&arg))
                args.push_back(PlanExpr::constant(*number));
            else if (std::holds_alternative<AbsentRef>(arg))
                args.push_back(PlanExpr::absent());
            else if (reads_stored_operand(graph_, o, arg))
                args.push_back(operand(base(arg), this->shape(arg)));
            else if (!reads_stored(*o.op))
                args.push_back(operand(base(arg), shape));
            else
                args.push_back(stored_input(arg, reads_q8(o, i, params_)));
        }
        return PlanExpr::call(o.op, std::move(args));
    }

    PlanExpr stored_input(const Arg& arg, bool q8) {
        const int v = base(arg);
        const bool rows = section_ == &plan_.logits && !of(v).in_logits;
        const Form form =
            rows ? (q8 ? Form::rows_q8 : Form::rows_f32) : (q8 ? Form::q8 : Form::f32);
        return PlanExpr::tensor(view(v, form, shape(arg)));
    }

    void store(PlanExpr data, int target, const Op& o) {
        PlanInsert statement;
        statement.data = std::move(data);
        statement.target = target;
        statement.layer = o.layer;
        const PlanExpr& made =
            statement.data.wraps(Wrap::stores_q8) ? statement.data.args[0] : statement.data;
        if (made.calls(Locality::cache)) statement.cache = caches_.at(o.cache).number;
        section_->push_back(std::move(statement));
    }

    // Writes what one operator asks for: nothing if it nests in its reader.
    void write(int index) {
        const Op& o = op(index);
        if (o.op->locality == Locality::cache) append(o);
        if (o.op->locality == Locality::scan) go_on(o);
        const ValueStorage& s = of(o.result);
        if (!s.stored) return;
        const int64_t elements = value(o.result).elements();
        if (!groups_.contains(index)) {
            const RowShape shape = expression_shape(graph_, s, o.result);
            PlanExpr data = expression(o, shape);
            if (!s.as_f32) {
                const int target = new_tensor(name(o.result), TensorType::q8, {1, elements});
                store(PlanExpr::call(quantize_, {std::move(data)}), target, o);
                places_[{o.result, Form::q8}] = {target, 0};
                return;
            }
            const int target =
                new_tensor(name(o.result), TensorType::f32, shape, value(o.result).choices);
            store(std::move(data), target, o);
            places_[{o.result, Form::f32}] = {target, 0};
        } else if (!places_.contains({o.result, Form::f32})) {
            write_group(groups_.at(index));
        }
        if (s.as_q8) quantize(o, Form::f32, Form::q8);
    }

    void write_group(const std::vector<int>& group) {
        const Op& first = op(group.front());
        PlanExpr data = expression(first, {});
        const PlanExpr last = expression(op(group.back()), {});
        for (size_t i = 0; i < data.args.size(); ++i) data.args[i].last = last.args[i].last;
        std::string names;
        int64_t width = 0;
        for (const int i : group) {
            names += (names.empty() ? "" : ", ") + name(op(i).result);
            width += value(op(i).result).elements();
        }
        const int target = new_tensor(names, TensorType::f32, {1, width});
        store(PlanExpr::call(concat_, {std::move(data)}), target, first);
        int64_t column = 0;
        for (const int i : group) {
            places_[{op(i).result, Form::f32}] = {target, column};
            column += value(op(i).result).elements();
        }
    }

    // Stores a quantised copy of a value that is stored as f32.
    void quantize(const Op& o, Form from, Form to) {
        const RowShape flat{1, value(o.result).elements()};
        PlanExpr source = PlanExpr::tensor(view(o.result, from, flat));
        if (to == Form::rows_q8) source = PlanExpr::call(rows_, {std::move(source)});
        const int target = new_tensor(name(o.result), TensorType::q8, flat);
        store(PlanExpr::call(quantize_, {std::move(source)}), target, o);
        places_[{o.result, to}] = {target, 0};
    }

    // Stores the wanted rows of a value that crosses the cut, in the forms that linears read.
    void take_rows(int v) {
        const Op& o = op(of(v).op);
        if (value(v).choices > 1)
            fail("'{}' has a row for each choice, and is still needed behind the last attention",
                 name(v));
        const RowShape flat{1, value(v).elements()};
        if (of(v).rows_f32) {
            PlanExpr source = PlanExpr::tensor(view(v, Form::f32, flat));
            const int target = new_tensor(name(v), TensorType::f32, flat);
            store(PlanExpr::call(rows_, {std::move(source)}), target, o);
            places_[{v, Form::rows_f32}] = {target, 0};
        }
        if (of(v).rows_q8) quantize(o, Form::f32, Form::rows_q8);
    }

    // Notes that an operator goes on from a state: one does.
    void go_on(const Op& o) {
        for (const Arg& arg : o.args)
            if (const auto* state = std::get_if<StateRef>(&arg);
                state && !gone_on_.insert(state->id).second)
                fail("{}: {} has gone on by another operator in the same pass", o.op->name,
                     plan_.states[static_cast<size_t>(state->id)].name);
    }

    // What the statement of each state reads, which is stored.
    void count_inputs() {
        for (const PlanInsert& s : plan_.forward)
            if (const int state = s.data.state_id(); state >= 0)
                for (const PlanExpr& arg : s.data.args)
                    if (arg.kind == PlanExpr::Kind::tensor)
                        plan_.states[static_cast<size_t>(state)].inputs +=
                            plan_.tensor(arg.id).shape.elements();
    }

    // Writes the append of what an operator looks back on, unless its cache already has it.
    void append(const Op& o) {
        const double window = o.number(o.op->looks_back);
        if (!(window >= 0 && window <= 1 << 30) || window != std::floor(window))
            fail("{}: {} must be a whole number from 0 to 2^30, not {}", o.op->name,
                 o.op->looks_back, window);
        // As the table `kv` calls them. Without v, values are the first elements of keys.
        const ValueRef k = o.value("k"), v = o.argument("v") ? o.value("v") : ValueRef{};
        const bool shared = v == ValueRef{};
        const RowShape heads = shape(k);
        const auto [found, made] = caches_.try_emplace(o.cache);
        CacheUse& use = found->second;
        if (!made) {
            if (use.k != k || use.v != v)
                fail("cache {} is given two different keys or values in one pass", o.cache);
            int64_t& kept = plan_.caches[static_cast<size_t>(use.number)].window;
            kept = window == 0 || kept == 0 ? 0 : std::max(kept, static_cast<int64_t>(window));
            return;
        }
        use = {static_cast<int>(plan_.caches.size()), k, v};
        plan_.caches.push_back({heads.heads, heads.width, static_cast<int64_t>(window), shared});
        PlanInsert statement;
        statement.data = operand(base(k), heads);
        statement.values = shared ? PlanExpr::absent() : operand(base(v), shape(v));
        statement.cache = use.number;
        statement.layer = o.layer;
        section_->push_back(std::move(statement));
    }

    struct CacheUse {
        int number = -1;  // among the plan's caches
        ValueRef k, v;
    };

    const OpGraph& graph_;
    Split split_;
    std::vector<ValueStorage> storage_;
    const std::vector<Param>& params_;
    const int64_t snapshots_;  // bytes
    const Operator* const rows_ = &wrapping(Wrap::picks_rows);
    const Operator* const quantize_ = &wrapping(Wrap::stores_q8);
    const Operator* const concat_ = &wrapping(Wrap::joins);

    Plan plan_;
    std::vector<PlanInsert>* section_ = nullptr;  // the one being written
    std::vector<std::string> names_;              // by value
    std::map<int, std::vector<int>> groups_;  // by op: the ops that share its statement, in order
    std::map<std::pair<int, Form>, Place> places_;
    std::map<std::tuple<int, int64_t, int64_t, int64_t>, int> views_;
    std::map<int, CacheUse> caches_;  // by the graph's number
    std::set<int> gone_on_;           // states
};

}  // namespace

Plan fuse(const OpGraph& graph, const std::vector<Param>& params, const PlanSizes& sizes) {
    return Fuser(graph, params, sizes).run();
}

}  // namespace llmsql::compiler
