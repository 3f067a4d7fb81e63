// SPDX-License-Identifier: MIT
// How a program ends where nothing can be done any more.
#pragma once

namespace llmsql {

/// For main: where memory runs out in a destructor (nlohmann's of a JSON value takes some), which
/// no exception may leave, the program ends with "PROGRAM: out of memory" and status 1, and its
/// temporary files are removed, rather than being aborted. `program` lives as long as the process.
void end_well_without_memory(const char* program);

}  // namespace llmsql
