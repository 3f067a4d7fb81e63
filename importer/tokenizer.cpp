// SPDX-License-Identifier: MIT
// Tokenizers from GGUF, and any source's into model.db. See tokenizer.h.
#include "importer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "common/byte_spelling.h"
#include "common/error.h"
#include "importer/regex.h"
#include "importer/splitters.h"

namespace llmsql {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kKinds = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";

const Splitter& pre_of(const Gguf& gguf, const Note& note) {
    const std::optional<std::string> said = gguf.text("tokenizer.ggml.pre");
    const std::string name = said.value_or("default");
    const Splitter* pre = splitter_of(name);
    if (!pre)
        fail(
            "{}: its tokenizer splits text in the way \"{}\" (tokenizer.ggml.pre), which llmsql "
            "does not have; it has {}",
            gguf.name(), printable(name), fmt::join(splitter_names(), ", "));
    if (!said)
        note(
            fmt::format("{}: does not say how its tokenizer splits text (tokenizer.ggml.pre): "
                        "splitting it as llama.cpp does then; a file made by a newer converter "
                        "would say",
                        gguf.name()));
    return *pre;
}

std::optional<int64_t> token_id(const Gguf& gguf, const std::string& key, int64_t tokens) {
    const auto id = gguf.only_number(key);
    if (!id) return std::nullopt;
    if (!(*id >= 0 && *id < static_cast<double>(tokens)))
        fail("{}: metadata {} is {}, but there {} {}", gguf.name(), key, *id,
             tokens == 1 ? "is" : "are", counted(static_cast<uint64_t>(tokens), "token"));
    if (*id != std::floor(*id))
        fail("{}: metadata {} is {}, which is no token's id", gguf.name(), key, *id);
    return static_cast<int64_t>(*id);
}

void require_count(const Gguf& gguf, const char* key, int64_t tokens) {
    const auto array = gguf.array(key);
    if (array && array->count != static_cast<uint64_t>(tokens))
        fail("{}: metadata {} has {}, but there {} {}", gguf.name(), key,
             counted(array->count, "element"), tokens == 1 ? "is" : "are",
             counted(static_cast<uint64_t>(tokens), "token"));
}

void read_tokens(const Gguf& gguf, int64_t count, SourceTokenizer& tokenizer) {
    GgufArrayReader texts(gguf, *gguf.array(kTokens), kTokens);
    std::optional<GgufArrayReader> kinds, scores;
    if (const auto array = gguf.array(kKinds)) kinds.emplace(gguf, *array, kKinds);
    if ((tokenizer.spec.kind == "spm" || tokenizer.spec.kind == "unigram") && gguf.array(kScores))
        scores.emplace(gguf, *gguf.array(kScores), kScores);
    for (int64_t id = 0; id < count; ++id) {
        const std::string_view text = texts.next_string();
        const double kind = kinds ? kinds->next_number() : 1;
        const double score = scores ? scores->next_number() : 0;
        if (!(kind >= 1 && kind <= 6))
            fail("{}: token {} is of the type {}, GGUF knows 1 to 6", gguf.name(), id, kind);
        if (!std::isfinite(score))
            fail("{}: the score of token {} is not a number", gguf.name(), id);
        tokenizer.tokens.set(id, text, static_cast<PieceKind>(static_cast<int>(kind)), score);
    }
}

void read_merges(const Gguf& gguf, SourceTokenizer& tokenizer) {
    const TokenIds ids(tokenizer.tokens);
    GgufArrayReader reader(gguf, *gguf.array(kMerges), kMerges);
    for (uint64_t rank = 0; rank < reader.count(); ++rank)
        tokenizer.merges.push_back(merge_of(ids, reader.next_string(), rank, gguf.name()));
}

/// How llama.cpp (llama-vocab.cpp) brings a text into form before Unigram's pieces cover it.
void read_unigram(const Gguf& gguf, SourceTokenizer& tokenizer) {
    constexpr const char* kMap = "tokenizer.ggml.precompiled_charsmap";
    constexpr uint64_t kLargestMap = 4 << 20;
    tokenizer.spec.kind = "unigram";
    tokenizer.unknown = "fused";
    tokenizer.falls_back = false;
    if (!gguf.array(kScores)) fail("{}: its tokenizer has no scores ({})", gguf.name(), kScores);
    if (gguf.flag("tokenizer.ggml.treat_whitespace_as_suffix").value_or(false))
        fail(
            "{}: its tokenizer puts spaces behind words (treat_whitespace_as_suffix), which llmsql "
            "does not have",
            gguf.name());
    if (const auto array = gguf.array(kMap); array && array->count > 0) {
        if (array->count > kLargestMap)
            fail("{}: metadata {} has {} bytes, more than any map", gguf.name(), kMap,
                 array->count);
        GgufArrayReader reader(gguf, *array, kMap);
        std::string map;
        for (uint64_t i = 0; i < reader.count(); ++i)
            map += static_cast<char>(static_cast<int>(reader.next_number()) & 0xff);
        tokenizer.normalize.emplace_back("map prefixes", std::move(map));
    }
    if (gguf.flag("tokenizer.ggml.remove_extra_whitespaces").value_or(false)) {
        tokenizer.normalize.emplace_back("replace (?<!\\x{20})\\x{20}++\\z", "");
        tokenizer.normalize.emplace_back("replace (?<!\\x{20})\\x{20}++|\\A(?!\\z)", kSpaceMark);
        return;
    }
    if (gguf.flag("tokenizer.ggml.add_space_prefix").value_or(false))
        tokenizer.normalize.emplace_back("replace \\A\\x{20}*+\\K(?!\\z)", " ");
    tokenizer.normalize.emplace_back("replace \\x{20}", kSpaceMark);
}

/// How llama.cpp (llama-vocab.cpp) makes words of a text before WordPiece's pieces cover them:
/// small letters without accents, apart at spaces; punctuation, signs of ASCII and Han are words.
void read_wordpiece(const Gguf& gguf, SourceTokenizer& tokenizer) {
    tokenizer.spec.kind = "wordpiece";
    tokenizer.word_start = kSpaceMark;
    const bool lower = gguf.flag("tokenizer.ggml.normalizer.lowercase").value_or(true);
    const auto steps = [&](const char* rule, const std::string& by = "") {
        tokenizer.normalize.emplace_back(rule, by);
    };
    if (gguf.flag("tokenizer.ggml.normalizer.strip_accents").value_or(lower)) {
        steps("bases");
        steps("replace \\p{M}++");
    }
    steps(
        "replace "
        "[\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{7f}-\\x{84}\\x{86}-\\x{9f}\\x{fffd}\\p{Cf}\\p{Co}]++");
    if (lower) steps("replace \\x{130}", "i");
    if (lower) steps("lowercase");
    tokenizer.split = {
        "removed " + pcre2_of("\\s+"),
        "isolated " + pcre2_of(R"([\p{P}$+<=>\^`|~\x{4e00}-\x{9fff}\x{3400}-\x{4dbf})"
                               R"(\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f})"
                               R"(\x{2b740}-\x{2b81f}\x{2b920}-\x{2ceaf})"
                               R"(\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}])")};
}

/// BPE of the characters between spaces (llama-vocab.cpp), as of Jina's Chinese embeddings.
void read_whitespace(const Gguf& gguf, SourceTokenizer& tokenizer) {
    const std::string pre = gguf.text("tokenizer.ggml.pre").value_or("");
    if (pre != "whitespace")
        fail(
            "{}: its tokenizer is of the kind \"whitespace\", but splits text in the way \"{}\" "
            "(tokenizer.ggml.pre), which llmsql does not have of that kind; it has whitespace",
            gguf.name(), printable(pre));
    if (!gguf.array(kMerges)) fail("{}: its tokenizer has no merges ({})", gguf.name(), kMerges);
    tokenizer.spec.kind = "spm";
    if (gguf.flag("tokenizer.ggml.normalizer.lowercase").value_or(false)) {
        tokenizer.normalize.emplace_back("replace \\x{130}", "i");
        tokenizer.normalize.emplace_back("lowercase", "");
    }
    tokenizer.split = {"removed " + pcre2_of("\\s+")};
}

/// The ids that the file gives, and SentencePiece's own for those that it doesn't.
void read_special(const Gguf& gguf, SourceTokenizer& tokenizer, const Note& note) {
    const TokenList& tokens = tokenizer.tokens;
    const bool of_words = gguf.text("tokenizer.ggml.model") == "whitespace";
    std::vector<std::string> taken;
    const auto read = [&](const char* name, int64_t of_spm) -> std::optional<int64_t> {
        const auto id =
            token_id(gguf, fmt::format("tokenizer.ggml.{}_token_id", name), tokens.size());
        if (id || tokenizer.spec.kind != "spm" || of_words || of_spm >= tokens.size()) return id;
        // A vocabulary that begins with words is none that SentencePiece numbered; its unknown
        // token is no control token.
        const std::string_view text = tokens.text(of_spm);
        const PieceKind kind = tokens.kind(of_spm);
        const bool named = text.starts_with('<') && text.ends_with('>') && kind != PieceKind::byte;
        if (of_spm == 0 ? kind != PieceKind::unknown && !(named && kind != PieceKind::control)
                        : kind == PieceKind::byte || (kind == PieceKind::normal && !named))
            return id;
        taken.push_back(fmt::format("{} \"{}\"", name, printable(text)));
        return of_spm;
    };
    tokenizer.bos = read("bos", 1);
    tokenizer.eos = read("eos", 2);
    // Of BPE what has no token is left out, whatever is called unknown.
    if (!of_words) tokenizer.unk = read("unknown", 0);
    // llama.cpp's, of files that don't name them.
    const auto settle = [&](std::optional<int64_t>& id, int64_t usual) {
        if (!id && usual < tokens.size()) id = usual;
    };
    if (tokenizer.spec.kind == "wordpiece") {
        settle(tokenizer.bos, 101);
        settle(tokenizer.unk, 100);
    } else if (tokenizer.spec.kind == "unigram") {
        settle(tokenizer.eos, 1);
        settle(tokenizer.unk, 2);
    }
    const auto read_end = [&](const char* name) {
        const auto id =
            token_id(gguf, fmt::format("tokenizer.ggml.{}_token_id", name), tokens.size());
        if (id) tokenizer.ends.push_back(*id);
        return id.has_value();
    };
    read_end("eot");
    read_end("eom");
    tokenizer.names_fill = {read_end("fim_pad"), read_end("fim_rep"), read_end("fim_sep")};
    if (!taken.empty())
        note(fmt::format("{}: does not name all of its special tokens; taking SentencePiece's: {}",
                         gguf.name(), fmt::join(taken, ", ")));
}

/// GGUF does not say which special tokens take the spaces behind them; llama.cpp knows Phi-3's by
/// its name (llama-vocab.cpp), and its tokenizer.json has the same.
void read_takers(const Gguf& gguf, SourceTokenizer& tokenizer) {
    std::string name = gguf.text("general.name").value_or("");
    for (char& c : name)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
    if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
    const TokenList& tokens = tokenizer.tokens;
    for (int64_t id = 0; id < tokens.size(); ++id) {
        const std::string_view text = tokens.text(id);
        const bool special = tokens.kind(id) == PieceKind::control ||
                             tokens.kind(id) == PieceKind::user_defined || text == "</s>";
        if (special && text != "<unk>" && text != "<s>" && text != "<|endoftext|>")
            tokenizer.takes_right.push_back(id);
    }
}

}  // namespace

