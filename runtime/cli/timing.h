// What --timing prints: where the time of a token went.
#pragma once

#include <string>

#include "runtime/program/pass_times.h"

namespace llmsql {

/// A block of lines: one that names what was timed, and one for each part of `seconds`, which is
/// all the time that `times` lies in; what is not of passes is sampling and text. For example
///
/// timing of decode: 31 tokens, 31 passes; a pass: 38.52 ms, 315 statements, 168 shared out
///   computing             37.102 ms  96.32 %
///   one worker alone       0.611 ms   1.59 %
///   hand-offs              0.352 ms   0.91 %
///   SQL                    0.210 ms   0.55 %
///   sampling and text      0.245 ms   0.64 %
///
/// Empty where there was no pass.
std::string timing_text(const char* name, const PassTimes& times, double seconds);

}  // namespace llmsql
