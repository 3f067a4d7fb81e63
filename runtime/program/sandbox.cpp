// SPDX-License-Identifier: MIT
// The authorizer of a plan's connection. See sandbox.h.
#include "runtime/program/sandbox.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "common/error.h"
#include "operators/operators.h"

namespace llmsql {
namespace {

constexpr std::array<std::string_view, 9> kTables{
    "param", "residency", "tensor", "slot", "chosen", "kv_layer", "kv", "state", "scan"};

// Steps of SQLite's virtual machine that a statement may take: some hundred times what the largest
// statements of plans do, attention over a cache of 2^20 positions and a catalogue of thousands of
// rows.
constexpr int64_t kMostSteps = 50'000'000;
// How often it is looked at, in steps; more often where a step may be work on a long text.
constexpr int kStepsBetween = 1000, kTextStepsBetween = 50;

// A statement that computes may wait for weights from a slow disk; one that makes text only works.
constexpr std::chrono::seconds kMostTime{600}, kMostTextTime{20};

// What SQLite may come to hold during a statement, in sorters and texts.
constexpr int64_t kMostMemory = 256 << 20;

// Bytes of one value: of what plans handle, the text of a message is the longest.
constexpr int kLongestValue = 4 << 20;
constexpr int kLongestStatement = 16 << 20;  // the catalogue of a large mixture of experts

constexpr std::chrono::milliseconds kBetweenProgress{10};
constexpr std::chrono::seconds kBeforePassesAsk{1};

// What SQLite holds, in bytes: of the whole process, as it keeps no other count. One built not to
// count has 0; then it is what the process has resident.
int64_t memory_held() {
    if (const int64_t used = sqlite3_memory_used(); used > 0) return used;
    static const long page = ::sysconf(_SC_PAGESIZE);
    const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[128];
    const ssize_t count = ::read(file, text, sizeof text - 1);
    ::close(file);
    if (count <= 0) return 0;
    text[count] = '\0';
    const char* resident = std::strchr(text, ' ');  // the second number, in pages
    return resident ? std::strtoll(resident, nullptr, 10) * page : 0;
}

constexpr std::array<std::string_view, 24> kTextFunctions{
    "char",    "coalesce", "count", "format",     "group_concat", "ifnull", "iif",     "instr",
    "length",  "like",     "lower", "ltrim",      "max",          "min",    "nullif",  "printf",
    "replace", "round",    "rtrim", "row_number", "substr",       "trim",   "unicode", "upper"};

template<class List>
bool contains(const List& list, std::string_view name) {
    return std::ranges::find(list, name) != list.end();
}

// Creating a table writes its row in the schema; SQLite itself refuses to write it by hand.
bool is_schema(const std::string& table, const std::string& database) {
    return database == "temp" && (table == "sqlite_master" || table == "sqlite_temp_master");
}

const char* name_of_action(int action) {
    switch (action) {
        case SQLITE_ATTACH:
            return "ATTACH";
        case SQLITE_DETACH:
            return "DETACH";
        case SQLITE_PRAGMA:
            return "PRAGMA";
        case SQLITE_TRANSACTION:
            return "a transaction statement";
        case SQLITE_SAVEPOINT:
            return "SAVEPOINT";
        case SQLITE_DELETE:
            return "deleting from";
        case SQLITE_UPDATE:
            return "updating";
        case SQLITE_INSERT:
            return "inserting into";
        case SQLITE_READ:
            return "reading";
        case SQLITE_FUNCTION:
            return "the function";
        case SQLITE_RECURSIVE:
            return "a recursive query";
        case SQLITE_CREATE_VTABLE:
            return "creating the virtual table";
        case SQLITE_CREATE_TABLE:
        case SQLITE_CREATE_TEMP_TABLE:
            return "creating the table";
        case SQLITE_CREATE_VIEW:
        case SQLITE_CREATE_TEMP_VIEW:
            return "creating the view";
        case SQLITE_CREATE_TRIGGER:
        case SQLITE_CREATE_TEMP_TRIGGER:
            return "creating the trigger";
        case SQLITE_DROP_TABLE:
        case SQLITE_DROP_TEMP_TABLE:
        case SQLITE_DROP_VTABLE:
            return "dropping";
        default:
            return "this kind of statement";
    }
}

}  // namespace

Sandbox::Sandbox(sqlite3* db, SandboxKind kind, const bool* declaring)
    : db_(db), text_(kind == SandboxKind::text), declaring_(declaring) {
    sqlite3_set_authorizer(db, authorize, this);
    constexpr std::pair<int, int> kLimits[] = {
        {SQLITE_LIMIT_LENGTH, kLongestValue},
        {SQLITE_LIMIT_SQL_LENGTH, kLongestStatement},
        {SQLITE_LIMIT_EXPR_DEPTH, 200},
        {SQLITE_LIMIT_COMPOUND_SELECT, 100},
        {SQLITE_LIMIT_FUNCTION_ARG, 100},
        {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100},
        {SQLITE_LIMIT_VARIABLE_NUMBER, 32},
        {SQLITE_LIMIT_TRIGGER_DEPTH, 0},
        {SQLITE_LIMIT_WORKER_THREADS, 0},
        {SQLITE_LIMIT_COLUMN, 200},
        {SQLITE_LIMIT_VDBE_OP, 8'000'000},
    };
    for (const auto& [limit, value] : kLimits) sqlite3_limit(db, limit, value);
}

void Sandbox::begin() {
    thrown_ = nullptr;
    refusal_.clear();
    watched_ = true;
    steps_ = 0;
    started_ = Clock::now();
    memory_before_ = memory_held();
    sqlite3_progress_handler(db_, text_ ? kTextStepsBetween : kStepsBetween, watch, this);
}

void Sandbox::rest() {
    thrown_ = nullptr;
    refusal_.clear();
    watched_ = false;
    sqlite3_progress_handler(db_, 0, nullptr, nullptr);
}

int Sandbox::watch(void* self) {
    auto& sandbox = *static_cast<Sandbox*>(self);
    return sandbox.goes_on(sandbox.text_ ? kTextStepsBetween : kStepsBetween) ? 0 : 1;
}

void Sandbox::check() {
    if (watched_ && !goes_on(0)) fail("{}", refusal());
}

// Called by SQLite, too: keeps what is thrown.
bool Sandbox::goes_on(int64_t steps) {
    if (thrown_ || !refusal_.empty()) return false;
    steps_ += steps;
    const auto most_time = text_ ? kMostTextTime : kMostTime;
    const Clock::time_point now = Clock::now();
    try {
        if (steps_ > kMostSteps)
            refusal_ = fmt::format("the statement does not end: it has taken {} steps", steps_);
        else if (now - started_ > most_time)
            refusal_ = fmt::format("the statement does not end: it has taken {} seconds",
                                   most_time.count());
        else if (memory_held() - memory_before_ > kMostMemory)
            refusal_ = fmt::format("the statement takes too much memory: more than {} MiB",
                                   kMostMemory >> 20);
        const bool pass = sealed_ && !text_;
        if (progress_ && now - asked_ > kBetweenProgress &&
            (!pass || now - started_ > kBeforePassesAsk)) {
            asked_ = now;
            progress_();
        }
    } catch (...) {
        thrown_ = std::current_exception();
        return false;
    }
    return refusal_.empty();
}

void Sandbox::admit(Section section) {
    section_ = section;
    sealed_ = false;
}

void Sandbox::seal() {
    sealed_ = true;
}

// The meaning of a and b depends on the action: see SQLite's list of authorizer action codes.
bool Sandbox::admits(int action, const std::string& a, const std::string& b,
                     const std::string& database) const {
    const bool ours = database == "temp" && contains(kTables, a);
    const bool init = section_ == Section::init;
    const bool pass = section_ == Section::forward || section_ == Section::logits;
    switch (action) {
        case SQLITE_SELECT:
            return true;
        case SQLITE_CREATE_VTABLE:
            return init && ours && b == "llm_" + a;
        case SQLITE_INSERT:
            if (init) return ours || is_schema(a, database);
            return ours && ((pass && a == "slot") ||
                            (section_ == Section::forward && (a == "kv" || a == "scan")));
        case SQLITE_UPDATE:
        case SQLITE_READ:
            if (init) return is_schema(a, database) || (action == SQLITE_READ && ours);
            if (action == SQLITE_UPDATE) return false;
            if (pass) return ours;
            if (database == "temp") return a == "message" || a == "conversation";
            return database == "main" && a == "llm_render";
        case SQLITE_FUNCTION:
            if (pass) return find_sql_operator(b) != nullptr;
            return section_ == Section::text && contains(kTextFunctions, b);
        default:
            return false;
    }
}

int Sandbox::authorize(void* self, int action, const char* a, const char* b, const char* database,
                       const char*) {
    auto& sandbox = *static_cast<Sandbox*>(self);
    try {
        return sandbox.decide(action, a, b, database);
    } catch (...) {  // nothing may pass through SQLite
        sandbox.thrown_ = std::current_exception();
        return SQLITE_DENY;
    }
}

int Sandbox::decide(int action, const char* a, const char* b, const char* database) {
    if (sealed_ || (declaring_ && *declaring_)) return SQLITE_OK;
    const std::string first = a ? a : "", second = b ? b : "";
    // A table of which no column is named is read in no database, and may be any table-valued
    // function. One that is ours is in temp, where a name is looked for first; a subquery has no
    // name.
    const bool unnamed = action == SQLITE_READ && !database;
    const std::string where = unnamed ? "temp" : database ? database : "";
    if (admits(action, first, second, where)) return SQLITE_OK;
    if (refusal_.empty()) {
        const std::string& object = action == SQLITE_FUNCTION ? second : first;
        const bool creates = action == SQLITE_INSERT && object.starts_with("sqlite_");
        refusal_ = "a plan may not do this here: ";
        refusal_ += creates ? "creating a table, view or trigger" : name_of_action(action);
        if (!object.empty() && !creates) refusal_ += " " + object;
    }
    return SQLITE_DENY;
}

}  // namespace llmsql
