// SPDX-License-Identifier: MIT
// Tables of rows on the bridge to SQLite. See table.h.
#include "sqlite/table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <new>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "sqlite/callbacks.h"
#include "sqlite/virtual_table.h"

namespace llmsql {
namespace {

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

class RowCursor final : public VirtualCursor {
  public:
    explicit RowCursor(const Table& table) : table_(table) {}

    void filter(int, const char* plan, std::span<sqlite3_value*> values) override {
        Ranges ranges;
        for (sqlite3_value* value : values) {
            narrow(ranges.columns[static_cast<size_t>(plan[0] - '0')], plan[1], value);
            plan += 2;
        }
        rows_ = table_.select(ranges);
        next_ = 0;
    }
    bool at_end() const override { return next_ >= rows_.keys.size(); }
    void next() override { ++next_; }
    int64_t row_id() const override { return rows_.keys[next_]; }
    void column(int column, sqlite3_context* context) override {
        table_.column(rows_, rows_.keys[next_], column, context);
    }

  private:
    const Table& table_;
    Selected rows_;
    size_t next_ = 0;
};

// The comparison that a range can be narrowed by; 0: another.
char comparison(unsigned char op) {
    switch (op) {
        case SQLITE_INDEX_CONSTRAINT_EQ:
            return '=';
        case SQLITE_INDEX_CONSTRAINT_GT:
            return '>';
        case SQLITE_INDEX_CONSTRAINT_GE:
            return 'g';
        case SQLITE_INDEX_CONSTRAINT_LT:
            return '<';
        case SQLITE_INDEX_CONSTRAINT_LE:
            return 'l';
        default:
            return 0;
    }
}

class RowTable final : public VirtualTable {
  public:
    RowTable(std::unique_ptr<Table> table, TableName name, const TableModule& module)
        : table_(std::move(table)), name_(std::move(name)), module_(module) {}

    const char* declaration() const override { return table_->declaration(); }
    VirtualCursor* open_cursor() override { return new (std::nothrow) RowCursor(*table_); }

    // Every constraint on an integer column is taken: it becomes two characters of idxStr, the
    // column and the comparison, and its value an argument of filter.
    int best_index(sqlite3_index_info* info) override {
        std::string plan;
        bool equality = false;
        for (int i = 0; i < info->nConstraint; ++i) {
            const auto& constraint = info->aConstraint[i];
            const char op = comparison(constraint.op);
            if (!constraint.usable || constraint.iColumn < 0 ||
                constraint.iColumn >= table_->integer_columns() || op == 0)
                continue;
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
    }

    void insert(std::span<sqlite3_value*> values) override { table_->insert(values); }
    void destroyed() override { table_->dropped(); }
    void renamed(const char* name) override {
        const TableName before = name_;
        name_.table = name;
        if (module_.renamed) module_.renamed(before, name_);
    }

    void begin() override {
        begun_ = table_->mark();
        points_.clear();
    }
    void save(int point) override {
        points_.resize(static_cast<size_t>(point), begun_);
        points_.push_back(table_->mark());
    }
    void release(int point) override {
        if (points_.size() > static_cast<size_t>(point)) points_.resize(static_cast<size_t>(point));
    }
    void roll_back_to(int point) override {
        const auto at = static_cast<size_t>(point);
        table_->undo(at < points_.size() ? points_[at] : begun_);
    }
    void roll_back() override { table_->undo(begun_); }

  private:
    const std::unique_ptr<Table> table_;
    TableName name_;
    const TableModule& module_;
    Mark begun_;                // at the start of the transaction
    std::vector<Mark> points_;  // at each savepoint, by its number
};

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

ModuleArguments::ModuleArguments(std::span<const char* const> arguments, bool created)
    : module_(arguments[0]), table_{arguments[1], arguments[2]}, created_(created) {
    for (const std::string_view argument : arguments.subspan(3)) {
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

int64_t ModuleArguments::integer_or(const std::string& key, int64_t absent) const {
    return values_.contains(key) ? integer(key) : absent;
}

std::string ModuleArguments::text(const std::string& key) const {
    return value(key);
}

void ModuleArguments::require_all_used() const {
    for (const auto& [key, text] : values_)
        if (!used_.contains(key)) fail("{}: there is no argument '{}'", module_, key);
}

std::string described(sqlite3_value* value) {
    switch (sqlite3_value_type(value)) {
        case SQLITE_INTEGER:
            return fmt::format("{}", sqlite3_value_int64(value));
        case SQLITE_FLOAT:  // 1e999 is read as an infinity
            return fmt::format("the number {}", sqlite3_value_double(value));
        case SQLITE_TEXT:
            return "text";
        case SQLITE_BLOB:
            return "a blob";
        default:
            return "NULL";
    }
}

int64_t integer_value(sqlite3_value* value, const char* what) {
    if (sqlite3_value_type(value) != SQLITE_INTEGER)
        fail("{} must be an integer, not {}", what, described(value));
    return sqlite3_value_int64(value);
}

std::string text_value(sqlite3_value* value, const char* what) {
    if (sqlite3_value_type(value) != SQLITE_TEXT) fail("{} must be text", what);
    std::string copy(text_of_value(value));
    require_printable(copy, what);
    return copy;
}

void register_table(sqlite3* db, const char* name, TableModule module) {
    const auto kept = std::make_shared<const TableModule>(std::move(module));
    VirtualModule bridge;
    bridge.transactions = kept->transactions;
    bridge.declaring = kept->declaring;
    bridge.make = [kept](std::span<const char* const> given, bool created) {
        const ModuleArguments arguments(given, created);
        auto made = std::make_unique<RowTable>(kept->make(arguments), arguments.table(), *kept);
        arguments.require_all_used();
        return made;
    };
    register_module(db, name, std::move(bridge));
}

}  // namespace llmsql
