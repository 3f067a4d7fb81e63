// SPDX-License-Identifier: MIT
// Measuring a statement. See statement_size.h.
#include "plan/statement_size.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "common/error.h"
#include "plan/sql_tokens.h"

namespace llmsql {
namespace {

constexpr size_t kMostStatement = 1 << 20, kMostStatementInInit = 16 << 20;
constexpr size_t kLongestTextInInit = 4096;  // a name of a parameter, a tensor, a model
constexpr int64_t kMostWords = 1 << 15, kMostOfInit = 2'000'000;
constexpr int64_t kMostWordsOfOthers = 256;  // of what is neither SELECT, INSERT nor VALUES
constexpr int64_t kMostWrittenOut = 1 << 20;
constexpr size_t kDeepest = 100;
constexpr int64_t kMostArguments = 100;
constexpr int64_t kMostTables = 64;       // of one join
constexpr int64_t kMostInCompound = 100;  // SELECTs
constexpr size_t kMostSelects = 500;      // in all
constexpr int64_t kMostCollations = 16;   // each a level that SQLite's own limits do not count
constexpr int64_t kEnough = int64_t{1} << 40;

// Words that are never names, in any version of SQLite.
constexpr std::array<std::string_view, 32> kReserved{
    "all",    "and",       "as",     "between", "case",   "collate", "distinct", "else",
    "escape", "from",      "exists", "except",  "group",  "having",  "in",       "insert",
    "into",   "intersect", "is",     "isnull",  "join",   "limit",   "not",      "notnull",
    "null",   "on",        "or",     "order",   "select", "then",    "using",    "when"};
constexpr std::array<std::string_view, 8> kEndsFrom{"where", "group", "having", "order",
                                                    "limit", "union", "except", "intersect"};

int64_t plus(int64_t a, int64_t b) {
    return std::min(kEnough, a + b);
}
int64_t times(int64_t a, int64_t b) {
    return a == 0 || b == 0 ? 0 : a > kEnough / b ? kEnough : a * b;
}

template<class List>
bool is_one_of(std::string_view word, const List& list) {
    return std::ranges::any_of(list, [&](std::string_view each) { return same_name(word, each); });
}

// One SELECT, or an arm of a compound one. Names are counted that may stand for something longer.
struct Select {
    int64_t words = 0, names = 0;                  // but for those of SELECTs within
    int64_t later_names = 0;                       // after FROM: they may stand for results, too
    int64_t longest_words = 0, longest_names = 0;  // of one result
    int64_t tables = 0;
    std::vector<std::vector<size_t>> from;  // the subqueries of FROM: of each, its SELECTs
    std::vector<size_t> within;             // other subqueries' SELECTs
    std::vector<size_t> within_results;     // those of them that are part of a result
    // Of the result that is being read.
    int64_t result_words = 0, result_names = 0;
    bool in_results = true;
};

class Measurer {
  public:
    Measurer(std::string_view sql, bool in_init) : sql_(sql), in_init_(in_init) {}

    StatementSize run() {
        const size_t most_bytes = in_init_ ? kMostStatementInInit : kMostStatement;
        if (sql_.size() > most_bytes) {
            refuse("the statement is {} bytes long, here it may be {}", sql_.size(), most_bytes);
            return std::move(size_);
        }
        selects_.emplace_back();  // what stands outside of any
        levels_.push_back({.select = 0});
        SqlScanner scanner(sql_);
        for (SqlScanner::Word word; size_.refusal.empty() && scanner.next(word);) take(word);
        if (pending_) count_name(*pending_);
        if (!size_.refusal.empty()) return std::move(size_);
        end_result(selects_[0]);
        size_.written_out = written_out(0, 0);
        if (size_.written_out > (in_init_ ? kMostOfInit : kMostWrittenOut))
            refuse(
                "a column of a subquery is named too often, within others: written out, the "
                "statement has {}{} words, it may have {}",
                size_.written_out == kEnough ? "more than " : "", size_.written_out,
                in_init_ ? kMostOfInit : kMostWrittenOut);
        return std::move(size_);
    }

