// SPDX-License-Identifier: MIT
// What --profile=passes prints: where the time of a token went.
#pragma once

#include <string>

#include "runtime/program/pass_times.h"

namespace llmsql {

/// A block of lines: one that names what was timed, and one for each part of `seconds`, which is
/// all the time that `times` lies in; what is not of passes is sampling and text. For example
///
/// timing of decode: 63 tokens, 63 passes; a pass: 15.92 ms, 220 statements, 244 jobs
///   computing             14.961 ms  93.98 %
///   reading                0.000 ms   0.00 %
///   SQL                    0.401 ms   2.52 %
///   hand-offs              0.312 ms   1.96 %
///   sampling and text      0.246 ms   1.55 %
///
/// Empty where there was no pass.
std::string timing_text(const char* name, const PassTimes& times, double seconds);

}  // namespace llmsql
