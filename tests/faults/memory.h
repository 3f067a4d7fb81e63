// SPDX-License-Identifier: MIT
// Makes SQLite's allocations points of FAULT_MEMORY. Before SQLite is used.
#pragma once

namespace llmsql::faults {

void prepare_memory();

}  // namespace llmsql::faults
