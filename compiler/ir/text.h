// Small pieces of text that several passes print alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmsql {

/// The shortest decimal that reads back as the same double, the same in every locale, and with a
/// point or an exponent so that SQL takes it for a REAL: "1e-05", "0.125"; whole numbers below 1e15
/// in full, "100000.0". Fails for infinities and NaN.
std::string real_text(double number);

/// "[T, 9, 64]", or "[T, 576]" where heads is 1; `rows` is what to call the first dimension.
std::string shape_text(std::string_view rows, int64_t heads, int64_t width);

/// What follows the last dot of a parameter's name: "attn_q" of "layer.3.attn_q".
std::string last_name(const std::string& param);

}  // namespace llmsql
