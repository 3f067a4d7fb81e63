// SPDX-License-Identifier: MIT
// PlanByHand: a plan that a person runs, statement by statement, on a connection of their own.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "runtime/program/plan_state.h"
#include "sqlite/api.h"

namespace llmsql {

/// Where init ends can't be told here: what computes is made when it is first wanted, and what a
/// statement stores is computed when it ends. Tables come and go: what they have declared is there
/// as long as they stand in the connection's schema.
class PlanByHand final : public PlanState {
  public:
    /// `open` opens the model's database when `param` is made. The tables are registered on
    /// `connection`, which this outlives.
    PlanByHand(sqlite3* connection, std::function<std::shared_ptr<const ModelDb>()> open)
        : connection_(connection), open_(std::move(open)) {}

    std::shared_ptr<const ModelDb> model_db() override { return open_(); }
    bool stands(const TableName& name) const override;
    bool hears_transactions() const override { return true; }
    bool computes_at_once() const override { return true; }
    Compute* ready() override;  // never null: fails instead
    void before_append() override;
    void after_store(Compute& compute) override { compute.workers.finish(); }

  private:
    sqlite3* const connection_;
    const std::function<std::shared_ptr<const ModelDb>()> open_;
};

}  // namespace llmsql
