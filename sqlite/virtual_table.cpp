// SPDX-License-Identifier: MIT
// SQLite's callbacks for virtual tables. See virtual_table.h.
#include "sqlite/virtual_table.h"

#include <cstring>
#include <utility>

#include "common/error.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

// What SQLite keeps for a module; its functions are in `table`.
struct Module {
    VirtualModule module;
    sqlite3_module table{};
};

VirtualTable& table_of(sqlite3_vtab* table) {
    return *static_cast<VirtualTable*>(table);
}
VirtualCursor& cursor_of(sqlite3_vtab_cursor* cursor) {
    return *static_cast<VirtualCursor*>(cursor);
}

// What sqlite3_declare_vtab() has failed for: its code does not tell.
bool was_interrupted(sqlite3* db) {
    return std::strcmp(sqlite3_errmsg(db), sqlite3_errstr(SQLITE_INTERRUPT)) == 0;
}

// SQLite reports an interrupt there as an error of another kind. Where no statement of the
// connection runs, one that is begun makes it forget that it was interrupted; its text is one that
// needs no spaces, at which the parser looks for interrupts.
bool forget_interrupt(sqlite3* db) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db, "VALUES(1)", -1, &statement, nullptr) != SQLITE_OK) return false;
    const bool forgotten = sqlite3_step(statement) == SQLITE_ROW;
    sqlite3_finalize(statement);
    return forgotten;
}

int declare(sqlite3* db, const VirtualTable& table, bool* declaring) {
    if (declaring) *declaring = true;
    sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);  // not for views of somebody's schema
    const int code = sqlite3_declare_vtab(db, table.declaration());
    if (declaring) *declaring = false;
    return code;
}

int next_row(sqlite3_vtab_cursor* cursor) {
    return guard_method(&cursor->pVtab->zErrMsg, [&] {
        cursor_of(cursor).next();
        return SQLITE_OK;
    });
}

int at_end(sqlite3_vtab_cursor* cursor) {
    return cursor_of(cursor).at_end();
}

int read_column(sqlite3_vtab_cursor* cursor, sqlite3_context* context, int column) {
    return guard_method(&cursor->pVtab->zErrMsg, [&] {
        cursor_of(cursor).column(column, context);
        return SQLITE_OK;
    });
}

int read_row_id(sqlite3_vtab_cursor* cursor, sqlite3_int64* row_id) {
    *row_id = cursor_of(cursor).row_id();
    return SQLITE_OK;
}

int best_index(sqlite3_vtab* table, sqlite3_index_info* info) {
    return guard_method(&table->zErrMsg, [&] { return table_of(table).best_index(info); });
}

int open_cursor(sqlite3_vtab* table, sqlite3_vtab_cursor** result) {
    return guard_method(&table->zErrMsg, [&] {
        *result = table_of(table).open_cursor();
        return *result ? SQLITE_OK : SQLITE_NOMEM;
    });
}

int close_cursor(sqlite3_vtab_cursor* cursor) {
    delete &cursor_of(cursor);
    return SQLITE_OK;
}

int disconnect(sqlite3_vtab* table) {
    delete &table_of(table);
    return SQLITE_OK;
}

int destroy(sqlite3_vtab* table) {
    table_of(table).destroyed();
    return disconnect(table);
}

// Before it is connected anew under its new name, which is when it is next used.
int rename(sqlite3_vtab* table, const char* name) {
    return guard_method(&table->zErrMsg, [&] {
        table_of(table).renamed(name);
        return SQLITE_OK;
    });
}

// argv: the old rowid (NULL for an INSERT), the new rowid, then the columns.
int update(sqlite3_vtab* table, int argc, sqlite3_value** argv, sqlite3_int64* row_id) {
    return guard_method(&table->zErrMsg, [&] {
        if (argc < 2 || sqlite3_value_type(argv[0]) != SQLITE_NULL)
            fail("rows of this table can be inserted, not changed or deleted");
        table_of(table).insert({argv + 2, static_cast<size_t>(argc - 2)});
        *row_id = 0;
        return SQLITE_OK;
    });
}

// A transaction's events: those without a number, and those of a savepoint.
template<auto event>
int on_transaction(sqlite3_vtab* table) {
    return guard_method(&table->zErrMsg, [&] {
        (table_of(table).*event)();
        return SQLITE_OK;
    });
}
template<auto event>
int on_savepoint(sqlite3_vtab* table, int point) {
    return guard_method(&table->zErrMsg, [&] {
        (table_of(table).*event)(point);
        return SQLITE_OK;
    });
}

}  // namespace

// The callbacks that look into a table.
class VirtualTables {
  public:
    template<bool created>
    static int make(sqlite3* db, void* aux, int argc, const char* const* argv,
                    sqlite3_vtab** result, char** message) {
        return guard_method(message, [&] {
            const VirtualModule& module = static_cast<Module*>(aux)->module;
            auto made = module.make({argv, static_cast<size_t>(argc)}, created);
            int code = declare(db, *made, module.declaring);
            if (code != SQLITE_OK && !created && was_interrupted(db) && forget_interrupt(db)) {
                code = declare(db, *made, module.declaring);
                made->interrupted_ = true;
            }
            if (code == SQLITE_OK) *result = made.release();
            return code;
        });
    }

    static int filter(sqlite3_vtab_cursor* cursor, int number, const char* text, int count,
                      sqlite3_value** values) {
        return guard_method(&cursor->pVtab->zErrMsg, [&] {
            if (std::exchange(table_of(cursor->pVtab).interrupted_, false)) throw Interrupted();
            cursor_of(cursor).filter(number, text, {values, static_cast<size_t>(count)});
            return SQLITE_OK;
        });
    }
};

void register_module(sqlite3* db, const char* name, VirtualModule module) {
    auto made = std::make_unique<Module>();
    made->module = std::move(module);
    sqlite3_module& table = made->table;
    table.iVersion = 2;
    table.xConnect = VirtualTables::make<false>;
    table.xBestIndex = best_index;
    table.xDisconnect = disconnect;
    table.xDestroy = disconnect;
    table.xOpen = open_cursor;
    table.xClose = close_cursor;
    table.xFilter = VirtualTables::filter;
    table.xNext = next_row;
    table.xEof = at_end;
    table.xColumn = read_column;
    table.xRowid = read_row_id;
    if (!made->module.is_function) {
        table.xCreate = VirtualTables::make<true>;
        table.xDestroy = destroy;
        table.xUpdate = update;
    }
    if (made->module.transactions) {
        table.xBegin = on_transaction<&VirtualTable::begin>;
        table.xRollback = on_transaction<&VirtualTable::roll_back>;
        table.xRename = rename;
        table.xSavepoint = on_savepoint<&VirtualTable::save>;
        table.xRelease = on_savepoint<&VirtualTable::release>;
        table.xRollbackTo = on_savepoint<&VirtualTable::roll_back_to>;
    }
    const sqlite3_module* functions = &table;
    const int code = sqlite3_create_module_v2(
        db, name, functions, made.release(), [](void* kept) { delete static_cast<Module*>(kept); });
    if (code != SQLITE_OK) fail("cannot register {}: {}", name, sqlite3_errmsg(db));
}

}  // namespace llmsql
