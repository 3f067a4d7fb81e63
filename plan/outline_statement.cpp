// SPDX-License-Identifier: MIT
// Reading one statement of forward or logits. See outline_statement.h.
//
// The form is that of compiler/emit/statements.cpp:
//   INSERT INTO slot(id, data) SELECT 3, … FROM tensor h, param w WHERE h.id = 2 AND w.id BETWEEN …
// Conditions are taken apart one by one; those that say nothing about ids are passed over.
#include "plan/outline_statement.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "operators/operators.h"
#include "plan/sql_tokens.h"

namespace llmsql {
namespace {

using Tokens = std::vector<SqlToken>;

/// What an alias stands for, and which of its rows.
struct Source {
    std::string table;
    std::optional<int64_t> first, last;
    std::optional<int64_t> layer;  // of kv
    bool chosen = false;
};

/// Tokens from `at` on, up to `until` or a keyword that ends the clause, outside of parentheses.
size_t end_of_clause(const Tokens& tokens, size_t at, std::initializer_list<const char*> until) {
    int depth = 0;
    for (; at < tokens.size(); ++at) {
        if (tokens[at].is_symbol("(")) ++depth;
        if (tokens[at].is_symbol(")")) --depth;
        if (depth == 0 && std::ranges::any_of(until, [&](const char* w) {
                return tokens[at].is(w) || tokens[at].is_symbol(w);
            }))
            break;
    }
    return at;
}

// A statement that joins more tensors than this under one name is not one that people look at.
constexpr int64_t kMostReads = 256;

std::optional<int64_t> sum_of(int64_t a, int64_t b) {
    int64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? std::nullopt : std::optional(sum);
}

class Reader {
  public:
    Reader(OutlineStep& step, const Outline& outline)
        : step_(step), outline_(outline), tokens_(sql_tokens(step.sql)) {}

    void run() {
        for (size_t i = 0; i + 1 < tokens_.size(); ++i)
            if (tokens_[i].kind == SqlToken::Kind::name && tokens_[i].text.starts_with("llm_") &&
                tokens_[i + 1].is_symbol("("))
                step_.operators.push_back(tokens_[i].text);
        picks_ = std::ranges::any_of(step_.operators, [](const std::string& name) {
            const Operator* op = find_sql_operator(name);
            return op && op->weight == WeightUse::picked;
        });
        const size_t select = end_of_clause(tokens_, 0, {"select"});
        const size_t from = end_of_clause(tokens_, select, {"from"});
        const size_t where = end_of_clause(tokens_, from, {"where"});
        target(select, from);
        sources(from + 1, where);
        if (where < tokens_.size()) conditions(where + 1);
        for (const std::string& alias : order_) use(sources_.at(alias));
        step_.operation = operation();
    }

  private:
    // What SQLite has not accepted may end anywhere: behind the end stands a token that is nothing.
    const SqlToken& token(size_t at) const {
        static const SqlToken kNone;
        return at < tokens_.size() ? tokens_[at] : kNone;
    }

    // INSERT INTO slot(id, data) SELECT 3, …, INSERT INTO scan(id, state, …) SELECT 3, … or INSERT
    // INTO kv(sequence, layer, …) SELECT …, 0, …
    void target(size_t select, size_t from) {
        if (select < 4 || !token(0).is("insert")) return;
        // A scan stores in a tensor, as `slot` does, and in its state.
        const bool slot = token(2).is("slot") || token(2).is("scan"), kv = token(2).is("kv");
        int column = -1;
        for (size_t i = 4, n = 0; i < select; ++i) {
            if (token(i).is_symbol(",")) continue;
            if (token(i).is(slot ? "id" : "layer")) column = static_cast<int>(n);
            ++n;
        }
        size_t at = select + 1;
        for (int skipped = 0; skipped < column && at < from; ++skipped)
            at = end_of_clause(tokens_, at, {",", "from"}) + 1;
        // A number alone, not the first of an expression.
        const bool alone = token(at + 1).is_symbol(",") || token(at + 1).is("from");
        const auto value =
            column >= 0 && at < from && alone ? token(at).integer() : std::optional<int64_t>();
        if (slot) step_.writes = value;
        if (kv) step_.stores = value;
        if (!value) step_.understood = false;
    }

    // tensor x, param w, kv
    void sources(size_t at, size_t end) {
        while (at < end) {
            const size_t next = end_of_clause(tokens_, at, {",", "where"});
            size_t words = std::min(next, end) - at;
            if (words == 3 && token(at + 1).is("as")) words = 2;
            if (words == 0 || words > 2 || token(at).kind != SqlToken::Kind::name) {
                step_.understood = false;  // a join, or a subquery
            } else {
                const std::string& alias = token(std::min(next, end) - 1).text;
                const bool first = !sources_.contains(alias);
                sources_[alias].table = token(at).text;
                if (first) order_.push_back(alias);
            }
            at = next + 1;
        }
    }

