// SPDX-License-Identifier: MIT
// Encoding: special tokens out, then words or scored pieces; decoding: a piece at a time.
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <set>
#include <utility>

#include <utf8proc.h>

#include "common/error.h"
#include "common/utf8.h"

namespace llmsql {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
    std::string out;
    size_t done = 0;
    for (size_t at; (at = text.find(from, done)) != std::string_view::npos;
         done = at + from.size()) {
        out += text.substr(done, at - done);
        out += to;
    }
    out += text.substr(done);
    return out;
}

size_t utf8_length(char32_t code) {
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

/// A character of words, as Hugging Face's tokenizers see them.
bool is_word(char32_t code) {
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return true;
        default:
            return code == 0x200c || code == 0x200d ||
                   (code >= 0x24b6 && code <= 0x24e9) ||  // letters in circles and squares
                   (code >= 0x1f130 && code <= 0x1f149) || (code >= 0x1f150 && code <= 0x1f169) ||
                   (code >= 0x1f170 && code <= 0x1f189);
    }
}

/// The character that ends before `end`; U+0000 where none does.
char32_t character_before(std::string_view text, size_t end) {
    size_t begin = end;
    while (begin > 0 && end - begin < 4) {
        --begin;
        if ((static_cast<uint8_t>(text[begin]) & 0xc0) != 0x80) break;
    }
    if (begin == end) return 0;
    const Utf8Char last = utf8_at(text.substr(begin, end - begin));
    return last.status == Utf8Status::valid && last.length == end - begin ? last.code : 0;
}
char32_t character_at(std::string_view text, size_t at) {
    if (at == text.size()) return 0;
    const Utf8Char next = utf8_at(text.substr(at));
    return next.status == Utf8Status::valid ? next.code : 0;
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
    return is_word(character_before(text, begin)) || is_word(character_at(text, end));
}

/// The number at the end of a key: tokenizer.split.1, .2, …
template<class Take>
void each_step(const ModelDb& db, std::string_view key, const Take& take) {
    constexpr size_t kMost = 200, kLongest = 4 << 20;
    for (size_t i = 1;; ++i) {
        const std::string name = fmt::format("{}.{}", key, i);
        const auto text = db.meta(name);
        if (!text) return;
        if (i > kMost || text->size() > kLongest) fail("its {} are too many or too long", key);
        take(name, *text);
    }
}

}  // namespace

Tokenizer::Tokenizer(const ModelDb& db) : db_(db), vocabulary_(db) {
    try {
        read_kind();
        if (std::vector<NormalStep> steps = normal_steps(); !steps.empty())
            normalizer_.emplace(steps, unicode());
    } catch (const Error& error) {
        const std::string where = db.path().string();
        fail("{}{}", std::string_view(error.what()).starts_with(where) ? "" : where + ": ",
             error.what());
    }
    read_special();
    const auto last = db.connection().integer("SELECT max(id) FROM llm_token");
    cache_ = MergeCache(last.value_or(0));
    const bool falls_back = db.meta("tokenizer.byte_fallback").value_or("1") == "1";
    for (int byte = 0; byte < 256; ++byte)
        byte_tokens_[static_cast<size_t>(byte)] =
            falls_back ? vocabulary_.find_byte(static_cast<uint8_t>(byte)).value_or(-1) : -1;
    start_ = meta_token("tokenizer.bos");
    end_ = meta_token("tokenizer.eos");
    unknown_ = meta_token("tokenizer.unk");
    std::set<int32_t> ends;
    if (end_) ends.insert(*end_);
    for (const int32_t id : meta_tokens("tokenizer.ends")) ends.insert(id);
    ends_.assign(ends.begin(), ends.end());
    adds_start_ = db.meta("tokenizer.add_bos").value_or("0") == "1";
    if (adds_start_ && !start_)
        fail("{}: tokenizer.add_bos is set but there is no tokenizer.bos", db.path().string());
}