void TokenList::set(int64_t id, std::string_view text, PieceKind kind, double score) {
    if (id >= size()) tokens_.resize(static_cast<size_t>(id) + 1);
    tokens_[static_cast<size_t>(id)] = {texts_.size(), text.size(), kind, score};
    texts_ += text;
}

std::string_view TokenList::text(int64_t id) const {
    const Token& token = tokens_[static_cast<size_t>(id)];
    return std::string_view(texts_).substr(token.offset, token.length);
}

TokenIds::TokenIds(const TokenList& tokens) {
    ids_.reserve(static_cast<size_t>(tokens.size()));
    for (int64_t id = 0; id < tokens.size(); ++id) {
        if (tokens.kind(id) == PieceKind::absent) continue;
        // A merge means the normal token where a special one is spelled alike.
        if (tokens.kind(id) == PieceKind::normal)
            ids_.insert_or_assign(tokens.text(id), id);
        else
            ids_.emplace(tokens.text(id), id);
    }
}

std::optional<int64_t> TokenIds::find(std::string_view text) const {
    const auto found = ids_.find(text);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
}

SourceMerge merge_of(const TokenIds& ids, std::string_view left, std::string_view right,
                     uint64_t rank, const std::string& where) {
    const std::string joined = std::string(left).append(right);
    const auto left_id = ids.find(left), right_id = ids.find(right), id = ids.find(joined);
    if (!left_id || !right_id || !id)
        fail("{}: merge {} is \"{} {}\", but \"{}\" is not a token", where, rank, printable(left),
             printable(right),
             printable(!left_id    ? left
                       : !right_id ? right
                                   : std::string_view(joined)));
    return {*left_id, *right_id, static_cast<int64_t>(rank), *id};
}