    void conditions(size_t at) {
        int depth = 0;
        bool between = false;
        for (size_t end = at; end <= tokens_.size(); ++end) {
            const SqlToken& here = token(end);
            if (here.is_symbol("(")) ++depth;
            if (here.is_symbol(")")) --depth;
            if (end < tokens_.size() && depth != 0) continue;
            if (here.is("between")) between = true;
            if (end < tokens_.size() && !here.is("and")) continue;
            if (end < tokens_.size() && std::exchange(between, false)) continue;
            condition(at, end);
            at = end + 1;
        }
    }

    // alias . column = …; where there is one source, column = …
    void condition(size_t at, size_t end) {
        const bool named = end - at >= 2 && token(at + 1).is_symbol(".");
        const auto source = named                  ? sources_.find(token(at).text)
                            : sources_.size() == 1 ? sources_.begin()
                                                   : sources_.end();
        if (named) at += 2;
        if (at >= end || end - at < 3 || source == sources_.end()) return;
        const SqlToken& column = token(at);
        Source& here = source->second;
        const bool equal = token(at + 1).is_symbol("=");
        const auto value = end - at == 3 ? token(at + 2).integer() : std::nullopt;
        if (column.is("layer") && equal) here.layer = value;
        if (!column.is("id")) return;
        if (token(at + 1).is("between") && end - at == 5 && token(at + 3).is("and")) {
            here.first = token(at + 2).integer();
            here.last = token(at + 4).integer();
        } else if (equal && value) {
            here.first = here.last = value;
        } else if (equal && end - at >= 5) {
            follow(here, at + 2, end);
        }
    }

    // other.id + 3, or c.item + 11
    void follow(Source& here, size_t at, size_t end) {
        const auto other = sources_.find(token(at).text);
        if (other == sources_.end() || !token(at + 1).is_symbol(".")) return;
        const bool minus = token(at + 3).is_symbol("-");
        if (end - at != 3 && !(end - at == 5 && (minus || token(at + 3).is_symbol("+")))) return;
        std::optional<int64_t> offset = 0;
        if (end - at == 5) offset = token(at + 4).integer();
        if (!offset) return;
        if (minus) offset = -*offset;  // no literal is negative
        if (token(at + 2).is("item")) {
            here.chosen = true;
            here.first = here.last = offset;
            const auto count = static_cast<int64_t>(outline_.params.size());
            if (*offset < 1 || *offset > count) return;
            here.last = outline_.end_of_table(static_cast<int>(*offset));
        } else if (token(at + 2).is("id") && other->second.first && other->second.last) {
            here.first = sum_of(*other->second.first, *offset);
            here.last = sum_of(*other->second.last, *offset);
        }
    }

    void use(const Source& source) {
        const auto count = static_cast<int64_t>(outline_.params.size());
        if (source.table == "kv") {
            step_.looks_back = source.layer;
            if (!source.layer) step_.understood = false;
        } else if (source.table == "tensor" && source.first && source.last) {
            int64_t id = *source.first;
            for (int64_t n = 0; n < kMostReads && id <= *source.last && outline_.tensor(id);
                 ++n, ++id)
                if (std::ranges::find(step_.reads, id) == step_.reads.end())
                    step_.reads.push_back(id);
            if (id <= *source.last) step_.understood = false;
        } else if (source.table == "param" && source.first && source.last && *source.first >= 1 &&
                   *source.first <= *source.last && *source.last <= count) {
            step_.weights.push_back({static_cast<int>(*source.first),
                                     static_cast<int>(*source.last), source.chosen, picks_});
        } else if (source.table != "chosen" && source.table != "state") {
            step_.understood = false;
        }
    }

    // The operator that takes a statement's time, the others being on its way.
    std::string operation() const {
        if (step_.stores) return "cache";
        const auto effort = [](const std::string& name) {
            const Operator* op = find_sql_operator(name);
            return op ? op->effort : 0;
        };
        const auto most = std::ranges::max_element(step_.operators, {}, effort);
        return most == step_.operators.end() ? "select" : most->substr(4);
    }

    OutlineStep& step_;
    const Outline& outline_;
    const Tokens tokens_;
    std::map<std::string, Source> sources_;
    std::vector<std::string> order_;  // aliases, as FROM has them
    bool picks_ = false;              // rows of matrices: an operator of the statement does
};

}  // namespace

void read_statement(OutlineStep& step, const Outline& outline) {
    Reader(step, outline).run();
}

std::string table_of(const std::string& param) {
    const size_t dot = param.rfind('.');
    const bool number = dot != std::string::npos && dot > param.find('.') &&
                        dot + 1 < param.size() &&
                        param.find_first_not_of("0123456789", dot + 1) == std::string::npos;
    return number ? param.substr(0, dot) : param;
}

}  // namespace llmsql