void Tokenizer::read_kind() {
    const auto meta = [this](const char* key) {
        return db_.meta(fmt::format("tokenizer.{}", key)).value_or("");
    };
    const std::string kind = meta("kind");
    const std::vector<PieceRule> rules = piece_rules();
    if (!rules.empty()) pre_tokenizer_.emplace(rules, unicode());
    if (kind == "bpe") {
        kind_ = Kind::bpe;
        const std::string pre = meta("pre");
        if (pre != "own")
            pre_tokenizer_.emplace(pre, unicode());
        else if (rules.empty())
            pre_tokenizer_.emplace(rules, unicode());
        takes_words_ = pre == "llama3" || meta("ignore_merges") == "1";
    } else if (kind == "spm") {
        kind_ = Kind::spm;
        by_rank_ = vocabulary_.has_merges();
        takes_words_ = by_rank_ && meta("ignore_merges") == "1";
        marks_spaces_ = rules.empty() && !db_.meta("tokenizer.normalize.1");
        adds_space_ = meta("add_space_prefix") == "1";
    } else if (kind == "unigram") {
        kind_ = Kind::unigram;
        table_.emplace(db_);
        constexpr double kPenalty = 10;  // SentencePiece's
        unknown_score_ = table_->lowest_score() - kPenalty;
    } else if (kind == "wordpiece") {
        kind_ = Kind::wordpiece;
        table_.emplace(db_);
        word_start_ = meta("word_start");
        continuing_ = meta("continuing");
        const std::string longest = meta("longest_word");
        std::from_chars(longest.data(), longest.data() + longest.size(), longest_word_);
    } else {
        fail("unknown tokenizer kind '{}' (known: bpe, spm, unigram, wordpiece)", printable(kind));
    }
    const std::string unknowns = meta("unknown");
    unknowns_ = unknowns == "each"                       ? Unknown::each
                : unknowns == "fused"                    ? Unknown::fused
                : unknowns.empty() && kind_ != Kind::bpe ? Unknown::each_byte
                                                         : Unknown::left_out;
}

/// The version of Unicode by which the source's tokenizer cuts, 151 for 15.1; 0 where the database
/// does not say.
int Tokenizer::unicode() const {
    int version = 0;
    std::string text = db_.meta("tokenizer.unicode").value_or("");
    std::erase(text, '.');
    std::from_chars(text.data(), text.data() + text.size(), version);
    return version;
}

void Tokenizer::read_special() {
    std::vector<SpecialToken> all = vocabulary_.special();
    for (const int32_t id : meta_tokens("tokenizer.literal")) {
        SpecialToken& token = all.emplace_back();
        token.id = id;
        token.piece = vocabulary_.token(id).piece;
    }
    const auto mark = [&](const char* key, bool SpecialToken::*flag) {
        for (const int32_t id : meta_tokens(key))
            for (SpecialToken& token : all)
                if (token.id == id) token.*flag = true;
    };
    mark("tokenizer.takes_left", &SpecialToken::takes_left);
    mark("tokenizer.takes_right", &SpecialToken::takes_right);
    mark("tokenizer.single_word", &SpecialToken::single_word);
    mark("tokenizer.normalized", &SpecialToken::normalized);
    std::vector<SpecialToken> plain, normalized;
    for (SpecialToken& token : all) {
        // No text becomes a control token, whatever a normalizer makes of it.
        const bool later = token.normalized && !token.control;
        if (later && normalizer_) token.piece = normalizer_->apply(token.piece);
        if (!token.piece.empty()) (later ? normalized : plain).push_back(std::move(token));
    }
    special_ = SpecialTokens(std::move(plain));
    normalized_ = SpecialTokens(std::move(normalized));
}

std::vector<PieceRule> Tokenizer::piece_rules() const {
    std::vector<PieceRule> rules;
    each_step(db_, "tokenizer.split", [&](const std::string&, const std::string& text) {
        rules.push_back(piece_rule_of(text));
    });
    return rules;
}

std::vector<NormalStep> Tokenizer::normal_steps() const {
    std::vector<NormalStep> steps;
    each_step(db_, "tokenizer.normalize", [&](const std::string& key, const std::string& text) {
        steps.push_back({text, db_.meta(key + ".by").value_or("")});
    });
    return steps;
}

std::optional<int32_t> Tokenizer::meta_token(const std::string& key) const {
    const auto text = db_.meta(key);
    if (!text) return std::nullopt;
    return token_id(key, *text);
}

int32_t Tokenizer::token_id(const std::string& key, std::string_view text) const {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0)
        fail("{}: {} is '{}', not a token id", db_.path().string(), key, printable(text));
    return id;
}