SourceMerge merge_of(const TokenIds& ids, std::string_view text, uint64_t rank,
                     const std::string& where) {
    const size_t space = text.find(' ', 1);
    if (text.empty() || space == std::string_view::npos)
        fail("{}: merge {} is \"{}\", not two pieces with a space between", where, rank,
             printable(text));
    return merge_of(ids, text.substr(0, space), text.substr(space + 1), rank, where);
}

std::optional<std::string> bytes_of_byte_level(std::string_view piece) {
    std::string bytes;
    for (size_t i = 0; i < piece.size(); ++i) {
        uint32_t character = static_cast<uint8_t>(piece[i]);
        // Every character of the alphabet takes one byte of UTF-8 or two.
        if (character >= 0x80) {
            if ((character & 0xe0) != 0xc0 || i + 1 == piece.size()) return std::nullopt;
            character = (character & 31) << 6 | (static_cast<uint8_t>(piece[++i]) & 63);
        }
        const auto byte = byte_spelled_by(character);
        if (!byte) return std::nullopt;
        bytes += static_cast<char>(*byte);
    }
    return bytes;
}

SourceTokenizer read_tokenizer(const Gguf& gguf, const Note& note) {
    SourceTokenizer tokenizer;
    tokenizer.unicode = "15.1";  // that of llama.cpp's tables (unicode-data.cpp)
    const auto model = gguf.text("tokenizer.ggml.model");
    const auto tokens = gguf.array(kTokens);
    if (!model || !tokens)
        fail("{}: holds no tokenizer ({} is missing)", gguf.name(),
             model ? kTokens : "tokenizer.ggml.model");
    if (tokens->count > kMostTokens)
        fail("{}: claims {} tokens, more than any model has: the file is damaged", gguf.name(),
             tokens->count);
    const auto count = static_cast<int64_t>(tokens->count);
    bool adds_bos = false;  // where the file doesn't say
    if (*model == "gpt2") {
        const Splitter& pre = pre_of(gguf, note);
        if (pre.marks_spaces)
            tokenizer.spec.kind = "spm";
        else
            tokenizer.spec = {"bpe", std::string(pre.ours)};
        for (const std::string& expression : pre.expressions)
            tokenizer.split.push_back("isolated " + pcre2_of(expression));
        tokenizer.takes_words = pre.takes_words;
        adds_bos = pre.adds_bos;
        if (!gguf.array(kMerges))
            fail("{}: its tokenizer has no merges ({})", gguf.name(), kMerges);
    } else if (*model == "gemma4") {  // SentencePiece's pieces, merged by rank
        tokenizer.spec.kind = "spm";
        if (!gguf.array(kMerges))
            fail("{}: its tokenizer has no merges ({})", gguf.name(), kMerges);
        adds_bos = true;
    } else if (*model == "llama") {
        tokenizer.spec.kind = "spm";
        adds_bos = true;
        if (!gguf.array(kScores))
            fail("{}: its tokenizer has no scores ({})", gguf.name(), kScores);
        require_count(gguf, kScores, count);
    } else if (*model == "whitespace") {
        read_whitespace(gguf, tokenizer);
    } else if (*model == "t5") {
        read_unigram(gguf, tokenizer);
        require_count(gguf, kScores, count);
    } else if (*model == "bert") {
        read_wordpiece(gguf, tokenizer);
        adds_bos = true;
    } else {
        fail(
            "{}: its tokenizer is of the kind \"{}\" (tokenizer.ggml.model), which llmsql does not "
            "have; it has gpt2 (byte-level BPE), llama and gemma4 (SentencePiece BPE), whitespace "
            "(BPE of words), t5 (Unigram) and bert (WordPiece)",
            gguf.name(), printable(*model));
    }
    require_count(gguf, kKinds, count);
    read_tokens(gguf, count, tokenizer);
    if (*model == "gpt2" || *model == "gemma4" || *model == "whitespace")
        read_merges(gguf, tokenizer);
    read_special(gguf, tokenizer, note);
    read_takers(gguf, tokenizer);
    const auto add_bos = gguf.flag("tokenizer.ggml.add_bos_token");
    if (add_bos.value_or(false) && !tokenizer.bos)
        fail("{}: tokenizer.ggml.add_bos_token is true, but there is no bos token", gguf.name());
    tokenizer.add_bos = add_bos.value_or(adds_bos && tokenizer.bos.has_value());
    tokenizer.add_space_prefix =
        *model == "llama" && gguf.flag("tokenizer.ggml.add_space_prefix").value_or(true);
    if (gguf.flag("tokenizer.ggml.add_eos_token").value_or(false))
        note(fmt::format("{}: puts an end token after a text, which llmsql does not", gguf.name()));
    return tokenizer;
}

