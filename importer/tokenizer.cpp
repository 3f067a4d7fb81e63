// Copies a GGUF's tokenizer into model.db. See tokenizer.h.
#include "importer/tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "common/error.h"

namespace llmsql {
namespace {

// GGUF's token types, which are llm_token.kind as well.
constexpr int kNormal = 1;
constexpr int kControl = 3;
constexpr int kLastKind = 6;

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kKinds = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";

// GGUF's names for how text is split before merging, and the splitters that llmsql has.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kPre{{
    {"gpt-2", "gpt2"},
    {"qwen2", "qwen2"},
    {"smollm", "smollm"},
    {"llama-bpe", "llama3"},
    {"dbrx", "cl100k"},
    {"olmo", "gpt2"},
    {"default", "gpt2"},
}};

std::string pre_of(const Gguf& gguf, const Note& note) {
    const std::string pre = gguf.text("tokenizer.ggml.pre").value_or("default");
    for (const auto& [theirs, ours] : kPre) {
        if (pre != theirs) continue;
        if (pre == "default")
            note(fmt::format("{}: does not say how its tokenizer splits text; taking GPT-2's way",
                             gguf.name()));
        return std::string(ours);
    }
    fail(
        "{}: its tokenizer splits text in the way \"{}\" (tokenizer.ggml.pre), which llmsql does "
        "not have; it has gpt-2, qwen2, smollm, llama-bpe, dbrx and olmo",
        gguf.name(), pre);
}

std::optional<int64_t> token_id(const Gguf& gguf, const std::string& key, int64_t tokens) {
    const auto id = gguf.number(key);
    if (!id) return std::nullopt;
    if (!(*id >= 0 && *id < static_cast<double>(tokens)))
        fail("{}: metadata {} is {}, but there are {} tokens", gguf.name(), key, *id, tokens);
    return static_cast<int64_t>(*id);
}

void require_count(const Gguf& gguf, const char* key, int64_t tokens) {
    const auto array = gguf.array(key);
    if (array && array->count != static_cast<uint64_t>(tokens))
        fail("{}: metadata {} has {} elements, but there are {} tokens", gguf.name(), key,
             array->count, tokens);
}

/// The vocabulary, one token after the other.
class TokenReader {
  public:
    struct Token {
        int64_t id = 0;
        std::string_view text;  // as GGUF spells it; lives until the next call
        int kind = kNormal;
        double score = 0;
    };

    TokenReader(const Gguf& gguf, const SourceTokenizer& tokenizer)
        : gguf_(gguf), count_(tokenizer.tokens), texts_(gguf, *gguf.array(kTokens), kTokens) {
        if (const auto kinds = gguf.array(kKinds)) kinds_.emplace(gguf, *kinds, kKinds);
        if (tokenizer.spec.kind == "spm") scores_.emplace(gguf, *gguf.array(kScores), kScores);
    }

    std::optional<Token> next() {
        if (next_ == count_) return std::nullopt;
        Token token;
        token.id = next_++;
        token.text = texts_.next_string();
        const double kind = kinds_ ? kinds_->next_number() : kNormal;
        token.score = scores_ ? scores_->next_number() : 0;
        if (!(kind >= kNormal && kind <= kLastKind))
            fail("{}: token {} is of the type {}, GGUF knows 1 to 6", gguf_.name(), token.id, kind);
        if (!std::isfinite(token.score))
            fail("{}: the score of token {} is not a number", gguf_.name(), token.id);
        token.kind = static_cast<int>(kind);
        return token;
    }

  private:
    const Gguf& gguf_;
    int64_t count_;
    GgufArrayReader texts_;
    std::optional<GgufArrayReader> kinds_, scores_;
    int64_t next_ = 0;
};

/// What llm_token.piece holds. A normal byte-level token that is not spelled in GPT-2's alphabet
/// can't come out of merges; like a special one it is text as it stands.
std::string piece_of(const SourceTokenizer& tokenizer, const TokenReader::Token& token) {
    if (tokenizer.spec.kind == "bpe" && token.kind == kNormal)
        if (auto bytes = bytes_of_byte_level(token.text)) return *std::move(bytes);
    return std::string(token.text);
}