  private:
    // A bracket, a CASE, or the whole statement.
    struct Level {
        size_t select = 0;  // whose words these are
        bool is_case = false;
        bool from_item = false;  // a SELECT that begins here is a subquery of FROM
        bool call = false;
        bool in_from = false;   // in the FROM clause of the SELECT that began here
        bool at_table = false;  // and there where tables stand, not behind ON
        size_t parent = 0;      // the SELECT around
        size_t group = 0;       // of `from`, once there is a SELECT
        int64_t selects = 0, commas = 0;
    };

    template<class... Args>
    void refuse(fmt::format_string<Args...> text, Args&&... args) {
        if (size_.refusal.empty()) size_.refusal = fmt::format(text, std::forward<Args>(args)...);
    }

    Level& level() { return levels_.back(); }
    Select& select() { return selects_[level().select]; }

    void take(const SqlScanner::Word& word) {
        using Kind = SqlToken::Kind;
        const bool plain = word.kind == Kind::name && !word.is_quoted();
        const int64_t most = in_init_ ? kMostOfInit : kMostWords;
        if (++size_.words == 1 && !(plain && (word_is(word, "select") || word_is(word, "insert") ||
                                              word_is(word, "values"))))
            other_ = true;
        if (size_.words > most) refuse("the statement has more than {} words", most);
        if (other_ && size_.words > kMostWordsOfOthers)
            refuse(
                "a plan may not do this here: a statement of more than {} words that is not "
                "SELECT, INSERT or VALUES",
                kMostWordsOfOthers);
        if (in_init_ && word.is_quoted() && word.text.size() > kLongestTextInInit)
            refuse("a name of {} bytes, it may have {}", word.text.size() - 2, kLongestTextInInit);
        Select& here = select();
        ++here.words;
        ++here.result_words;
        // A name before a bracket is a function's; before a dot, a table's.
        if (pending_ && !word.is('(') && !word.is('.')) count_name(*pending_);
        const bool after_name = pending_.has_value();
        pending_.reset();
        if (plain)
            keyword_or_name(word);
        else if (word.kind == Kind::name || (word.kind == Kind::text && previous_ == "."))
            name();
        else if (word.kind == Kind::number)
            here.later_names += here.in_results ? 0 : 1;  // ORDER BY 1
        else if (word.kind == Kind::parameter)
            parameter(word.text);
        else if (word.is('('))
            open(after_name);
        else if (word.is(')'))
            close();
        else if (word.is(','))
            comma();
        else if (word.is('*'))
            count_name(level().select);
        after_parameter_ = word.kind == Kind::parameter;
        previous_ = word.text;
    }

    static bool word_is(const SqlScanner::Word& word, std::string_view what) {
        return same_name(word.text, what);
    }

    // SQLite takes what is in brackets behind a parameter for a part of its name, quotes and all.
    void parameter(std::string_view text) {
        if (text[0] == '$' || text[0] == '#' || text[0] == '@' || after_parameter_)
            refuse("a parameter is ':' and a name");
    }

    void name() {
        if (level().in_from && level().at_table) return;  // a table's, or its alias
        if (!same_name(previous_, "as")) pending_ = level().select;
    }

    void count_name(size_t index) {
        Select& here = selects_[index];
        ++here.names;
        ++here.result_names;
        if (!here.in_results) ++here.later_names;
    }

    void keyword_or_name(const SqlScanner::Word& word) {
        const auto is = [&](std::string_view what) { return word_is(word, what); };
        if (previous_ == ".") return name();
        if (is("with"))
            return refuse("a plan may not do this: WITH; write the query where it is used");
        if (is("select") || is("values")) return begin_select(is("select"));
        if (is("case")) return push({.is_case = true});
        if (is("end") && level().is_case) return levels_.pop_back();
        if (is("collate") && ++collations_ > kMostCollations)
            return refuse("more than {} times COLLATE", kMostCollations);
        if (is("from") && !same_name(previous_, "distinct")) return begin_from();
        if (is("on") && level().in_from) level().at_table = false;
        if (is("join")) return next_table();
        if (is_one_of(word.text, kEndsFrom)) return end_from();
        if (!is_one_of(word.text, kReserved)) name();
    }

    void push(Level next) {
        if (levels_.size() > kDeepest) return refuse("brackets nest more than {} deep", kDeepest);
        next.select = next.parent = level().select;
        levels_.push_back(next);
    }