std::string piece_of(const SourceTokenizer& tokenizer, int64_t id) {
    const std::string_view text = tokenizer.tokens.text(id);
    if (tokenizer.spec.kind == "bpe" && tokenizer.tokens.kind(id) == PieceKind::normal)
        if (auto bytes = bytes_of_byte_level(text)) return *std::move(bytes);
    return std::string(text);
}

void write_tokenizer(const SourceTokenizer& tokenizer, ModelWriter& writer) {
    const bool spm = tokenizer.spec.kind == "spm";
    writer.meta("tokenizer.kind", tokenizer.spec.kind);
    if (!tokenizer.spec.pre.empty()) writer.meta("tokenizer.pre", tokenizer.spec.pre);
    for (size_t i = 0; i < tokenizer.normalize.size(); ++i) {
        const auto& [rule, by] = tokenizer.normalize[i];
        const std::string key = fmt::format("tokenizer.normalize.{}", i + 1);
        writer.meta(key, rule);
        if (!by.empty()) writer.meta(key + ".by", std::as_bytes(std::span(by)));
    }
    for (size_t i = 0; i < tokenizer.split.size(); ++i)
        writer.meta(fmt::format("tokenizer.split.{}", i + 1), tokenizer.split[i]);
    // Of what has expressions, or a splitter with a name.
    if (!tokenizer.unicode.empty() &&
        (!spm || !tokenizer.split.empty() || !tokenizer.normalize.empty()))
        writer.meta("tokenizer.unicode", tokenizer.unicode);
    if (tokenizer.takes_words) writer.meta("tokenizer.ignore_merges", true);
    if (!tokenizer.falls_back) writer.meta("tokenizer.byte_fallback", false);
    if (!tokenizer.unknown.empty()) writer.meta("tokenizer.unknown", tokenizer.unknown);
    if (tokenizer.spec.kind == "wordpiece") {
        writer.meta("tokenizer.word_start", tokenizer.word_start);
        writer.meta("tokenizer.continuing", tokenizer.continuing);
        writer.meta("tokenizer.longest_word", std::to_string(tokenizer.longest_word));
    }
    const auto write_ids = [&](const char* key, const std::vector<int64_t>& ids) {
        if (!ids.empty()) writer.meta(key, fmt::format("{}", fmt::join(ids, " ")));
    };
    write_ids("tokenizer.takes_left", tokenizer.takes_left);
    write_ids("tokenizer.takes_right", tokenizer.takes_right);
    write_ids("tokenizer.single_word", tokenizer.single_word);
    write_ids("tokenizer.normalized", tokenizer.normalized);
    write_ids("tokenizer.literal", tokenizer.literal);
    if (tokenizer.bos) writer.meta("tokenizer.bos", *tokenizer.bos);
    if (tokenizer.eos) writer.meta("tokenizer.eos", *tokenizer.eos);
    if (tokenizer.unk) writer.meta("tokenizer.unk", *tokenizer.unk);
    write_ids("tokenizer.ends", tokenizer.ends);
    writer.meta("tokenizer.add_bos", tokenizer.add_bos);
    if (spm) writer.meta("tokenizer.add_space_prefix", tokenizer.add_space_prefix);
    const TokenList& tokens = tokenizer.tokens;
    for (int64_t id = 0; id < tokens.size(); ++id)
        writer.token(id, piece_of(tokenizer, id), static_cast<int>(tokens.kind(id)),
                     tokens.score(id));
    // In the table's own order, so that its pages are filled one after the other.
    std::vector<SourceMerge> merges = tokenizer.merges;
    std::ranges::sort(merges, [](const SourceMerge& a, const SourceMerge& b) {
        return std::tie(a.left, a.right, a.rank) < std::tie(b.left, b.right, b.rank);
    });
    for (const SourceMerge& merge : merges)
        if (tokens.kind(merge.merged) != PieceKind::control)
            writer.merge(merge.left, merge.right, merge.rank, merge.merged);
}

}  // namespace llmsql
