// SPDX-License-Identifier: MIT
// Entering the calls of table-valued functions. See host_function.h.
#include "runtime/extension/host_function.h"

#include <utility>

namespace llmsql {
namespace {

class EnteredRows final : public Rows {
  public:
    EnteredRows(std::shared_ptr<Host> host, std::unique_ptr<Rows> rows)
        : host_(std::move(host)), rows_(std::move(rows)) {}

    bool next() override {
        const Entered entered(*host_);
        return rows_->next();
    }
    void column(int column, sqlite3_context* context) override { rows_->column(column, context); }

  private:
    const std::shared_ptr<Host> host_;
    const std::unique_ptr<Rows> rows_;
};

}  // namespace

void register_host_function(const std::shared_ptr<Host>& host, const TableFunction& function,
                            HostCall call) {
    const auto entered_call = [host, call](std::span<sqlite3_value*> arguments) {
        const Entered entered(*host);
        return std::make_unique<EnteredRows>(host, call(host, arguments));
    };
    register_table_function(host->db(), function, entered_call);
}

}  // namespace llmsql
