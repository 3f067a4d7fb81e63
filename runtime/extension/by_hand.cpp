// SPDX-License-Identifier: MIT
// The operators and the tables of plans on the host's own connection, so that a person can run a
// plan statement by statement and look at what each has stored.
#include "common/error.h"
#include "runtime/compute/functions.h"
#include "runtime/extension/host_function.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

// What a plan's chat section reads: here, a conversation that has not begun.
constexpr TableFunction kMessage{
    .name = "message",
    .declaration = "CREATE TABLE x(id INTEGER, role TEXT, content TEXT)",
    .columns = 3,
    .least = 0,
    .most = 0,
};

}  // namespace

void register_by_hand(const std::shared_ptr<Host>& host) {
    PlanByHand& state = host->by_hand();
    register_operators(host->db(), state.operators);
    register_tables(host->db(), state);
    register_host_function(
        host, kMessage,
        [](const std::shared_ptr<Host>&, std::span<sqlite3_value*>) -> std::unique_ptr<Rows> {
            return std::make_unique<NoRows>();
        });
}

}  // namespace llmsql