/// Token ids by GGUF's spelling: all texts in one string, so that a large vocabulary costs little.
class IdsByText {
  public:
    explicit IdsByText(const Gguf& gguf, const SourceTokenizer& tokenizer) {
        std::vector<std::pair<size_t, int64_t>> ends;  // where text i ends, and its rank
        TokenReader reader(gguf, tokenizer);
        while (const auto token = reader.next()) {
            texts_ += token->text;
            ends.emplace_back(texts_.size(), token->kind);
        }
        ids_.reserve(ends.size());
        size_t start = 0;
        for (size_t id = 0; id < ends.size(); ++id) {
            const auto [end, kind] = ends[id];
            const std::string_view text(texts_.data() + start, end - start);
            // A merge means the normal token where a special one is spelled alike.
            if (kind == kNormal)
                ids_.insert_or_assign(text, static_cast<int64_t>(id));
            else
                ids_.emplace(text, static_cast<int64_t>(id));
            start = end;
        }
    }

    std::optional<int64_t> find(std::string_view text) const {
        const auto found = ids_.find(text);
        if (found == ids_.end()) return std::nullopt;
        return found->second;
    }

  private:
    std::string texts_;
    std::unordered_map<std::string_view, int64_t> ids_;
};

void write_merges(const Gguf& gguf, const SourceTokenizer& tokenizer, ModelWriter& writer) {
    struct Merge {
        int64_t left, right, rank, merged;
    };
    const IdsByText ids(gguf, tokenizer);
    GgufArrayReader reader(gguf, *gguf.array(kMerges), kMerges);
    std::vector<Merge> merges;
    std::string joined;
    for (uint64_t rank = 0; rank < reader.count(); ++rank) {
        const std::string_view text = reader.next_string();
        const size_t space = text.find(' ', 1);
        if (text.empty() || space == std::string_view::npos)
            fail("{}: merge {} is \"{}\", not two pieces with a space between", gguf.name(), rank,
                 text.substr(0, 100));
        const std::string_view left = text.substr(0, space), right = text.substr(space + 1);
        joined.assign(left).append(right);
        const auto left_id = ids.find(left), right_id = ids.find(right), id = ids.find(joined);
        if (!left_id || !right_id || !id)
            fail("{}: merge {} is \"{}\", but \"{}\" is not a token", gguf.name(), rank,
                 text.substr(0, 100),
                 !left_id    ? left
                 : !right_id ? right
                             : joined);
        merges.push_back({*left_id, *right_id, static_cast<int64_t>(rank), *id});
    }
    // In the table's own order, so that its pages are filled one after the other.
    std::ranges::sort(merges, [](const Merge& a, const Merge& b) {
        return std::tie(a.left, a.right, a.rank) < std::tie(b.left, b.right, b.rank);
    });
    for (const Merge& merge : merges)
        writer.merge(merge.left, merge.right, merge.rank, merge.merged);
}

}  // namespace

std::optional<std::string> bytes_of_byte_level(std::string_view piece) {
    // The characters U+0100 and up, in order, for the bytes that are not printable Latin-1.
    static const std::vector<uint8_t> unprintable = [] {
        std::vector<uint8_t> bytes;
        for (int b = 0; b < 256; ++b)
            if (b <= 0x20 || (b >= 0x7f && b <= 0xa0) || b == 0xad)
                bytes.push_back(static_cast<uint8_t>(b));
        return bytes;
    }();
    const auto is_unprintable = [](uint32_t b) {
        return std::ranges::find(unprintable, b) != unprintable.end();
    };
    std::string bytes;
    for (size_t i = 0; i < piece.size(); ++i) {
        uint32_t character = static_cast<uint8_t>(piece[i]);
        // Every character of the alphabet takes one byte of UTF-8 or two.
        if (character >= 0x80) {
            if ((character & 0xe0) != 0xc0 || i + 1 == piece.size()) return std::nullopt;
            character = (character & 31) << 6 | (static_cast<uint8_t>(piece[++i]) & 63);
        }
        if (character >= 0x100) {
            if (character - 0x100 >= unprintable.size()) return std::nullopt;
            character = unprintable[character - 0x100];
        } else if (is_unprintable(character)) {
            return std::nullopt;
        }
        bytes += static_cast<char>(character);
    }
    return bytes;
}

