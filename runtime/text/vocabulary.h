// SPDX-License-Identifier: MIT
// The tokenizer's tables in a model.db, looked up by index: nothing of them is loaded but the
// special tokens, which have to be searched for in every text.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/text/merge.h"
#include "runtime/weights/model_db.h"
#include "sqlite/statement.h"

namespace llmsql {

/// llm_token.kind, GGUF's numbers.
enum class TokenKind : int {
    normal = 1,
    unknown = 2,
    control = 3,       // <|im_end|>: recognised in markup only, never printed
    user_defined = 4,  // recognised in every text before anything else
    unused = 5,
    byte = 6,  // <0x0A>: what SentencePiece falls back to
};

struct Token {
    int32_t id = -1;
    std::string piece;  // bytes
    TokenKind kind = TokenKind::normal;
};

/// A control or user-defined token.
struct SpecialToken {
    std::string piece;
    int32_t id = -1;
    bool control = false;
    bool takes_left = false, takes_right = false;  // the spaces beside it, too
    bool single_word = false;                      // not where a letter or digit touches it
    bool normalized = false;                       // looked for in what the normalizer has made
};

/// Special tokens, to be searched for in texts.
class SpecialTokens {
  public:
    explicit SpecialTokens(std::vector<SpecialToken> tokens = {});

    bool empty() const { return tokens_.empty(); }

    /// The longest that `text` has at `at`; control tokens only if they end at or before
    /// `markup_end`. Null if there is none.
    const SpecialToken* at(std::string_view text, size_t at, size_t markup_end) const;

  private:
    std::vector<SpecialToken> tokens_;  // sorted by piece
    std::bitset<256> starts_;           // the bytes that one starts with
};

/// Not thread-safe: statements are shared between calls. Errors name the database.
class Vocabulary {
  public:
    /// `db` must outlive it.
    explicit Vocabulary(const ModelDb& db);

    /// The token with this id; fails if there is none.
    Token token(int32_t id) const;

    /// The id of the token with exactly this piece, of any kind.
    std::optional<int32_t> find(std::string_view piece) const;

    /// The id and score of the normal, user-defined or unused token with this piece: what ordinary
    /// text may become. Its order is minus its score.
    std::optional<Merge> find_by_score(std::string_view piece) const;

    /// Bytes of the longest piece, 1 at least. The first call looks at all rows.
    size_t longest_piece() const;

    /// Whether llm_merge has rows.
    bool has_merges() const { return has_merges_; }

    /// The id of the byte token `<0xXX>`, or, for byte-level BPE, of the one-byte piece.
    std::optional<int32_t> find_byte(uint8_t byte) const;

    /// llm_merge's row for two token ids: the merged token and its rank.
    std::optional<Merge> find_merge(int32_t left, int32_t right) const;

    /// The control and user-defined tokens, in no order.
    std::vector<SpecialToken> special() const;

  private:
    std::string where_;  // starts the errors' texts: the database's path
    Statement by_id_, by_piece_, by_score_, byte_, merge_;
    const ModelDb& db_;
    mutable size_t longest_ = 0;  // once it is known
    bool has_merges_ = false;
};

}  // namespace llmsql
