// SPDX-License-Identifier: MIT
// The bridge between SQLite's virtual tables and Rows. See table_function.h.
#include "runtime/extension/table_function.h"

#include <array>
#include <cstring>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr int kMostArguments = 4;

struct Module {
    std::shared_ptr<Host> host;
    const TableFunction* function;
};

struct FunctionTable : sqlite3_vtab {
    const Module* module = nullptr;
    bool interrupted = false;  // while it was connected: the statement's first call ends with that
};

struct Cursor : sqlite3_vtab_cursor {
    std::unique_ptr<Rows> rows;
    int64_t row = 0;
    bool at_end = true;
};

const TableFunction& function_of(sqlite3_vtab* table) {
    return *static_cast<FunctionTable*>(table)->module->function;
}

// What sqlite3_declare_vtab() has failed for: its code does not tell.
bool was_interrupted(sqlite3* db) {
    return std::strcmp(sqlite3_errmsg(db), sqlite3_errstr(SQLITE_INTERRUPT)) == 0;
}

// SQLite reports an interrupt here as an error of another kind. Where no statement of the
// connection runs, one that is begun makes it forget that it was interrupted; its text is one that
// needs no spaces, at which the parser looks for interrupts.
bool forget_interrupt(sqlite3* db) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db, "VALUES(1)", -1, &statement, nullptr) != SQLITE_OK) return false;
    const bool forgotten = sqlite3_step(statement) == SQLITE_ROW;
    sqlite3_finalize(statement);
    return forgotten;
}

const Host& host_of(sqlite3_vtab_cursor* cursor) {
    return *static_cast<FunctionTable*>(cursor->pVtab)->module->host;
}

int connect(sqlite3* db, void* aux, int, const char* const*, sqlite3_vtab** result,
            char** message) {
    return guard_method(message, [&] {
        const auto* module = static_cast<Module*>(aux);
        auto table = std::make_unique<FunctionTable>();
        table->module = module;
        sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);
        int code = sqlite3_declare_vtab(db, module->function->declaration);
        if (code != SQLITE_OK && was_interrupted(db) && forget_interrupt(db)) {
            code = sqlite3_declare_vtab(db, module->function->declaration);
            table->interrupted = true;
        }
        if (code == SQLITE_OK) *result = table.release();
        return code;
    });
}

int disconnect(sqlite3_vtab* table) {
    delete static_cast<FunctionTable*>(table);
    return SQLITE_OK;
}

// idxNum says which arguments are given: a bit each.
int best_index(sqlite3_vtab* table, sqlite3_index_info* info) {
    const TableFunction& function = function_of(table);
    std::array<int, kMostArguments> constraint;
    constraint.fill(-1);
    for (int i = 0; i < info->nConstraint; ++i) {
        const auto& each = info->aConstraint[i];
        const int argument = each.iColumn - function.columns;
        if (argument < 0 || argument >= function.most) continue;
        if (each.op != SQLITE_INDEX_CONSTRAINT_EQ) continue;
        if (!each.usable) return SQLITE_CONSTRAINT;
        constraint[static_cast<size_t>(argument)] = i;
    }
    int given = 0, count = 0;
    for (int argument = 0; argument < function.most; ++argument) {
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

int open_cursor(sqlite3_vtab*, sqlite3_vtab_cursor** result) {
    auto* cursor = new (std::nothrow) Cursor;
    *result = cursor;
    return cursor ? SQLITE_OK : SQLITE_NOMEM;
}

int close_cursor(sqlite3_vtab_cursor* cursor) {
    delete static_cast<Cursor*>(cursor);
    return SQLITE_OK;
}

int advance(sqlite3_vtab_cursor* base) {
    return guard_method(&base->pVtab->zErrMsg, [&] {
        auto& cursor = *static_cast<Cursor*>(base);
        cursor.at_end = true;
        const Entered entered(host_of(base));
        cursor.at_end = !cursor.rows->next();
        ++cursor.row;
        return SQLITE_OK;
    });
}

int filter(sqlite3_vtab_cursor* base, int given, const char*, int, sqlite3_value** values) {
    const int code = guard_method(&base->pVtab->zErrMsg, [&] {
        auto& table = *static_cast<FunctionTable*>(base->pVtab);
        const TableFunction& function = *table.module->function;
        if (std::exchange(table.interrupted, false)) throw Interrupted();
        const Entered entered(*table.module->host);
        std::array<sqlite3_value*, kMostArguments> arguments{};
        for (int argument = 0; argument < function.most; ++argument) {
            if (given & (1 << argument))
                arguments[static_cast<size_t>(argument)] = *values++;
            else if (argument < function.least)
                fail("{}: {} argument{} needed", function.name, function.least,
                     function.least == 1 ? " is" : "s are");
        }
        auto& cursor = *static_cast<Cursor*>(base);
        cursor.rows.reset();  // the last call's, before another begins
        cursor.row = 0;
        cursor.at_end = true;
        cursor.rows = function.call(table.module->host,
                                    {arguments.data(), static_cast<size_t>(function.most)});
        return SQLITE_OK;
    });
    return code == SQLITE_OK ? advance(base) : code;
}

int at_end(sqlite3_vtab_cursor* cursor) {
    return static_cast<Cursor*>(cursor)->at_end;
}

int read_column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
    return guard_method(&base->pVtab->zErrMsg, [&] {
        const TableFunction& function = function_of(base->pVtab);
        if (column < function.columns || column >= function.columns + function.most)
            static_cast<Cursor*>(base)->rows->column(column, context);
        return SQLITE_OK;
    });
}

int read_rowid(sqlite3_vtab_cursor* cursor, sqlite3_int64* rowid) {
    *rowid = static_cast<Cursor*>(cursor)->row;
    return SQLITE_OK;
}

// No xCreate: it is a function, never made by CREATE VIRTUAL TABLE.
constexpr sqlite3_module kModule = [] {
    sqlite3_module module{};
    module.xConnect = connect;
    module.xBestIndex = best_index;
    module.xDisconnect = disconnect;
    module.xDestroy = disconnect;
    module.xOpen = open_cursor;
    module.xClose = close_cursor;
    module.xFilter = filter;
    module.xNext = advance;
    module.xEof = at_end;
    module.xColumn = read_column;
    module.xRowid = read_rowid;
    return module;
}();

}  // namespace

void register_table_function(const std::shared_ptr<Host>& host, const TableFunction& function) {
    const int code =
        sqlite3_create_module_v2(host->db(), function.name, &kModule, new Module{host, &function},
                                 [](void* module) { delete static_cast<Module*>(module); });
    if (code != SQLITE_OK)
        fail("cannot register {}: {}", function.name, sqlite3_errmsg(host->db()));
}

}  // namespace llmsql
