// SPDX-License-Identifier: MIT
// Table-valued functions (sqlite/table_function.h) of a host's connection.
#pragma once

#include <memory>
#include <span>

#include "runtime/extension/call.h"
#include "sqlite/table_function.h"

namespace llmsql {

using HostCall = std::unique_ptr<Rows> (*)(const std::shared_ptr<Host>&, std::span<sqlite3_value*>);

/// Registers `function` on the host's connection; its calls, and each of their steps, are entered
/// (call.h) and made by `call`.
void register_host_function(const std::shared_ptr<Host>& host, const TableFunction& function,
                            HostCall call);

}  // namespace llmsql
