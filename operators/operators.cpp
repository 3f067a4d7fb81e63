// SPDX-License-Identifier: MIT
// The operator table. See operators.h for what each field means.
#include "operators/operators.h"

#include <array>

namespace llmsql {
namespace {

constexpr NumberRule a_count(std::string_view name) {
    return {.name = name, .least = 1, .whole = true, .must_be = "a whole number of at least 1"};
}

// Of a factor: a number of about 1 times it is one that f16 holds, as keys and values are stored.
constexpr double kMostFactor = 65504;
constexpr NumberRule a_factor(std::string_view name) {
    return {.name = name,
            .most = kMostFactor,
            .above = true,
            .magnitude = true,
            .must_be = "a number from -65504 to 65504 other than 0"};
}

// Of attention over a cache.
constexpr NumberRule kWindow{
    .name = "window", .whole = true, .must_be = "a whole number of positions, or 0 for none"};
constexpr DimensionRule kSharedHeads{DimensionRule::Kind::multiple, "h", "g",
                                     "{} query heads cannot share {} key-value heads evenly"};

constexpr std::array kOperators{
    Operator{.name = "embed",
             .sql = "llm_embed",
             .locality = Locality::matrix,
             .signature = "(weight: param[n, d], tokens: tokens) -> [T, d]",
             .sql_form = "llm_embed(weight.data, :tokens)",
             .summary = "Row tokens[t] of the weight for each token t.",
             .weight = WeightUse::picked,
             .effort = 30},
    Operator{.name = "embed_position",
             .sql = "llm_embed_position",
             .locality = Locality::matrix,
             .signature = "(weight: param[n, d], tokens: tokens) -> [T, d]",
             .sql_form = "llm_embed_position(weight.data, :position, :tokens)",
             .summary = "Row position + t of the weight for token t of the pass: learned "
                        "positions.",
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
    Operator{.name = "linear_heads",
             .sql = "llm_linear_heads",
             .locality = Locality::matrix,
             .signature = "(x: [T, h, k], weight: param[h*n, k]) -> [T, h, n]",
             .sql_form = "llm_linear_heads(x.data, weight.data)",
             .summary = "Each head of x times rows of its own of the weight: y[t, g, i] = sum over "
                        "j of x[t, g, j] * weight[g * n + i, j].",
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
             .signature = "(x: [T, h, d], base: number, factors: param[f]?, part: number = 0, "
                          "adjacent: number = 0, magnitude: number = 1) -> [T, h, d]",
             .sql_form = "llm_rope(x.data, :position, base[, factors.data][, part][, adjacent]"
                         "[, magnitude])",
             .summary =
                 "Rotary position embedding (Su et al., 2021): with f the half of `part`, or of d "
                 "where that is 0, elements i and i + f of each head, or 2i and 2i + 1 where "
                 "`adjacent` is 1, are rotated by (position + t) * base^(-i/f), divided by "
                 "factors[i] where there are factors, and multiplied by `magnitude`. What is "
                 "behind the first `part` elements stays as it is.",
             .numbers = {NumberRule{.name = "base", .above = true, .must_be = "positive"},
                         NumberRule{.name = "part",
                                    .whole = true,
                                    .must_be = "a whole number of elements, or 0 for all"},
                         NumberRule{.name = "adjacent",
                                    .most = 1,
                                    .whole = true,
                                    .must_be = "1 for elements side by side, or 0"},
                         a_factor("magnitude")},
             .dimensions = {DimensionRule::Kind::pairs, "part", "d",
                            "a part of {} of the {} elements cannot be rotated: they go in pairs"},
             .effort = 24},
    Operator{.name = "rms_unit",
             .sql = "llm_rms_unit",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], eps: number) -> [T, ..., d]",
             .sql_form = "llm_rms_unit(x.data, eps)",
             .summary = "x / sqrt(mean(x * x) + eps) over the last dimension: rms_norm without a "
                        "weight.",
             .numbers = {NumberRule{.name = "eps", .must_be = "at least 0"}},
             .effort = 23},
    Operator{.name = "gain",
             .sql = "llm_gain",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], by: param[d]) -> [T, ..., d]",
             .sql_form = "llm_gain(x.data, by.data)",
             .summary =
                 "x * by over the last dimension, a vector for all tokens and heads; written "
                 "* in a graph file.",
             .infix = "*",
             .effort = 20},
    Operator{.name = "shift",
             .sql = "llm_shift",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], by: param[d]) -> [T, ..., d]",
             .sql_form = "llm_shift(x.data, by.data)",
             .summary =
                 "x + by over the last dimension, a vector for all tokens and heads; written "
                 "+ in a graph file.",
             .infix = "+",
             .effort = 20},
    Operator{.name = "weigh",
             .sql = "llm_weigh",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], by: [T, ..., 1]) -> [T, ..., d]",
             .sql_form = "llm_weigh(x.data, by.data)",
             .summary = "All of x's last dimension times one number, of each token and head its "
                        "own; written * in a graph file.",
             .infix = "*",
             .effort = 20},
    Operator{.name = "piece",
             .sql = "llm_piece",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], first: number, count: number) -> [T, ..., count]",
             .sql_form = "llm_piece(x.data, first, count)",
             .summary = "The elements first to first + count - 1 of the last dimension.",
             .numbers = {NumberRule{.name = "first", .whole = true, .must_be = "a whole number"},
                         a_count("count")},
             .dimensions = {DimensionRule::Kind::within, "first", "count",
                            "there are no {} + {} elements, but {}", "d"},
             .effort = 19},
    Operator{
        .name = "beside",
        .sql = "llm_beside",
        .locality = Locality::head,
        .signature = "(a: [T, ..., m], b: [T, ..., n], width: number) -> [T, ..., width]",
        .sql_form = "llm_beside(a.data, b.data, width)",
        .summary = "The last dimension of b behind that of a; `width` is m + n.",
        .numbers = {a_count("width")},
        .dimensions = {DimensionRule::Kind::sum, "width", "m", "the width {} is not {} + {}", "n"},
        .effort = 19},
    Operator{.name = "by_position",
             .sql = "llm_by_position",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], beta: number, every: number, first: number = 0) "
                          "-> [T, ..., d]",
             .sql_form = "llm_by_position(x.data, :position, beta, every[, first])",
             .summary = "x * (1 + beta * ln(1 + floor((position + t + first) / every))): queries "
                        "whose temperature goes with the length of the text.",
             .numbers = {NumberRule{.name = "beta",
                                    .most = kMostFactor,
                                    .magnitude = true,
                                    .must_be = "a number from -65504 to 65504"},
                         NumberRule{.name = "every", .above = true, .must_be = "positive"},
                         NumberRule{.name = "first", .must_be = "0 or more"}},
             .effort = 20},
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
             .signature = "(x: [T, ..., d], count: number, bias: param[d]?) -> [T, ..., d]",
             .sql_form = "llm_top(x.data, count[, bias.data])",
             .summary = "The `count` largest of the last dimension stay, of equals the first ones; "
                        "the others become 0. With a bias it is x + bias that decides, and x that "
                        "stays.",
             .numbers = {a_count("count")},
             .effort = 21},
    Operator{.name = "top_groups",
             .sql = "llm_top_groups",
             .locality = Locality::head,
             .signature = "(x: [T, ..., d], count: number, groups: number, kept: number, "
                          "best: number, bias: param[d]?) -> [T, ..., d]",
             .sql_form = "llm_top_groups(x.data, count, groups, kept, best[, bias.data])",
             .summary = "As top, among the `kept` of `groups` equal groups whose `best` largest "
                        "elements (of x + bias where there is a bias) have the largest sums.",
             .numbers = {a_count("count"), a_count("groups"), a_count("kept"), a_count("best")},
             .dimensions = {DimensionRule::Kind::multiple, "d", "groups",
                            "{} elements are not {} equal groups"},
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
    Operator{.name = "shift_each",
             .sql = "llm_shift_each",
             .locality = Locality::head,
             .signature = "(x: [T, u, n], by: param[m*n], choice: [T, m]) -> [T, u, n]",
             .sql_form = "llm_shift_each(x.data, by.data, choice.data)",
             .summary =
                 "A bias for each of the matrices of linear_each: x[t, r, i] + by[c * n + i], "
                 "where c is the r-th column in which choice[t] is not 0.",
             .choices = Choices::made,
             .effort = 20},
    Operator{.name = "blend",
             .sql = "llm_blend",
             .locality = Locality::head,
             .signature = "(choice: [T, m], by: param[m*n]) -> [T, n]",
             .sql_form = "llm_blend(choice.data, by.data)",
             .summary = "A bias for linear_sum: the sum over c of choice[t, c] * by[c * n + i], by "
                        "rising c.",
             .effort = 20},
    Operator{
        .name = "attention",
        .sql = "llm_attention",
        .locality = Locality::cache,
        .aggregate = true,
        .signature = "(q: [T, h, d], k: [T, g, d], v: [T, g, d], scale: number = 1 / sqrt(d), "
                     "window: number = 0, softcap: number = 0, sinks: param[h]?, chunked: number "
                     "= 0) -> [T, h*d]",
        .sql_form = "llm_attention(q.data, kv.k, kv.v, kv.position, :position, scale[, window]"
                    "[, softcap][, sinks.data][, chunked])",
        .summary = "Causal attention of each query over the cache blocks that the statement "
                   "selects: softmax(scale * q k) v, where query head i reads key-value head "
                   "i * g / h and, with a window w > 0, only the last w positions, itself "
                   "among them; where `chunked` is 1, instead those from the last multiple of w "
                   "on. With a softcap c > 0 each score s is c * tanh(s / c); a head's "
                   "sink is one more score, of no value, that takes its share.",
        .sees_other_rows = true,
        .looks_back = "window",
        .numbers = {a_factor("scale"), kWindow,
                    NumberRule{.name = "softcap", .must_be = "positive, or 0 for none"}},
        .dimensions = kSharedHeads,
        .effort = 50},
    Operator{.name = "latent_attention",
             .sql = "llm_latent_attention",
             .locality = Locality::cache,
             .aggregate = true,
             .signature = "(q: [T, h, d], k: [T, g, d], n: number, scale: number, window: number = "
                          "0) -> [T, h*n]",
             .sql_form = "llm_latent_attention(q.data, kv.k, kv.position, :position, n, scale"
                         "[, window])",
             .summary = "As attention, where the first n elements of each key are its value: what "
                        "the cache holds of a position is the key alone (DeepSeek-AI, 2024: "
                        "queries that have taken in the matrix that made keys of a latent vector).",
             .sees_other_rows = true,
             .looks_back = "window",
             .numbers = {a_count("n"), a_factor("scale"), kWindow},
             .dimensions = kSharedHeads,
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
             .numbers = {NumberRule{
                 .name = "k", .least = 1, .most = kMostTaps, .must_be = "1 to 64 taps"}},
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
        .numbers = {a_factor("scale"),
                    NumberRule{.name = "tiled", .most = 1, .whole = true, .must_be = "0 or 1"}},
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
             .infix = "*",
             .numbers = {a_factor("factor")}},
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
    Operator{
        .name = "gelu_erf",
        .sql = "llm_gelu_erf",
        .locality = Locality::element,
        .signature = "(x: [...]) -> [...]",
        .sql_form = "llm_gelu_erf(x.data)",
        .summary =
            "GELU as it is defined: x / 2 * (1 + erf(x / sqrt(2))) (Hendrycks and Gimpel, 2016)."},
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
    Operator{.name = "relu",
             .sql = "llm_relu",
             .locality = Locality::element,
             .signature = "(x: [...]) -> [...]",
             .sql_form = "llm_relu(x.data)",
             .summary = "max(x, 0)."},
    Operator{.name = "clamp",
             .sql = "llm_clamp",
             .locality = Locality::element,
             .signature = "(x: [...], least: number, most: number) -> [...]",
             .sql_form = "llm_clamp(x.data, least, most)",
             .summary = "min(max(x, least), most).",
             .dimensions = {DimensionRule::Kind::ordered, "least", "most", "{} is above {}"}},
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
