// SPDX-License-Identifier: MIT
// Small pieces of text that several passes print alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmsql::compiler {

/// The shortest decimal that reads back as the same double, the same in every locale, and with a
/// point or an exponent so that SQL takes it for a REAL: "1e-05", "0.125"; whole numbers below 1e15
/// in full, "100000.0". Fails for infinities and NaN.
std::string real_text(double number);

/// "[T, 9, 64]", or "[T, 576]" where heads is 1; `rows` is what to call the first dimension.
std::string shape_text(std::string_view rows, int64_t heads, int64_t width);

/// A parameter's name without the number of a matrix in a table: "layer.3.ffn_gate" of
/// "layer.3.ffn_gate.17".
std::string table_name(const struct Param& param);

/// What follows the last dot of that: "attn_q" of "layer.3.attn_q".
std::string last_name(const struct Param& param);

}  // namespace llmsql::compiler