/// Ids with a space between, none where the key is absent.
std::vector<int32_t> Tokenizer::meta_tokens(const char* key) const {
    constexpr size_t kMost = 10'000;
    std::vector<int32_t> tokens;
    const std::string list = db_.meta(key).value_or("");
    for (size_t at = 0; at < list.size();) {
        const size_t space = std::min(list.find(' ', at), list.size());
        tokens.push_back(token_id(key, std::string_view(list).substr(at, space - at)));
        if (tokens.size() > kMost)
            fail("{}: {} has more than {} tokens", db_.path().string(), key, kMost);
        at = space + 1;
    }
    return tokens;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool start_of_text) {
    const Fragment fragment{std::string(text), false};
    return encode(std::span(&fragment, 1), start_of_text);
}

std::vector<int32_t> Tokenizer::encode(std::span<const Fragment> fragments, bool start_of_text) {
    std::string text;
    std::vector<std::pair<size_t, size_t>> markup;  // [begin, end) in text, touching ones joined
    for (const Fragment& fragment : fragments) {
        if (fragment.text.empty()) continue;
        const size_t begin = text.size();
        text += fragment.text;
        if (!fragment.markup) continue;
        if (!markup.empty() && markup.back().second == begin)
            markup.back().second = text.size();
        else
            markup.emplace_back(begin, text.size());
    }
    // spm triples spaces, and offsets are 32 bits.
    if (text.size() >= (size_t{1} << 30))
        fail("a text of {} bytes is too long to tokenise", text.size());

    std::vector<int32_t> out;
    cut_out(
        special_, {text}, markup, [&](const Part& part) { encode_plain(part, out); }, out);

    if (start_of_text && adds_start_ && (out.empty() || out.front() != *start_))
        out.insert(out.begin(), *start_);
    return out;
}

/// Calls `plain` with what lies between the special tokens of `whole`, whose own go to `out`.
void Tokenizer::cut_out(const SpecialTokens& tokens, const Part& whole,
                        std::span<const std::pair<size_t, size_t>> markup,
                        const std::function<void(const Part&)>& plain, std::vector<int32_t>& out) {
    const std::string_view text = whole.text;
    bool after_special = whole.after_special;
    size_t done = 0;  // what lies before it was handed on
    auto run = markup.begin();
    const auto plain_until = [&](size_t end) {
        if (done >= end) return;
        plain({text.substr(done, end - done), after_special, whole.first && done == 0});
        after_special = false;
    };
    for (size_t at = tokens.empty() ? text.size() : 0; at < text.size();) {
        while (run != markup.end() && run->second <= at) ++run;
        const size_t markup_end = run != markup.end() && run->first <= at ? run->second : 0;
        const SpecialToken* special = tokens.at(text, at, markup_end);
        if (!special) {
            note_step();
            ++at;
            continue;
        }
        size_t begin = at, end = at + special->piece.size();
        at = end;
        if (special->single_word && touches_word(text, begin, end)) continue;
        const auto space_before = [&] {
            const char32_t code = character_before(text, begin);
            return code != 0 && is_white_space(code) ? utf8_length(code) : 0;
        };
        if (special->takes_left)
            for (size_t length; (length = space_before()) > 0 && begin - length >= done;)
                begin -= length;
        if (special->takes_right)
            for (char32_t code; (code = character_at(text, end)) != 0 && is_white_space(code);)
                end += utf8_length(code);
        plain_until(begin);
        out.push_back(special->id);
        after_special = true;
        at = done = std::max(end, at);
    }
    plain_until(text.size());
}

/// Text without special tokens but those that are found in what the normalizer makes of it.
void Tokenizer::encode_plain(const Part& part, std::vector<int32_t>& out) {
    if (!normalizer_) {
        cut_out(
            normalized_, part, {}, [&](const Part& each) { encode_normal(each, out); }, out);
        return;
    }
    const Normalizer::Made normal = normalizer_->made_of(part.text);
    const Part made{normal.text, part.after_special, part.first && normal.begins};
    cut_out(
        normalized_, made, {}, [&](const Part& each) { encode_normal(each, out); }, out);
}

