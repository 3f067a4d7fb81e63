// What identifies a model database file, for the program that writes it and the one that reads it.
#pragma once

#include <cstdint>

namespace llmsql {

inline constexpr int64_t kModelApplicationId = 0x6c6d7371;  // 'lmsq'
inline constexpr int64_t kModelFormatVersion = 1;
inline constexpr int64_t kModelPageBytes = 65536;

}  // namespace llmsql