    void open(bool after_name) {
        if (after_parameter_) refuse("a parameter is ':' and a name");
        const bool table = level().in_from && level().at_table && !after_name &&
                           (previous_ == "(" || previous_ == "," || same_name(previous_, "from") ||
                            same_name(previous_, "join"));
        push({.from_item = table, .call = after_name, .in_from = table, .at_table = table});
    }

    void close() {
        while (levels_.size() > 1 && level().is_case) levels_.pop_back();
        if (levels_.size() > 1) levels_.pop_back();
    }

    void comma() {
        if (level().call && ++level().commas >= kMostArguments)
            refuse("a call has more than {} arguments", kMostArguments);
        if (level().in_from) return next_table();
        if (owns_select()) end_result(select());
    }

    // Whether the SELECT whose words these are began on this level, not around it.
    bool owns_select() { return level().selects > 0; }

    void next_table() {
        if (!level().in_from) return;
        level().at_table = true;
        if (++select().tables > kMostTables) refuse("more than {} tables in a join", kMostTables);
    }

    static void end_result(Select& select) {
        if (!select.in_results) return;
        select.longest_words = std::max(select.longest_words, select.result_words);
        select.longest_names = std::max(select.longest_names, select.result_names);
        select.result_words = select.result_names = 0;
    }

    void begin_select(bool counts) {
        Level& here = level();
        if (here.is_case) return;  // SQLite refuses it
        if (here.selects++ > 0) end_result(select());
        if (counts && here.selects > kMostInCompound)
            return refuse("more than {} SELECTs in one", kMostInCompound);
        if (counts && selects_.size() > kMostSelects)
            return refuse("more than {} SELECTs within each other", kMostSelects);
        if (!counts && here.selects > 1) return;  // more rows
        const size_t index = selects_.size();
        selects_.emplace_back();
        Select& parent = selects_[here.parent];
        if (!here.from_item) {
            parent.within.push_back(index);
            if (parent.in_results) parent.within_results.push_back(index);
        } else {
            if (here.selects == 1) {
                here.group = parent.from.size();
                parent.from.emplace_back();
            }
            parent.from[here.group].push_back(index);
        }
        here.select = index;
        here.in_from = here.at_table = false;
    }

    void begin_from() {
        Level& here = level();
        end_result(select());
        select().in_results = false;
        here.in_from = here.at_table = true;
        next_table();
    }

    void end_from() {
        level().in_from = level().at_table = false;
        if (!owns_select()) return;
        end_result(select());
        select().in_results = false;
    }

    // How many SELECTs one becomes where a compound one in its FROM is drawn out of it.
    int64_t arms(size_t index) const {
        int64_t product = 1;
        for (const auto& group : selects_[index].from) {
            int64_t sum = 0;
            for (const size_t each : group) sum = plus(sum, arms(each));
            product = times(product, sum);
        }
        return product;
    }

    // Words of a SELECT where each of its names, and of the names within, may stand for `outer`
    // words or for what its own FROM has.
    int64_t written_out(size_t index, int64_t outer) const {
        const Select& select = selects_[index];
        int64_t from = 0, column = outer;
        for (const auto& group : select.from) {
            int64_t sum = 0;
            for (const size_t each : group) sum = plus(sum, written_out(each, outer));
            from = plus(from, sum);
            column = std::max(column, sum);
        }
        int64_t in_results = 0, elsewhere = 0;
        for (const size_t each : select.within) {
            int64_t& sum =
                std::ranges::find(select.within_results, each) != select.within_results.end()
                    ? in_results
                    : elsewhere;
            sum = plus(sum, written_out(each, column));
        }
        const int64_t within = plus(in_results, elsewhere);
        const int64_t own = plus(select.words, times(select.names, column));
        const int64_t result =
            plus(plus(select.longest_words, times(select.longest_names, column)), in_results);
        const int64_t once = plus(plus(own, within), times(select.later_names, result));
        return plus(times(once, arms(index)), from);
    }

    const std::string_view sql_;
    const bool in_init_;
    StatementSize size_;
    std::vector<Select> selects_;
    std::vector<Level> levels_;
    std::optional<size_t> pending_;  // a name whose next word is not known yet: its SELECT
    std::string_view previous_;
    int64_t collations_ = 0;
    bool after_parameter_ = false, other_ = false;
};

}  // namespace

StatementSize size_of_statement(std::string_view sql, bool in_init) {
    return Measurer(sql, in_init).run();
}

}  // namespace llmsql
