// SPDX-License-Identifier: MIT
// A vocabulary in memory, and the two ways of covering a word that need one: the pieces that a text
// begins with are asked for at each of its characters, where merging asks for pairs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/weights/model_db.h"

namespace llmsql {

/// The pieces that ordinary text may become: kinds 1, 4 and 5 (docs/model-db.md). Sorted texts,
/// some 24 bytes a piece beside the text.
class PieceTable {
  public:
    explicit PieceTable(const ModelDb& db);

    struct Piece {
        int32_t id = -1;
        double score = 0;
    };
    /// Calls `piece` with each piece that `before` and then `text` begin with, and how much of
    /// `text` it takes, shorter ones first.
    void prefixes(std::string_view before, std::string_view text,
                  const std::function<void(size_t length, const Piece& piece)>& piece) const;
    double lowest_score() const { return lowest_; }

  private:
    std::string_view text_at(size_t i) const {
        return std::string_view(texts_).substr(begins_[i], begins_[i + 1] - begins_[i]);
    }

    std::string texts_;
    std::vector<uint32_t> begins_;  // of texts_; one more than there are pieces
    std::vector<Piece> pieces_;
    std::vector<uint32_t> first_;  // of each first byte, where its pieces begin; 257
    double lowest_ = 0;
};

/// Part of a text, and what it is; no token where the vocabulary has none for it.
struct Covered {
    size_t begin = 0, end = 0;
    int32_t token = -1;
};

/// The cover of `text` whose pieces' scores sum to the most (a unigram model, Kudo 2018). A
/// character that is no piece has the score `unknown`; such that touch are one part.
std::vector<Covered> best_cover(const PieceTable& table, std::string_view text, double unknown);

/// The longest piece that `text` begins with, then the longest of the rest with `continuing` in
/// front of it, and so on (WordPiece). Empty if there is a rest that no piece begins.
std::vector<Covered> greedy_cover(const PieceTable& table, std::string_view text,
                                  std::string_view continuing);

}  // namespace llmsql
