// SPDX-License-Identifier: MIT
// The operator table. See operators.h for what each field means.
#include "operators/operators.h"

#include <array>

namespace llmsql {
namespace {

constexpr NumberRule a_count(std::string_view name) {
    return {.name = name, .least = 1, .whole = true, .must_be = "a whole number of at least 1"};
}

constexpr std::array kOperators{
    Operator{.name = "embed",
             .sql = "llm_embed",
             .locality = Locality::matrix,
             .signature = "(weight: param[n, d], tokens: tokens) -> [T, d]",
             .sql_form = "llm_embed(weight.data, :tokens)",
             .summary = "Row tokens[t] of the weight for each token t.",
             .weight = WeightUse::picked,
             .effort = 30},
    Operator{.name = "linear",
             .sql = "llm_linear",
             .locality = Locality::matrix,
             .signature = "(x: [T, k], weight: param[n, k], bias: param[n]?) -> [T, n]",
             .sql_form = "llm_linear(x.data, weight.data[, bias.data])",
             .summary = "x times the transposed weight, plus the bias: y[t, i] = sum over j of "
                        "x[t, j] * weight[i, j] + bias[i]. A q8 or q4 weight takes a q8 tensor, an "
                        "f32 or f16 weight an f32 tensor.",
             .input = Input::as_weight,
             .weight = WeightUse::scanned,
             .effort = 31},
    Operator{.name = "rms_norm",
             .sql = "llm_rms_norm",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], weight: param[d], eps: number) -> [T, ..., d]",
             .sql_form = "llm_rms_norm(x.data, weight.data, eps)",
             .summary = "x / sqrt(mean(x * x) + eps) * weight over the last dimension (Zhang and "
                        "Sennrich, 2019).",
             .numbers = {NumberRule{.name = "eps", .must_be = "at least 0"}},
             .effort = 23},
    Operator{.name = "l2_norm",
             .sql = "llm_l2_norm",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], eps: number) -> [T, ..., d]",
             .sql_form = "llm_l2_norm(x.data, eps)",
             .summary = "x / sqrt(sum of x * x + eps) over the last dimension: of length 1.",
             .numbers = {NumberRule{.name = "eps", .must_be = "at least 0"}},
             .effort = 23},
    Operator{.name = "layer_norm",
             .sql = "llm_layer_norm",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], weight: param[d], eps: number, bias: param[d]?) -> "
                          "[T, ..., d]",
             .sql_form = "llm_layer_norm(x.data, weight.data, eps[, bias.data])",
             .summary = "(x - mean(x)) / sqrt(var(x) + eps) * weight + bias over the last "
                        "dimension, var(x) = mean((x - mean(x))^2) (Ba, Kiros and Hinton, 2016).",
             .numbers = {NumberRule{.name = "eps", .must_be = "at least 0"}},
             .effort = 23},
    Operator{.name = "rope",
             .sql = "llm_rope",
             .locality = Locality::head,
             .positive = 2,
             .signature = "(x: [T, h, 2*f], base: number, factors: param[f]?) -> [T, h, 2*f]",
             .sql_form = "llm_rope(x.data, :position, base[, factors.data])",
             .summary = "Rotary position embedding (Su et al., 2021) in the split-half form: "
                        "elements i and i + f are rotated by (position + t) * base^(-i/f), divided "
                        "by factors[i] where there are factors.",
             .numbers = {NumberRule{.name = "base", .above = true, .must_be = "positive"}},
             .effort = 24},
    Operator{.name = "softmax",
             .sql = "llm_softmax",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d]) -> [T, ..., d]",
             .sql_form = "llm_softmax(x.data)",
             .summary = "exp(x) / sum of exp(x) over the last dimension.",
             .effort = 22},
    Operator{.name = "top",
             .sql = "llm_top",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], count: number) -> [T, ..., d]",
             .sql_form = "llm_top(x.data, count)",
             .summary = "The `count` largest of the last dimension stay, of equals the first ones; "
                        "the others become 0.",
             .numbers = {a_count("count")},
             .effort = 21},
    Operator{.name = "normalize",
             .sql = "llm_normalize",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d]) -> [T, ..., d]",
             .sql_form = "llm_normalize(x.data)",
             .summary = "x / sum of x over the last dimension.",
             .effort = 20},
    Operator{
        .name = "linear_each",
        .sql = "llm_linear_each",
        .locality = Locality::choice,
        .aggregate = true,
        .signature = "(x: [T, k], table: table[m, n, k], choice: [T, m], u: number) -> [T, u, n]",
        .sql_form = "llm_linear_each(x.data, choice.data, chosen.item, table.data, u)",
        .summary = "x times each of the matrices that its token chooses: y[t, r, i] = sum over "
                   "j of x[t, j] * table[c, i, j], where c is the r-th column in which "
                   "choice[t] is not 0. There may be u of them at most; where there are fewer, "
                   "the rest is 0.",
        .input = Input::as_weight,
        .weight = WeightUse::scanned,
        .choices = Choices::made,
        .numbers = {a_count("u")},
        .dimensions = {DimensionRule::Kind::at_most, "u", "m",
                       "{} of {} matrices cannot be chosen"},
        .effort = 41},
    Operator{.name = "linear_sum",
             .sql = "llm_linear_sum",
             .locality = Locality::choice,
             .aggregate = true,
             .signature = "(x: [T, u, k], table: table[m, n, k], choice: [T, m]) -> [T, n]",
             .sql_form = "llm_linear_sum(x.data, choice.data, chosen.item, table.data)",
             .summary =
                 "The sum over the chosen matrices, each times its share: y[t, i] = sum over "
                 "r and j of choice[t, c] * x[t, r, j] * table[c, i, j], with c as in "
                 "linear_each. The sum goes by rising c.",
             .weight = WeightUse::scanned,
             .choices = Choices::summed,
             .effort = 40},
    Operator{
        .name = "attention",
        .sql = "llm_attention",
        .locality = Locality::cache,
        .aggregate = true,
        .signature = "(q: [T, h, d], k: [T, g, d], v: [T, g, d], scale: number = 1 / sqrt(d), "
                     "window: number = 0) -> [T, h*d]",
        .sql_form = "llm_attention(q.data, kv.k, kv.v, kv.position, :position, scale[, window])",
        .summary = "Causal attention of each query over the cache blocks that the statement "
                   "selects: softmax(scale * q k) v, where query head i reads key-value head "
                   "i * g / h and, with a window w > 0, only the last w positions, itself "
                   "among them.",
        .sees_other_rows = true,
        .looks_back = "window",
        .numbers = {NumberRule{.name = "window",
                               .whole = true,
                               .must_be = "a whole number of positions, or 0 for none"}},
        .dimensions = {DimensionRule::Kind::multiple, "h", "g",
                       "{} query heads cannot share {} key-value heads evenly"},
        .effort = 50},
    Operator{.name = "causal_conv",
             .sql = "llm_causal_conv",
             .locality = Locality::scan,
             .signature = "(x: [T, c], weight: param[k*c], last: state[k, c], bias: param[c]?) -> "
                          "[T, c]",
             .sql_form = "llm_causal_conv(x.data, weight.data, last.data[, bias.data])",
             .summary = "A short causal convolution of each column for itself: y[t, i] = bias[i] + "
                        "sum over j of weight[j, i] * x[t - k + 1 + j, i], x being 0 before the "
                        "first token. The state is the last k rows of x, the newest last.",
             .sees_other_rows = true,
             .effort = 45},
    Operator{
        .name = "gated_delta_rule",
        .sql = "llm_gated_delta_rule",
        .locality = Locality::scan,
        .signature = "(q: [T, g, m], k: [T, g, m], v: [T, h, n], decay: [T, h], beta: [T, h], "
                     "memory: state[h, m, n], scale: number = 1 / sqrt(m), tiled: number = 0) -> "
                     "[T, h*n]",
        .sql_form = "llm_gated_delta_rule(q.data, k.data, v.data, decay.data, beta.data, "
                    "memory.data, scale[, tiled])",
        .summary =
            "The gated delta rule (Yang, Kautz and Hatamizadeh, 2024): with S the "
            "memory of a head, for each token S = decay * S, then S = S + k (beta * (v "
            "- k S)), y = scale * q S. Head i of v goes by head i * g / h of q and k, or, where "
            "`tiled` is 1, by head i % g.",
        .sees_other_rows = true,
        .numbers = {NumberRule{.name = "tiled", .whole = true, .must_be = "0 or 1"}},
        .dimensions = {DimensionRule::Kind::multiple, "h", "g",
                       "{} heads of v cannot share {} of k evenly"},
        .effort = 49},
    Operator{.name = "selective_scan",
             .sql = "llm_selective_scan",
             .locality = Locality::scan,
             .signature = "(x: [T, h, n], dt: [T, h], a: param[h], b: [T, g, m], c: [T, g, m], "
                          "memory: state[h, m, n], d: param[h]?) -> [T, h*n]",
             .sql_form = "llm_selective_scan(x.data, dt.data, a.data, b.data, c.data, "
                         "memory.data[, d.data])",
             .summary = "Mamba-2's selective scan (Dao and Gu, 2024): with S the memory of a head, "
                        "for each token S = exp(dt * a) S + b (dt * x), y = c S + d * x. Head i "
                        "goes by b and c of group i * g / h.",
             .sees_other_rows = true,
             .dimensions = {DimensionRule::Kind::multiple, "h", "g",
                            "{} heads cannot share {} groups evenly"},
             .effort = 48},
    Operator{.name = "add",
             .sql = "llm_add",
             .locality = Locality::element,
             .signature = "(a: [...], b: [...]) -> [...]",
             .sql_form = "llm_add(a.data, b.data)",
             .summary = "a + b; written + in a graph file.",
             .infix = "+"},
    Operator{.name = "mul",
             .sql = "llm_mul",
             .locality = Locality::element,
             .signature = "(a: [...], b: [...]) -> [...]",
             .sql_form = "llm_mul(a.data, b.data)",
             .summary = "a * b, element by element; written * in a graph file.",
             .infix = "*"},
    Operator{.name = "scale",
             .sql = "llm_scale",
             .locality = Locality::element,
             .signature = "(x: [...], factor: number) -> [...]",
             .sql_form = "llm_scale(x.data, factor)",
             .summary = "x times a number; number * x in a graph file is the same.",
             .infix = "*"},
    Operator{.name = "silu",
             .sql = "llm_silu",
             .locality = Locality::element,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_silu(x.data)",
             .summary = "x / (1 + exp(-x))."},
    Operator{.name = "sigmoid",
             .sql = "llm_sigmoid",
             .locality = Locality::element,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_sigmoid(x.data)",
             .summary = "1 / (1 + exp(-x)): the share that a gate lets through."},
    Operator{
        .name = "gelu",
        .sql = "llm_gelu",
        .locality = Locality::element,
        .signature = "(x: [...]) -> [...]",
        .sql_form = "llm_gelu(x.data)",
        .summary = "The tanh form of GELU: x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))."},
    Operator{.name = "tanh",
             .sql = "llm_tanh",
             .locality = Locality::element,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_tanh(x.data)",
             .summary = "The hyperbolic tangent; `cap * tanh((1 / cap) * x)` is a soft cap."},
    Operator{.name = "exp",
             .sql = "llm_exp",
             .locality = Locality::element,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_exp(x.data)",
             .summary = "e to the power of x."},
    Operator{.name = "softplus",
             .sql = "llm_softplus",
             .locality = Locality::element,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_softplus(x.data)",
             .summary = "ln(1 + exp(x)): what is about 0 below 0, and x above."},
    Operator{.name = "flat",
             .locality = Locality::view,
             .signature = "(x: [T, h, d]) -> [T, h*d]",
             .summary = "Views h heads of equal width as one dimension."},
    Operator{.name = "heads",
             .locality = Locality::view,
             .signature = "(x: [T, h*d], h: number) -> [T, h, d]",
             .summary = "Views the last dimension as h heads of equal width."},
    Operator{.sql = "llm_quantize",
             .locality = Locality::plan,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_quantize(x.data)",
             .summary = "x as int8 codes in blocks of 32 with an f32 scale each: scale = "
                        "max|x| / 127. What a linear over q8 or q4 weights reads.",
             .wrap = Wrap::stores_q8,
             .effort = -1},
    Operator{.sql = "llm_concat",
             .locality = Locality::plan,
             .aggregate = true,
             .signature = "(x: [T, n]) -> [T, sum of n over the rows]",
             .sql_form = "llm_concat(x)",
             .summary = "The values of all selected rows side by side: several projections of one "
                        "input in one scan, as in llm_concat(llm_linear(x.data, weight.data)).",
             .wrap = Wrap::joins},
    Operator{.sql = "llm_rows",
             .locality = Locality::plan,
             .signature = "(x: [T, ...], first: number, rows: number) -> [rows, ...]",
             .sql_form = "llm_rows(x.data, :first, :rows)",
             .summary =
                 "Rows first to first + rows - 1 of a stored tensor: the tokens whose logits "
                 "are wanted.",
             .wrap = Wrap::picks_rows,
             .effort = -1},
    Operator{.sql = "llm_shape",
             .locality = Locality::inspect,
             .signature = "(x: [...]) -> text",
             .sql_form = "llm_shape(x.data)",
             .summary = "The type and shape of a tensor, parameter or deferred value as text: "
                        "'f32[12, 9, 64]'."},
    Operator{.sql = "llm_stats",
             .locality = Locality::inspect,
             .signature = "(x: [...]) -> text",
             .sql_form = "llm_stats(x.data)",
             .summary = "Minimum, maximum, mean, root mean square and first elements as JSON."},
};

}  // namespace

std::span<const Operator> operators() {
    return kOperators;
}

}  // namespace llmsql
