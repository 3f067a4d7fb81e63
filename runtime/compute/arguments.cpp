// SPDX-License-Identifier: MIT
// Checking what SQL hands to operators. See arguments.h.
#include "runtime/compute/arguments.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <string>

#include "common/error.h"
#include "sqlite/table.h"

namespace llmsql {
namespace {

// Adds the ids of a JSON array; false if the text is none.
bool parse_token_ids(std::string_view text, std::vector<int32_t>& ids) {
    const auto skip = [&] {
        while (!text.empty() && std::strchr(" \t\r\n", text.front())) text.remove_prefix(1);
    };
    const auto eat = [&](char c) {
        skip();
        if (text.empty() || text.front() != c) return false;
        text.remove_prefix(1);
        return true;
    };
    if (!eat('[')) return false;
    if (eat(']')) return skip(), text.empty();
    do {
        skip();
        int32_t id = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
        if (error != std::errc()) return false;
        ids.push_back(id);
        text.remove_prefix(static_cast<size_t>(end - text.data()));
    } while (eat(','));
    return eat(']') && (skip(), text.empty());
}

}  // namespace

void result_expr(sqlite3_context* context, ExprPtr expr) {
    sqlite3_result_pointer(context, new ExprPtr(std::move(expr)), kExprPointer,
                           [](void* held) { delete static_cast<ExprPtr*>(held); });
}

ExprPtr value_expr(sqlite3_value* value) {
    const auto* held = static_cast<ExprPtr*>(sqlite3_value_pointer(value, kExprPointer));
    return held ? *held : nullptr;
}

void Arguments::refuse(const std::string& why) const {
    fail("{}: {}", function_, why);
}

void Arguments::wrong(int index, std::string_view wanted) const {
    std::string found = described(values_[index]);
    if (sqlite3_value_pointer(values_[index], kExprPointer))
        found = "a tensor";
    else if (find_weight(index))
        found = "a parameter";
    else if (sqlite3_value_type(values_[index]) == SQLITE_NULL)
        found += " (no such row, or a pointer lost in a sorter or subquery)";
    fail("{}: argument {} must be {}, not {}", function_, index + 1, wanted, found);
}

bool Arguments::has(int index) const {
    return index < count_ &&
           (sqlite3_value_type(values_[index]) != SQLITE_NULL ||
            sqlite3_value_pointer(values_[index], kExprPointer) || find_weight(index));
}

const Weight* Arguments::find_weight(int index) const {
    return static_cast<const Weight*>(sqlite3_value_pointer(values_[index], kWeightPointer));
}

ExprPtr Arguments::any_tensor(int index) const {
    ExprPtr expr = value_expr(values_[index]);
    if (!expr) wrong(index, "a tensor");
    return expr;
}

ExprPtr Arguments::tensor(int index) const {
    ExprPtr expr = any_tensor(index);
    if (is_outermost(*expr))
        fail("{}: llm_quantize and llm_concat must stand outermost in an expression", function_);
    return expr;
}

std::shared_ptr<const TensorExpr> Arguments::stored(int index, TensorType type) const {
    auto expr = std::dynamic_pointer_cast<const TensorExpr>(tensor(index));
    if (!expr)
        fail(
            "{}: argument {} must be a stored tensor, not the result of another operator: store "
            "it in a tensor first",
            function_, index + 1);
    if (expr->place.type != type)
        fail("{}: argument {} must be a {} tensor, tensor {} '{}' is {}", function_, index + 1,
             name_of(type), expr->place.id, expr->place.name, name_of(expr->place.type));
    return expr;
}

const Weight& Arguments::matrix(int index) const {
    const Weight* found = find_weight(index);
    if (!found || found->entry.shape.is_vector()) wrong(index, "a matrix of `param`");
    return *found;
}

const Weight& Arguments::vector(int index, int64_t elements) const {
    const Weight* found = find_weight(index);
    if (!found || !found->entry.shape.is_vector()) wrong(index, "a vector of `param`");
    if (found->entry.shape.cols != elements)
        fail("{}: {} has {} elements, {} are needed", function_, found->entry.name,
             found->entry.shape.cols, elements);
    return *found;
}

const KvBlock& Arguments::block(int index) const {
    const void* found = sqlite3_value_pointer(values_[index], kBlockPointer);
    if (!found) wrong(index, "a block of `kv`");
    return *static_cast<const KvBlock*>(found);
}

const RecurrentState& Arguments::state(int index) const {
    const void* found = sqlite3_value_pointer(values_[index], kStatePointer);
    if (!found) wrong(index, "a row of `state`");
    return *static_cast<const RecurrentState*>(found);
}

double Arguments::number(int index) const {
    const int type = sqlite3_value_type(values_[index]);
    const double value = sqlite3_value_double(values_[index]);
    if ((type != SQLITE_INTEGER && type != SQLITE_FLOAT) || !std::isfinite(value))
        wrong(index, "a finite number");
    return value;
}

int64_t Arguments::integer(int index) const {
    if (sqlite3_value_type(values_[index]) != SQLITE_INTEGER) wrong(index, "an integer");
    return sqlite3_value_int64(values_[index]);
}

std::vector<int32_t> Arguments::tokens(int index) const {
    std::vector<int32_t> ids;
    sqlite3_value* value = values_[index];
    const int type = sqlite3_value_type(value);
    if (type == SQLITE_BLOB) {
        const auto bytes = static_cast<size_t>(sqlite3_value_bytes(value));
        if (bytes % sizeof(int32_t) != 0)
            fail("{}: argument {} is a blob of {}, which is no list of int32", function_, index + 1,
                 counted(bytes, "byte"));
        ids.resize(bytes / sizeof(int32_t));
        if (!ids.empty()) std::memcpy(ids.data(), sqlite3_value_blob(value), bytes);
    } else if (type == SQLITE_TEXT) {
        const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
        const std::string_view all(text, static_cast<size_t>(sqlite3_value_bytes(value)));
        if (!parse_token_ids(all, ids))
            fail("{}: argument {} must be a JSON array of token ids, as '[1,2]', not '{}'",
                 function_, index + 1, printable(all));
    } else {
        wrong(index, "token ids: a JSON array '[1,2]' or a blob of int32");
    }
    if (ids.empty())
        fail("{}: argument {} holds no token: a pass has one at least", function_, index + 1);
    return ids;
}

}  // namespace llmsql
