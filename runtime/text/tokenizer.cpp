// SPDX-License-Identifier: MIT
// Encoding: special tokens out, then words or scored pieces; decoding: a piece at a time.
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <set>

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

}  // namespace

Tokenizer::Tokenizer(const ModelDb& db) : db_(db), vocabulary_(db) {
    const std::string kind = db.meta("tokenizer.kind").value_or("");
    if (kind == "bpe") {
        const std::string pre = db.meta("tokenizer.pre").value_or("");
        try {
            pre_tokenizer_.emplace(pre);
            takes_words_ = pre == "llama3";  // its tokenizer.json: ignore_merges
        } catch (const Error& error) {
            fail("{}: {}", db.path().string(), error.what());
        }
    } else if (kind != "spm") {
        fail("{}: unknown tokenizer kind '{}' (known: bpe, spm)", db.path().string(), kind);
    }
    for (int byte = 0; byte < 256; ++byte)
        byte_tokens_[static_cast<size_t>(byte)] =
            vocabulary_.find_byte(static_cast<uint8_t>(byte)).value_or(-1);
    start_ = meta_token("tokenizer.bos");
    end_ = meta_token("tokenizer.eos");
    unknown_ = meta_token("tokenizer.unk");
    ends_ = meta_ends();
    adds_start_ = db.meta("tokenizer.add_bos").value_or("0") == "1";
    adds_space_ = kind == "spm" && db.meta("tokenizer.add_space_prefix").value_or("0") == "1";
    by_rank_ = kind == "spm" && vocabulary_.has_merges();
    if (adds_start_ && !start_)
        fail("{}: tokenizer.add_bos is set but there is no tokenizer.bos", db.path().string());
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

/// tokenizer.ends, ids with a space between, and the eos token.
std::vector<int32_t> Tokenizer::meta_ends() const {
    constexpr const char* kKey = "tokenizer.ends";
    constexpr size_t kMost = 1000;
    std::set<int32_t> ends;
    if (end_) ends.insert(*end_);
    const std::string list = db_.meta(kKey).value_or("");
    for (size_t at = 0; at < list.size();) {
        const size_t space = std::min(list.find(' ', at), list.size());
        ends.insert(token_id(kKey, std::string_view(list).substr(at, space - at)));
        if (ends.size() > kMost)
            fail("{}: {} has more than {} tokens", db_.path().string(), kKey, kMost);
        at = space + 1;
    }
    return {ends.begin(), ends.end()};
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
    bool after_special = true;
    size_t plain = 0;  // where the text that is not yet encoded begins
    auto run = markup.begin();
    const auto encode_until = [&](size_t end) {
        if (plain == end) return;
        encode_plain(std::string_view(text).substr(plain, end - plain), after_special, out);
        after_special = false;
    };
    for (size_t at = 0; at < text.size();) {
        while (run != markup.end() && run->second <= at) ++run;
        const size_t markup_end = run != markup.end() && run->first <= at ? run->second : 0;
        const SpecialToken* special = vocabulary_.special_at(text, at, markup_end);
        if (!special) {
            note_step();
            ++at;
            continue;
        }
        encode_until(at);
        out.push_back(special->id);
        after_special = true;
        at += special->piece.size();
        plain = at;
    }
    encode_until(text.size());

    if (start_of_text && adds_start_ && (out.empty() || out.front() != *start_))
        out.insert(out.begin(), *start_);
    return out;
}

/// Text without special tokens.
void Tokenizer::encode_plain(std::string_view text, bool after_special, std::vector<int32_t>& out) {
    if (pre_tokenizer_) {
        pre_tokenizer_->split(text, [&](std::string_view word) { encode_word(word, out); });
        return;
    }
    std::string marked = replace_all(text, " ", kSpaceMark);
    if (adds_space_ && after_special) marked.insert(0, kSpaceMark);
    encode_marked(marked, out);
}

/// Byte-level BPE of one word.
void Tokenizer::encode_word(std::string_view word, std::vector<int32_t>& out) {
    note_step();
    if (takes_words_) {
        if (const auto known = vocabulary_.find_by_score(word)) {
            out.push_back(known->token);
            return;
        }
    }
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
    for (const Symbol& symbol : symbols_) {
        if (symbol.token >= 0)
            out.push_back(symbol.token);
        else
            append_bytes(word.substr(symbol.begin, 1), out);
    }
}

/// SentencePiece's BPE of a text whose spaces are marked.
void Tokenizer::encode_marked(std::string_view text, std::vector<int32_t>& out) {
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
        // Ranks are of pairs of tokens, so there a character is looked up by itself.
        if (by_rank_)
            if (const auto known = known_character(text.substr(at, length), -1 - code))
                symbols_.back().token = known->token;
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
    for (size_t i = 0; i < symbols_.size(); ++i) {
        const Symbol& symbol = symbols_[i];
        if (symbol.token >= 0) {
            out.push_back(symbol.token);
            continue;
        }
        const uint32_t to = i + 1 < symbols_.size() ? symbols_[i + 1].begin : end;
        const std::string_view character = text.substr(symbol.begin, to - symbol.begin);
        if (const auto known = known_character(character, symbol.token))
            out.push_back(known->token);
        else
            append_bytes(character, out);
    }
}

/// The token of one character, which stands for it as a symbol until it is known.
std::optional<Merge> Tokenizer::known_character(std::string_view character, int32_t stand_in) {
    // No merge has a right side of INT32_MIN, so single characters share the cache.
    return cache_.find(stand_in, std::numeric_limits<int32_t>::min(),
                       [&] { return vocabulary_.find_by_score(character); });
}

/// The byte tokens of what no other token covers; spm's unknown token where there is none.
void Tokenizer::append_bytes(std::string_view bytes, std::vector<int32_t>& out) {
    for (const char byte : bytes) {
        const int32_t token = byte_tokens_[static_cast<uint8_t>(byte)];
        if (token >= 0)
            out.push_back(token);
        else if (!pre_tokenizer_ && unknown_)
            out.push_back(*unknown_);
        else
            ++bytes_left_out_;
    }
}

std::string Tokenizer::text_of(int32_t id) const {
    Token token = vocabulary_.token(id);
    if (pre_tokenizer_) return std::move(token.piece);
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
