// SPDX-License-Identifier: MIT
// Prepared statements over llm_token and llm_merge.
#include "runtime/text/vocabulary.h"

#include <algorithm>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr int64_t kLongestPiece = 64 << 10;  // what the importer takes
constexpr size_t kMostSpecial = 1 << 20;

/// `bytes` must outlive the statement's run.
void bind_bytes(sqlite3_stmt* statement, std::string_view bytes) {
    if (bytes.empty())
        sqlite3_bind_zeroblob(statement, 1, 0);  // a null pointer would bind NULL
    else
        sqlite3_bind_blob64(statement, 1, bytes.data(), bytes.size(), SQLITE_STATIC);
}

std::string column_bytes(sqlite3_stmt* statement, int column) {
    const auto* data = static_cast<const char*>(sqlite3_column_blob(statement, column));
    return std::string(data ? data : "",
                       static_cast<size_t>(sqlite3_column_bytes(statement, column)));
}

}  // namespace

Vocabulary::Vocabulary(const ModelDb& db) : where_(db.path().string()), db_(db) {
    by_id_ = prepare(db.handle(), "SELECT piece, kind FROM llm_token WHERE id = ?1", where_);
    by_piece_ = prepare(
        db.handle(), "SELECT id FROM llm_token WHERE piece = ?1 ORDER BY kind = 3 DESC, id LIMIT 1",
        where_);
    by_score_ = prepare(
        db.handle(),
        "SELECT id, score FROM llm_token WHERE piece = ?1 AND +kind IN (1, 4, 5) LIMIT 1", where_);
    byte_ =
        prepare(db.handle(),
                "SELECT id FROM llm_token WHERE piece = ?1 AND +kind IN (1, 6) LIMIT 1", where_);
    merge_ = prepare(db.handle(),
                     "SELECT merged, rank FROM llm_merge WHERE left = ?1 AND right = ?2", where_);

    has_merges_ =
        step(prepare(db.handle(), "SELECT 1 FROM llm_merge LIMIT 1", where_).get(), where_);

    const Statement special = prepare(
        db.handle(), "SELECT id, piece, kind, length(piece) FROM llm_token WHERE kind IN (3, 4)",
        where_);
    while (step(special.get(), where_)) {
        // A damaged file may claim long pieces in many rows: what is looked at first costs nothing.
        if (sqlite3_column_int64(special.get(), 3) > kLongestPiece ||
            special_.size() == kMostSpecial)
            fail("{}: its special tokens are not a tokenizer's; import the model again", where_);
        SpecialToken token{
            column_bytes(special.get(), 1), sqlite3_column_int(special.get(), 0),
            sqlite3_column_int(special.get(), 2) == static_cast<int>(TokenKind::control)};
        if (token.piece.empty()) continue;
        special_start_.set(static_cast<uint8_t>(token.piece[0]));
        special_.push_back(std::move(token));
    }
    // As bytes, which SQLite's order need not be: a piece may be of any type.
    std::ranges::stable_sort(special_, {}, &SpecialToken::piece);
    special_.shrink_to_fit();
}

Token Vocabulary::token(int32_t id) const {
    const ResetAtExit reset(by_id_.get());
    sqlite3_bind_int(by_id_.get(), 1, id);
    if (!step(by_id_.get(), where_)) fail("{}: there is no token {}", where_, id);
    return {id, column_bytes(by_id_.get(), 0),
            static_cast<TokenKind>(sqlite3_column_int(by_id_.get(), 1))};
}

std::optional<int32_t> Vocabulary::find(std::string_view piece) const {
    const ResetAtExit reset(by_piece_.get());
    bind_bytes(by_piece_.get(), piece);
    if (!step(by_piece_.get(), where_)) return std::nullopt;
    return sqlite3_column_int(by_piece_.get(), 0);
}

size_t Vocabulary::longest_piece() const {
    if (longest_ == 0) {
        const Statement query =
            prepare(db_.handle(), "SELECT max(length(CAST(piece AS BLOB))) FROM llm_token", where_);
        step(query.get(), where_);
        longest_ = static_cast<size_t>(std::max<int64_t>(1, sqlite3_column_int64(query.get(), 0)));
    }
    return longest_;
}

std::optional<Merge> Vocabulary::find_by_score(std::string_view piece) const {
    const ResetAtExit reset(by_score_.get());
    bind_bytes(by_score_.get(), piece);
    if (!step(by_score_.get(), where_)) return std::nullopt;
    return Merge{sqlite3_column_int(by_score_.get(), 0),
                 -sqlite3_column_double(by_score_.get(), 1)};
}

std::optional<int32_t> Vocabulary::find_byte(uint8_t byte) const {
    const std::string named = fmt::format("<0x{:02X}>", byte);
    const std::string raw(1, static_cast<char>(byte));
    for (const std::string& piece : {named, raw}) {
        const ResetAtExit reset(byte_.get());
        bind_bytes(byte_.get(), piece);
        if (step(byte_.get(), where_)) return sqlite3_column_int(byte_.get(), 0);
    }
    return std::nullopt;
}

std::optional<Merge> Vocabulary::find_merge(int32_t left, int32_t right) const {
    const ResetAtExit reset(merge_.get());
    sqlite3_bind_int(merge_.get(), 1, left);
    sqlite3_bind_int(merge_.get(), 2, right);
    if (!step(merge_.get(), where_)) return std::nullopt;
    return Merge{sqlite3_column_int(merge_.get(), 0), sqlite3_column_double(merge_.get(), 1)};
}

const SpecialToken* Vocabulary::special_at(std::string_view text, size_t at,
                                           size_t markup_end) const {
    if (!special_start_[static_cast<uint8_t>(text[at])]) return nullptr;
    // [low, high) are the special tokens whose first `length` bytes are the text's.
    auto low = special_.begin();
    auto high = special_.end();
    const SpecialToken* longest = nullptr;
    for (size_t length = 0; low != high; ++length) {
        if (low->piece.size() == length) {  // sorts before those that go on
            if (!low->control || at + length <= markup_end) longest = &*low;
            if (++low == high) break;
        }
        if (at + length == text.size()) break;
        const auto byte = static_cast<uint8_t>(text[at + length]);
        const auto byte_of = [length](const SpecialToken& token) {
            return static_cast<uint8_t>(token.piece[length]);
        };
        low = std::partition_point(low, high, [&](const auto& t) { return byte_of(t) < byte; });
        high = std::partition_point(low, high, [&](const auto& t) { return byte_of(t) == byte; });
    }
    return longest;
}

}  // namespace llmsql