SourceTokenizer read_tokenizer(const Gguf& gguf, const Note& note) {
    SourceTokenizer tokenizer;
    const auto model = gguf.text("tokenizer.ggml.model");
    const auto tokens = gguf.array(kTokens);
    if (!model || !tokens)
        fail("{}: holds no tokenizer ({} is missing)", gguf.name(),
             model ? kTokens : "tokenizer.ggml.model");
    tokenizer.tokens = static_cast<int64_t>(tokens->count);
    if (*model == "gpt2") {
        tokenizer.spec = {"bpe", pre_of(gguf, note)};
        if (!gguf.array(kMerges))
            fail("{}: its tokenizer has no merges ({})", gguf.name(), kMerges);
    } else if (*model == "llama") {
        tokenizer.spec.kind = "spm";
        if (!gguf.array(kScores))
            fail("{}: its tokenizer has no scores ({})", gguf.name(), kScores);
        require_count(gguf, kScores, tokenizer.tokens);
    } else {
        fail(
            "{}: its tokenizer is of the kind \"{}\" (tokenizer.ggml.model), which llmsql does not "
            "have; it has gpt2 (byte-level BPE) and llama (SentencePiece BPE)",
            gguf.name(), *model);
    }
    require_count(gguf, kKinds, tokenizer.tokens);
    tokenizer.bos = token_id(gguf, "tokenizer.ggml.bos_token_id", tokenizer.tokens);
    tokenizer.eos = token_id(gguf, "tokenizer.ggml.eos_token_id", tokenizer.tokens);
    tokenizer.unk = token_id(gguf, "tokenizer.ggml.unknown_token_id", tokenizer.tokens);
    const bool spm = tokenizer.spec.kind == "spm";
    const auto add_bos = gguf.flag("tokenizer.ggml.add_bos_token");
    if (add_bos.value_or(false) && !tokenizer.bos)
        fail("{}: tokenizer.ggml.add_bos_token is true, but there is no bos token", gguf.name());
    tokenizer.add_bos = add_bos.value_or(spm && tokenizer.bos.has_value());
    tokenizer.add_space_prefix = spm && gguf.flag("tokenizer.ggml.add_space_prefix").value_or(true);
    return tokenizer;
}

void write_tokenizer(const Gguf& gguf, const SourceTokenizer& tokenizer, ModelWriter& writer) {
    const bool spm = tokenizer.spec.kind == "spm";
    writer.meta("tokenizer.kind", tokenizer.spec.kind);
    if (!spm) writer.meta("tokenizer.pre", tokenizer.spec.pre);
    if (tokenizer.bos) writer.meta("tokenizer.bos", *tokenizer.bos);
    if (tokenizer.eos) writer.meta("tokenizer.eos", *tokenizer.eos);
    if (tokenizer.unk) writer.meta("tokenizer.unk", *tokenizer.unk);
    writer.meta("tokenizer.add_bos", tokenizer.add_bos);
    if (spm) writer.meta("tokenizer.add_space_prefix", tokenizer.add_space_prefix);
    TokenReader reader(gguf, tokenizer);
    while (const auto token = reader.next())
        writer.token(token->id, piece_of(tokenizer, *token), token->kind, token->score);
    if (!spm) write_merges(gguf, tokenizer, writer);
}

SpecialPieces find_special_pieces(const Gguf& gguf, const SourceTokenizer& tokenizer,
                                  const std::vector<std::string>& candidates) {
    SpecialPieces found;
    std::vector<bool> present(candidates.size());
    TokenReader reader(gguf, tokenizer);
    while (const auto token = reader.next()) {
        if (token->id == tokenizer.eos) found.eos = piece_of(tokenizer, *token);
        if (token->kind != kControl) continue;
        const auto candidate = std::ranges::find(candidates, token->text);
        if (candidate != candidates.end()) present[candidate - candidates.begin()] = true;
    }
    for (size_t i = 0; i < candidates.size(); ++i)
        if (present[i]) found.present.push_back(candidates[i]);
    return found;
}

}  // namespace llmsql
