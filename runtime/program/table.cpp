// SPDX-License-Identifier: MIT
// The bridge between SQLite's virtual table interface and Table. See table.h.
#include "runtime/program/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <new>
#include <string_view>

#include "common/error.h"
#include "runtime/program/plan_state.h"
#include "sqlite/callbacks.h"

namespace llmsql {
namespace {

using MakeTable = std::unique_ptr<Table> (*)(PlanState&, const ModuleArguments&);

// What sqlite3_create_module_v2 keeps for a module.
struct Module {
    PlanState* state;
    MakeTable make;
};

struct VirtualTable : sqlite3_vtab {
    PlanState* state = nullptr;
    TableName name;
    std::unique_ptr<Table> table;
    Mark begun;                // at the start of the transaction
    std::vector<Mark> points;  // at each savepoint, by its number
};

struct Cursor : sqlite3_vtab_cursor {
    Selected rows;
    size_t next = 0;
};

Table& table_of(sqlite3_vtab* vtab) {
    return *static_cast<VirtualTable*>(vtab)->table;
}
Cursor& cursor_of(sqlite3_vtab_cursor* cursor) {
    return *static_cast<Cursor*>(cursor);
}

template<bool created>
int make(sqlite3* db, void* aux, int argc, const char* const* argv, sqlite3_vtab** result,
         char** message) {
    return guard_method(message, [&] {
        const Module& module = *static_cast<Module*>(aux);
        const ModuleArguments arguments(argc, argv, created);
        auto made = std::make_unique<VirtualTable>();
        made->state = module.state;
        made->name = arguments.table();
        made->table = module.make(*module.state, arguments);
        arguments.require_all_used();
        module.state->declaring = true;
        sqlite3_vtab_config(db, SQLITE_VTAB_DIRECTONLY);  // not for views of somebody's schema
        const int code = sqlite3_declare_vtab(db, made->table->declaration());
        module.state->declaring = false;
        if (code == SQLITE_OK) *result = made.release();
        return code;
    });
}

int disconnect(sqlite3_vtab* vtab) {
    delete static_cast<VirtualTable*>(vtab);
    return SQLITE_OK;
}

int destroy(sqlite3_vtab* vtab) {
    table_of(vtab).dropped();
    return disconnect(vtab);
}

// Before it is connected anew under its new name, which is when it is next used.
int rename(sqlite3_vtab* vtab, const char* name) {
    return guard_method(&vtab->zErrMsg, [&] {
        auto& self = *static_cast<VirtualTable*>(vtab);
        const TableName before = self.name;
        self.name.table = name;
        PlanState& state = *self.state;
        for (TableName* owner :
             {&state.params.owner, &state.residency.owner, &state.arena.owner, &state.cache.owner})
            if (*owner == before) *owner = self.name;
        return SQLITE_OK;
    });
}

int begin(sqlite3_vtab* vtab) {
    return guard_method(&vtab->zErrMsg, [&] {
        auto& self = *static_cast<VirtualTable*>(vtab);
        self.begun = self.table->mark();
        self.points.clear();
        return SQLITE_OK;
    });
}

int save(sqlite3_vtab* vtab, int point) {
    return guard_method(&vtab->zErrMsg, [&] {
        auto& self = *static_cast<VirtualTable*>(vtab);
        self.points.resize(static_cast<size_t>(point), self.begun);
        self.points.push_back(self.table->mark());
        return SQLITE_OK;
    });
}

int release(sqlite3_vtab* vtab, int point) {
    auto& points = static_cast<VirtualTable*>(vtab)->points;
    if (points.size() > static_cast<size_t>(point)) points.resize(static_cast<size_t>(point));
    return SQLITE_OK;
}

int roll_back_to(sqlite3_vtab* vtab, int point) {
    return guard_method(&vtab->zErrMsg, [&] {
        auto& self = *static_cast<VirtualTable*>(vtab);
        const auto at = static_cast<size_t>(point);
        self.table->undo(at < self.points.size() ? self.points[at] : self.begun);
        return SQLITE_OK;
    });
}

int roll_back(sqlite3_vtab* vtab) {
    return guard_method(&vtab->zErrMsg, [&] {
        auto& self = *static_cast<VirtualTable*>(vtab);
        self.table->undo(self.begun);
        return SQLITE_OK;
    });
}

// Every constraint on an integer column is taken: it becomes two characters of idxStr, the column
// and the operator, and its value an argument of filter.
int best_index(sqlite3_vtab* vtab, sqlite3_index_info* info) {
    return guard_method(&vtab->zErrMsg, [&] {
        const int columns = table_of(vtab).integer_columns();
        std::string plan;
        bool equality = false;
        for (int i = 0; i < info->nConstraint; ++i) {
            const auto& constraint = info->aConstraint[i];
            if (!constraint.usable || constraint.iColumn < 0 || constraint.iColumn >= columns)
                continue;
            char op = 0;
            switch (constraint.op) {
                case SQLITE_INDEX_CONSTRAINT_EQ:
                    op = '=';
                    break;
                case SQLITE_INDEX_CONSTRAINT_GT:
                    op = '>';
                    break;
                case SQLITE_INDEX_CONSTRAINT_GE:
                    op = 'g';
                    break;
                case SQLITE_INDEX_CONSTRAINT_LT:
                    op = '<';
                    break;
                case SQLITE_INDEX_CONSTRAINT_LE:
                    op = 'l';
                    break;
                default:
                    continue;
            }
            plan += static_cast<char>('0' + constraint.iColumn);
            plan += op;
            equality = equality || op == '=';
            info->aConstraintUsage[i].argvIndex = static_cast<int>(plan.size() / 2);
            info->aConstraintUsage[i].omit = 1;
        }
        info->idxStr = sqlite3_mprintf("%s", plan.c_str());
        if (!info->idxStr) return SQLITE_NOMEM;
        info->needToFreeIdxStr = 1;
        info->estimatedCost = equality ? 1 : plan.empty() ? 1000 : 10;
        info->estimatedRows = equality ? 1 : plan.empty() ? 1000 : 10;
        return SQLITE_OK;
    });
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

// Narrows a range by one comparison, with SQL's meaning for numbers that are not integers; NULL and
// text compare equal to or less than no integer.
void narrow(Ranges::Range& range, char op, sqlite3_value* value) {
    constexpr auto kMin = std::numeric_limits<int64_t>::min();
    constexpr auto kMax = std::numeric_limits<int64_t>::max();
    const auto nothing = [&] { range = {1, 0}; };
    const int type = sqlite3_value_numeric_type(value);
    int64_t low = kMin, high = kMax;
    if (type == SQLITE_INTEGER) {
        const int64_t bound = sqlite3_value_int64(value);
        if (op == '=') low = high = bound;
        if (op == 'g') low = bound;
        if (op == 'l') high = bound;
        if (op == '>') {
            if (bound == kMax) return nothing();
            low = bound + 1;
        }
        if (op == '<') {
            if (bound == kMin) return nothing();
            high = bound - 1;
        }
    } else if (type == SQLITE_FLOAT) {
        const double bound = sqlite3_value_double(value);
        if (!(std::fabs(bound) < 9e18)) return nothing();
        const double up = std::ceil(bound), down = std::floor(bound);
        if (op == '=' && up != down) return nothing();
        if (op == '=' || op == 'g') low = static_cast<int64_t>(up);
        if (op == '=' || op == 'l') high = static_cast<int64_t>(down);
        if (op == '>') low = static_cast<int64_t>(down) + 1;
        if (op == '<') high = static_cast<int64_t>(up) - 1;
    } else {
        return nothing();
    }
    range.low = std::max(range.low, low);
    range.high = std::min(range.high, high);
}

int filter(sqlite3_vtab_cursor* base, int, const char* plan, int count, sqlite3_value** values) {
    return guard_method(&base->pVtab->zErrMsg, [&] {
        Ranges ranges;
        for (int i = 0; i < count; ++i)
            narrow(ranges.columns[static_cast<size_t>(plan[2 * i] - '0')], plan[2 * i + 1],
                   values[i]);
        Cursor& cursor = cursor_of(base);
        cursor.rows = table_of(base->pVtab).select(ranges);
        cursor.next = 0;
        return SQLITE_OK;
    });
}

int next_row(sqlite3_vtab_cursor* cursor) {
    ++cursor_of(cursor).next;
    return SQLITE_OK;
}

int at_end(sqlite3_vtab_cursor* base) {
    const Cursor& cursor = cursor_of(base);
    return cursor.next >= cursor.rows.keys.size();
}

int read_column(sqlite3_vtab_cursor* base, sqlite3_context* context, int column) {
    return guard_method(&base->pVtab->zErrMsg, [&] {
        const Cursor& cursor = cursor_of(base);
        table_of(base->pVtab).column(cursor.rows, cursor.rows.keys[cursor.next], column, context);
        return SQLITE_OK;
    });
}

int read_rowid(sqlite3_vtab_cursor* base, sqlite3_int64* rowid) {
    const Cursor& cursor = cursor_of(base);
    *rowid = cursor.rows.keys[cursor.next];
    return SQLITE_OK;
}

// argv: the old rowid (NULL for an INSERT), the new rowid, then the columns.
int update(sqlite3_vtab* vtab, int argc, sqlite3_value** argv, sqlite3_int64* rowid) {
    return guard_method(&vtab->zErrMsg, [&] {
        if (argc < 2 || sqlite3_value_type(argv[0]) != SQLITE_NULL)
            fail("rows of this table can be inserted, not changed or deleted");
        table_of(vtab).insert({argv + 2, static_cast<size_t>(argc - 2)});
        *rowid = 0;
        return SQLITE_OK;
    });
}

// A program's tables are made once, by its init, and what fails there ends it: its statements are
// spared the calls for transactions.
constexpr sqlite3_module module_for(bool by_hand) {
    sqlite3_module module{};
    module.iVersion = 2;
    module.xCreate = make<true>;
    module.xConnect = make<false>;
    module.xBestIndex = best_index;
    module.xDisconnect = disconnect;
    module.xDestroy = destroy;
    module.xOpen = open_cursor;
    module.xClose = close_cursor;
    module.xFilter = filter;
    module.xNext = next_row;
    module.xEof = at_end;
    module.xColumn = read_column;
    module.xRowid = read_rowid;
    module.xUpdate = update;
    if (!by_hand) return module;
    module.xBegin = begin;
    module.xRollback = roll_back;
    module.xRename = rename;
    module.xSavepoint = save;
    module.xRelease = release;
    module.xRollbackTo = roll_back_to;
    return module;
}

constexpr sqlite3_module kModule = module_for(false), kModuleByHand = module_for(true);

std::string unquote(std::string_view text) {
    if (text.size() < 2 || text.front() != '\'' || text.back() != '\'') return std::string(text);
    std::string plain;
    for (size_t i = 1; i + 1 < text.size(); ++i) {
        plain += text[i];
        if (text[i] == '\'') ++i;  // a doubled quote
    }
    return plain;
}

// Names of plans stand in errors, which are of one line.
void require_printable(std::string_view text, std::string_view what) {
    constexpr size_t kLongest = 4096;
    if (text.size() > kLongest)
        fail("{} is {} bytes long, it may be {}", what, text.size(), kLongest);
    if (std::ranges::any_of(text, is_control)) fail("{} has a control character in it", what);
}

std::string_view trim(std::string_view text) {
    const size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

ModuleArguments::ModuleArguments(int argc, const char* const* argv, bool created)
    : module_(argv[0]), table_{argv[1], argv[2]}, created_(created) {
    for (int i = 3; i < argc; ++i) {  // after module, database and table names
        const std::string_view argument = argv[i];
        all_ += std::string(argument) + ',';
        const size_t equals = argument.find('=');
        if (trim(argument).empty()) continue;
        if (equals == std::string_view::npos)
            fail("{}: '{}' is not of the form key=value", module_, argument);
        const std::string key(trim(argument.substr(0, equals)));
        require_printable(argument, module_ + ": an argument");
        if (!values_.emplace(key, unquote(trim(argument.substr(equals + 1)))).second)
            fail("{}: '{}' is given twice", module_, key);
    }
}

const std::string& ModuleArguments::value(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) fail("{}: '{}' is missing", module_, key);
    used_[key] = true;
    return found->second;
}

int64_t ModuleArguments::integer(const std::string& key) const {
    const std::string& text = value(key);
    int64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop != end)
        fail("{}: {} = '{}' is not an integer", module_, key, text);
    return number;
}

std::string ModuleArguments::text(const std::string& key) const {
    return value(key);
}

void ModuleArguments::require_all_used() const {
    for (const auto& [key, text] : values_)
        if (!used_.contains(key)) fail("{}: there is no argument '{}'", module_, key);
}

int64_t integer_value(sqlite3_value* value, const char* what) {
    if (sqlite3_value_type(value) != SQLITE_INTEGER) fail("{} must be an integer", what);
    return sqlite3_value_int64(value);
}

std::string text_value(sqlite3_value* value, const char* what) {
    if (sqlite3_value_type(value) != SQLITE_TEXT) fail("{} must be text", what);
    std::string copy(text_of_value(value));
    require_printable(copy, what);
    return copy;
}

void register_tables(sqlite3* db, PlanState& state) {
    constexpr std::pair<const char*, MakeTable> kTables[] = {
        {"llm_param", make_param_table},       {"llm_residency", make_residency_table},
        {"llm_tensor", make_tensor_table},     {"llm_slot", make_slot_table},
        {"llm_kv_layer", make_kv_layer_table}, {"llm_kv", make_kv_table},
        {"llm_chosen", make_chosen_table},
    };
    for (const auto& [name, make] : kTables) {
        const int code = sqlite3_create_module_v2(
            db, name, state.hears_transactions() ? &kModuleByHand : &kModule,
            new Module{&state, make}, [](void* module) { delete static_cast<Module*>(module); });
        if (code != SQLITE_OK) fail("cannot register {}: {}", name, sqlite3_errmsg(db));
    }
}

}  // namespace llmsql
