// SPDX-License-Identifier: MIT
// Prepared statements over llm_token and llm_merge.
#include "runtime/text/vocabulary.h"

#include <algorithm>

#include "common/error.h"

namespace llmsql {
namespace {

constexpr int64_t kLongestPiece = 64 << 10;  // what the importer takes
constexpr size_t kMostSpecial = 1 << 20;

std::string text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Vocabulary::Vocabulary(const ModelDb& db) : where_(db.path().string()), db_(db) {
    const Connection& tables = db.connection();
    by_id_ = tables.prepare("SELECT piece, kind FROM llm_token WHERE id = ?1");
    by_piece_ = tables.prepare(
        "SELECT id FROM llm_token WHERE piece = ?1 ORDER BY kind = 3 DESC, id LIMIT 1");
    by_score_ = tables.prepare(
        "SELECT id, score FROM llm_token WHERE piece = ?1 AND +kind IN (1, 4, 5) LIMIT 1");
    // A letter may be an added token besides, which a text has not everywhere (single_word).
    byte_ =
        tables.prepare("SELECT id FROM llm_token WHERE piece = ?1 AND +kind IN (1, 4, 6) LIMIT 1");
    merge_ = tables.prepare("SELECT merged, rank FROM llm_merge WHERE left = ?1 AND right = ?2");

    has_merges_ = tables.integer("SELECT 1 FROM llm_merge LIMIT 1").has_value();
}

std::vector<SpecialToken> Vocabulary::special() const {
    std::vector<SpecialToken> tokens;
    Query query(db_.connection(),
                "SELECT id, piece, kind, length(piece) FROM llm_token WHERE kind IN (3, 4)");
    while (query.next()) {
        // A damaged file may claim long pieces in many rows: what is looked at first costs nothing.
        if (query.as_integer(3) > kLongestPiece || tokens.size() == kMostSpecial)
            fail("{}: its special tokens are not a tokenizer's; import the model again", where_);
        SpecialToken token;
        token.piece = text_of(query.as_bytes(1));
        token.id = static_cast<int32_t>(query.as_integer(0));
        token.control = query.as_integer(2) == static_cast<int>(TokenKind::control);
        if (!token.piece.empty()) tokens.push_back(std::move(token));
    }
    return tokens;
}

SpecialTokens::SpecialTokens(std::vector<SpecialToken> tokens) : tokens_(std::move(tokens)) {
    for (const SpecialToken& token : tokens_) starts_.set(static_cast<uint8_t>(token.piece[0]));
    // As bytes, which SQLite's order need not be: a piece may be of any type.
    std::ranges::stable_sort(tokens_, {}, &SpecialToken::piece);
    tokens_.shrink_to_fit();
}

Token Vocabulary::token(int32_t id) const {
    Query query(by_id_, id);
    if (!query.next()) fail("{}: there is no token {}", where_, id);
    return {id, text_of(query.as_bytes(0)), static_cast<TokenKind>(query.as_integer(1))};
}

std::optional<int32_t> Vocabulary::find(std::string_view piece) const {
    Query query(by_piece_, bytes_of(piece));
    if (!query.next()) return std::nullopt;
    return static_cast<int32_t>(query.as_integer(0));
}

size_t Vocabulary::longest_piece() const {
    if (longest_ == 0) {
        const auto bytes =
            db_.connection().integer("SELECT max(length(CAST(piece AS BLOB))) FROM llm_token");
        longest_ = static_cast<size_t>(std::max<int64_t>(1, bytes.value_or(0)));
    }
    return longest_;
}

std::optional<Merge> Vocabulary::find_by_score(std::string_view piece) const {
    Query query(by_score_, bytes_of(piece));
    if (!query.next()) return std::nullopt;
    return Merge{static_cast<int32_t>(query.as_integer(0)), -query.as_real(1)};
}

std::optional<int32_t> Vocabulary::find_byte(uint8_t byte) const {
    const std::string named = fmt::format("<0x{:02X}>", byte);
    const std::string raw(1, static_cast<char>(byte));
    for (const std::string& piece : {named, raw}) {
        Query query(byte_, bytes_of(piece));
        if (query.next()) return static_cast<int32_t>(query.as_integer(0));
    }
    return std::nullopt;
}

std::optional<Merge> Vocabulary::find_merge(int32_t left, int32_t right) const {
    Query query(merge_, left, right);
    if (!query.next()) return std::nullopt;
    return Merge{static_cast<int32_t>(query.as_integer(0)), query.as_real(1)};
}

const SpecialToken* SpecialTokens::at(std::string_view text, size_t at, size_t markup_end) const {
    if (!starts_[static_cast<uint8_t>(text[at])]) return nullptr;
    // [low, high) are the special tokens whose first `length` bytes are the text's.
    auto low = tokens_.begin();
    auto high = tokens_.end();
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
