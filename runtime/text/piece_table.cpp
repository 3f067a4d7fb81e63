// SPDX-License-Identifier: MIT
// Sorted texts, narrowed byte by byte. See piece_table.h.
#include "runtime/text/piece_table.h"

#include <algorithm>
#include <limits>

#include "common/error.h"
#include "common/utf8.h"
#include "sqlite/statement.h"

namespace llmsql {
namespace {

constexpr size_t kMostText = size_t{1} << 30;

}  // namespace

PieceTable::PieceTable(const ModelDb& db) {
    // In the order of bytes, since a piece is a blob; of pieces that are alike the first id counts.
    const Statement all = db.connection().prepare(
        "SELECT piece, id, score FROM llm_token WHERE +kind IN (1, 4, 5) ORDER BY piece, id");
    lowest_ = std::numeric_limits<double>::infinity();
    begins_.push_back(0);
    Query query(all);
    while (query.next()) {
        const auto bytes = query.as_bytes(0);
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        lowest_ = std::min(lowest_, query.as_real(2));
        if (text.empty() || (!pieces_.empty() && text_at(pieces_.size() - 1) == text)) continue;
        if (texts_.size() + text.size() > kMostText ||
            (!pieces_.empty() && text_at(pieces_.size() - 1) > text))
            fail("{}: its vocabulary is not a tokenizer's; import the model again",
                 db.path().string());
        texts_ += text;
        begins_.push_back(static_cast<uint32_t>(texts_.size()));
        pieces_.push_back({static_cast<int32_t>(query.as_integer(1)), query.as_real(2)});
    }
    texts_.shrink_to_fit();
    begins_.shrink_to_fit();
    pieces_.shrink_to_fit();
    first_.assign(257, static_cast<uint32_t>(pieces_.size()));
    for (size_t i = pieces_.size(); i-- > 0;)
        first_[static_cast<uint8_t>(texts_[begins_[i]])] = static_cast<uint32_t>(i);
    for (size_t byte = 256; byte-- > 0;) first_[byte] = std::min(first_[byte], first_[byte + 1]);
}

void PieceTable::prefixes(
    std::string_view before, std::string_view text,
    const std::function<void(size_t length, const Piece& piece)>& piece) const {
    const size_t whole = before.size() + text.size();
    const auto byte_at = [&](size_t at) {
        return static_cast<uint8_t>(at < before.size() ? before[at] : text[at - before.size()]);
    };
    if (whole == 0) return;
    // [low, high) are the pieces whose first `length` bytes are those that were asked for.
    size_t low = first_[byte_at(0)], high = first_[byte_at(0) + size_t{1}];
    for (size_t length = 1; low < high; ++length) {
        if (begins_[low + 1] - begins_[low] == length) {  // sorts before those that go on
            if (length > before.size()) piece(length - before.size(), pieces_[low]);
            if (++low == high) break;
        }
        if (length == whole) break;
        const uint8_t byte = byte_at(length);
        const auto byte_of = [&](size_t i) {
            return static_cast<uint8_t>(texts_[begins_[i] + length]);
        };
        const auto bound = [&](size_t from, int limit) {  // the first that is not below it
            size_t count = high - from;
            while (count > 0) {
                const size_t half = count / 2;
                if (byte_of(from + half) < limit) {
                    from += half + 1;
                    count -= half + 1;
                } else {
                    count = half;
                }
            }
            return from;
        };
        low = bound(low, byte);
        high = bound(low, byte + 1);
    }
}

std::vector<Covered> best_cover(const PieceTable& table, std::string_view text, double unknown) {
    constexpr int32_t kUnreached = -2;
    struct Best {
        double score = 0;
        uint32_t begin = 0;
        int32_t token = kUnreached;
    };
    std::vector<Best> best(text.size() + 1);
    const auto offer = [&](size_t begin, size_t end, double score, int32_t token) {
        Best& there = best[end];
        if (there.token == kUnreached || score > there.score)
            there = {score, static_cast<uint32_t>(begin), token};
    };
    for (size_t at = 0; at < text.size();) {
        const size_t length = utf8_at(text.substr(at)).length;
        const double so_far = best[at].score;
        bool whole = false;
        table.prefixes("", text.substr(at), [&](size_t bytes, const PieceTable::Piece& piece) {
            offer(at, at + bytes, so_far + piece.score, piece.id);
            whole |= bytes == length;
        });
        if (!whole) offer(at, at + length, so_far + unknown, -1);
        at += length;
    }
    std::vector<Covered> parts;
    for (size_t end = text.size(); end > 0; end = best[end].begin) {
        const Best& last = best[end];
        if (last.token < 0 && !parts.empty() && parts.back().token < 0)
            parts.back().begin = last.begin;
        else
            parts.push_back({last.begin, end, last.token});
    }
    std::ranges::reverse(parts);
    return parts;
}

std::vector<Covered> greedy_cover(const PieceTable& table, std::string_view text,
                                  std::string_view continuing) {
    std::vector<Covered> parts;
    for (size_t at = 0; at < text.size();) {
        Covered longest{at, at, -1};
        table.prefixes(at == 0 ? std::string_view() : continuing, text.substr(at),
                       [&](size_t bytes, const PieceTable::Piece& piece) {
                           longest = {at, at + bytes, piece.id};
                       });
        if (longest.token < 0) return {};
        parts.push_back(longest);
        at = longest.end;
    }
    return parts;
}

}  // namespace llmsql
