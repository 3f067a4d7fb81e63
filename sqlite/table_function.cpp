// SPDX-License-Identifier: MIT
// Calls on the bridge to SQLite. See table_function.h.
#include "sqlite/table_function.h"

#include <array>
#include <new>
#include <utility>

#include "common/error.h"
#include "sqlite/virtual_table.h"

namespace llmsql {
namespace {

constexpr int kMostArguments = TableFunction::kMostArguments;

class CallCursor final : public VirtualCursor {
  public:
    CallCursor(const TableFunction& function, const TableCall& call)
        : function_(function), call_(call) {}

    // `given` says which arguments there are: a bit each.
    void filter(int given, const char*, std::span<sqlite3_value*> values) override {
        rows_.reset();  // the last call's, before another begins
        row_ = 0;
        at_end_ = true;
        std::array<sqlite3_value*, kMostArguments> arguments{};
        size_t next = 0;
        for (int argument = 0; argument < function_.most; ++argument) {
            if (given & (1 << argument))
                arguments[static_cast<size_t>(argument)] = values[next++];
            else if (argument < function_.least)
                fail("{}: {} argument{} needed", function_.name, function_.least,
                     function_.least == 1 ? " is" : "s are");
        }
        rows_ = call_({arguments.data(), static_cast<size_t>(function_.most)});
        this->next();
    }

    void next() override {
        at_end_ = true;
        at_end_ = !rows_->next();
        ++row_;
    }
    bool at_end() const override { return at_end_; }
    int64_t row_id() const override { return row_; }

    void column(int column, sqlite3_context* context) override {
        if (column < function_.columns || column >= function_.columns + function_.most)
            rows_->column(column, context);
    }

  private:
    const TableFunction& function_;
    const TableCall& call_;
    std::unique_ptr<Rows> rows_;
    int64_t row_ = 0;
    bool at_end_ = true;
};

class FunctionTable final : public VirtualTable {
  public:
    FunctionTable(const TableFunction& function, const TableCall& call)
        : function_(function), call_(call) {}

    const char* declaration() const override { return function_.declaration; }
    VirtualCursor* open_cursor() override {
        return new (std::nothrow) CallCursor(function_, call_);
    }

    int best_index(sqlite3_index_info* info) override {
        std::array<int, kMostArguments> constraint;
        constraint.fill(-1);
        for (int i = 0; i < info->nConstraint; ++i) {
            const auto& each = info->aConstraint[i];
            const int argument = each.iColumn - function_.columns;
            if (argument < 0 || argument >= function_.most) continue;
            if (each.op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
            if (!each.usable) return SQLITE_CONSTRAINT;
            constraint[static_cast<size_t>(argument)] = i;
        }
        int given = 0, count = 0;
        for (int argument = 0; argument < function_.most; ++argument) {
            const int i = constraint[static_cast<size_t>(argument)];
            if (i < 0) continue;
            info->aConstraintUsage[i].argvIndex = ++count;
            info->aConstraintUsage[i].omit = 1;
            given |= 1 << argument;
        }
        info->idxNum = given;
        info->estimatedCost = 1e6;
        info->estimatedRows = 100;
        return SQLITE_OK;
    }

  private:
    const TableFunction& function_;
    const TableCall& call_;
};

}  // namespace

void register_table_function(sqlite3* db, const TableFunction& function, TableCall call) {
    const auto kept = std::make_shared<const TableCall>(std::move(call));
    VirtualModule module;
    module.is_function = true;
    module.make = [&function, kept](std::span<const char* const>, bool) {
        return std::make_unique<FunctionTable>(function, *kept);
    };
    register_module(db, function.name, std::move(module));
}

}  // namespace llmsql
