// SPDX-License-Identifier: MIT
// The operators and the tables of plans on the host's own connection, so that a person can run a
// plan statement by statement and look at what each has stored.
#include "common/error.h"
#include "runtime/compute/functions.h"
#include "runtime/extension/host_function.h"
#include "runtime/program/render_function.h"
#include "runtime/program/table.h"

namespace llmsql {
namespace {

// What a plan's chat section reads, by turns or whole: here, a conversation that has not begun.
constexpr TableFunction kMessage{
    .name = "message",
    .declaration = "CREATE TABLE x(id INTEGER, role TEXT, content TEXT)",
    .columns = 3,
    .least = 0,
    .most = 0,
};

constexpr TableFunction kConversation{
    .name = "conversation",
    .declaration = "CREATE TABLE x(messages TEXT, variables TEXT, date TEXT)",
    .columns = 3,
    .least = 0,
    .most = 0,
};

}  // namespace

void register_by_hand(const std::shared_ptr<Host>& host) {
    PlanByHand& state = host->by_hand();
    register_operators(host->db(), state.operators);
    register_tables(host->db(), state);
    for (const TableFunction* empty : {&kMessage, &kConversation})
        register_host_function(
            host, *empty,
            [](const std::shared_ptr<Host>&, std::span<sqlite3_value*>) -> std::unique_ptr<Rows> {
                return std::make_unique<NoRows>();
            });
    register_render_table(host->db());
}

}  // namespace llmsql