void Tokenizer::encode_normal(const Part& part, std::vector<int32_t>& out) {
    if (marks_spaces_) {
        std::string marked = replace_all(part.text, " ", kSpaceMark);
        if (adds_space_ && part.after_special) marked.insert(0, kSpaceMark);
        encode_marked(marked, out);
    } else if (pre_tokenizer_) {
        pre_tokenizer_->split(part.text, part.first,
                              [&](std::string_view word) { encode_piece(word, out); });
    } else {
        encode_piece(part.text, out);
    }
}

void Tokenizer::encode_piece(std::string_view word, std::vector<int32_t>& out) {
    switch (kind_) {
        case Kind::bpe:
            return encode_word(word, out);
        case Kind::spm:
            return encode_marked(word, out);
        case Kind::unigram:
            return encode_by_scores(word, out);
        case Kind::wordpiece:
            return encode_greedily(word, out);
    }
}

void Tokenizer::encode_by_scores(std::string_view text, std::vector<int32_t>& out) {
    note_step();
    for (const Covered& part : best_cover(*table_, text, unknown_score_)) {
        note_step();
        if (part.token >= 0)
            out.push_back(part.token);
        else
            append_bytes(text.substr(part.begin, part.end - part.begin), out);
    }
}

void Tokenizer::encode_greedily(std::string_view word, std::vector<int32_t>& out) {
    note_step();
    const auto characters = static_cast<size_t>(std::ranges::count_if(
        word, [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
    std::vector<Covered> parts;
    if (longest_word_ == 0 || characters <= longest_word_)
        parts = greedy_cover(*table_, word_start_ + std::string(word), continuing_);
    for (const Covered& part : parts) out.push_back(part.token);
    if (!parts.empty()) return;
    if (unknown_)
        out.push_back(*unknown_);
    else
        bytes_left_out_ += word.size();
}

/// Byte-level BPE of one word.
void Tokenizer::encode_word(std::string_view word, std::vector<int32_t>& out) {
    note_step();
    symbols_.clear();
    for (size_t i = 0; i < word.size(); ++i)
        symbols_.push_back({byte_tokens_[static_cast<uint8_t>(word[i])], static_cast<uint32_t>(i)});
    merge_symbols(symbols_, static_cast<uint32_t>(word.size()),
                  [this](int32_t left, int32_t right, uint32_t, uint32_t) -> std::optional<Merge> {
                      note_step();
                      if (left < 0 || right < 0) return std::nullopt;
                      return cache_.find(left, right,
                                         [&] { return vocabulary_.find_merge(left, right); });
                  });
    // Where merges end in one token it is the word's, which need not be looked up.
    if (takes_words_ && symbols_.size() > 1)
        if (const auto known = vocabulary_.find_by_score(word)) {
            out.push_back(known->token);
            return;
        }
    for (const Symbol& symbol : symbols_) {
        if (symbol.token >= 0)
            out.push_back(symbol.token);
        else
            append_bytes(word.substr(symbol.begin, 1), out);
    }
}

/// SentencePiece's BPE of a text whose spaces are marked.
void Tokenizer::encode_marked(std::string_view text, std::vector<int32_t>& out) {
    if (takes_words_) {
        if (const auto known = vocabulary_.find_by_score(text)) {
            out.push_back(known->token);
            return;
        }
    }
    // Characters start as stand-ins, -1 - code, so that a character that is part of a larger token
    // is never looked up by itself. Bytes that are no character stand beyond Unicode's last code.
    symbols_.clear();
    for (size_t at = 0; at < text.size();) {
        const Utf8Char next = utf8_at(text.substr(at));
        const bool valid = next.status == Utf8Status::valid;
        const int32_t code =
            valid ? static_cast<int32_t>(next.code) : 0x110000 + static_cast<uint8_t>(text[at]);
        const size_t length = valid ? next.length : 1;
        symbols_.push_back({-1 - code, static_cast<uint32_t>(at)});
        // Ranks are of pairs of tokens, so there a character is looked up by itself. What is left
        // out is so before others merge, as in Hugging Face's tokenizers.
        if (by_rank_) {
            const std::string_view character = text.substr(at, length);
            if (const auto known = known_character(character, -1 - code)) {
                symbols_.back().token = known->token;
            } else if (unknowns_ == Unknown::left_out && !has_byte_tokens(character)) {
                symbols_.pop_back();
                bytes_left_out_ += length;
            }
        }
        at += length;
    }
    const auto end = static_cast<uint32_t>(text.size());
    merge_symbols(symbols_, end, [&](int32_t left, int32_t right, uint32_t from, uint32_t to) {
        note_step();
        if (!by_rank_)
            return cache_.find(left, right, [&] {
                return vocabulary_.find_by_score(text.substr(from, to - from));
            });
        if (left < 0 || right < 0) return std::optional<Merge>();
        return cache_.find(left, right, [&] { return vocabulary_.find_merge(left, right); });
    });
    size_t unknown = 0;  // bytes before symbol i that no token covers
    const auto append_unknown = [&](size_t to) {
        if (unknown > 0) append_bytes(text.substr(to - unknown, unknown), out);
        unknown = 0;
    };
    for (size_t i = 0; i < symbols_.size(); ++i) {
        const Symbol& symbol = symbols_[i];
        int32_t token = symbol.token;
        const uint32_t to = i + 1 < symbols_.size() ? symbols_[i + 1].begin : end;
        if (token < 0) {
            const std::string_view character = text.substr(symbol.begin, to - symbol.begin);
            if (const auto known = known_character(character, token)) token = known->token;
        }
        if (token >= 0) {
            append_unknown(symbol.begin);
            out.push_back(token);
            continue;
        }
        unknown += to - symbol.begin;
        if (unknowns_ != Unknown::fused) append_unknown(to);
    }
    append_unknown(end);
}

bool Tokenizer::has_byte_tokens(std::string_view bytes) const {
    return std::ranges::all_of(
        bytes, [&](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)] >= 0; });
}

/// The token of one character, which stands for it as a symbol until it is known.
std::optional<Merge> Tokenizer::known_character(std::string_view character, int32_t stand_in) {
    // No merge has a right side of INT32_MIN, so single characters share the cache.
    return cache_.find(stand_in, std::numeric_limits<int32_t>::min(),
                       [&] { return vocabulary_.find_by_score(character); });
}

/// The byte tokens of what no other token covers; the unknown token where there is none: once for
/// all of `bytes`, or for each.
void Tokenizer::append_bytes(std::string_view bytes, std::vector<int32_t>& out) {
    if ((unknowns_ == Unknown::fused || unknowns_ == Unknown::each) && unknown_ &&
        !has_byte_tokens(bytes)) {
        out.push_back(*unknown_);
        return;
    }
    for (const char byte : bytes) {
        const int32_t token = byte_tokens_[static_cast<uint8_t>(byte)];
        if (token >= 0)
            out.push_back(token);
        else if (unknowns_ != Unknown::left_out && unknown_)
            out.push_back(*unknown_);
        else
            ++bytes_left_out_;
    }
}

std::string Tokenizer::text_of(int32_t id) const {
    Token token = vocabulary_.token(id);
    if (kind_ == Kind::bpe) return std::move(token.piece);
    if (kind_ == Kind::wordpiece && token.kind == TokenKind::normal) {
        const bool rest = continuing_.empty() ? !token.piece.starts_with(word_start_)
                                              : token.piece.starts_with(continuing_);
        if (rest) return token.piece.substr(continuing_.size());
        std::string word(1, ' ');
        word.append(token.piece, word_start_.size());
        return word;
    }
    const auto is_hex = [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; };
    if (token.kind == TokenKind::byte && token.piece.size() == 6 &&
        token.piece.starts_with("<0x") && is_hex(token.piece[3]) && is_hex(token.piece[4])) {
        const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
        return std::string(1,
                           static_cast<char>(digit(token.piece[3]) * 16 + digit(token.piece[4])));
    }
    // User-defined pieces are the text itself; only SentencePiece's own have their spaces marked.
    if (token.kind == TokenKind::user_defined || token.kind == TokenKind::control)
        return std::move(token.piece);
    return replace_all(token.piece, kSpaceMark, " ");
}

bool Tokenizer::is_control(int32_t id) const {
    return vocabulary_.token(id).kind == TokenKind::control;
}

std::optional<int32_t> Tokenizer::find_piece(std::string_view piece) const {
    return vocabulary_.find(piece);
}

}  // namespace llmsql
