// SPDX-License-Identifier: MIT
// Reads tekken.json. See tekken.h.
#include "importer/tekken.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/byte_spelling.h"
#include "common/error.h"
#include "importer/base64.h"
#include "importer/hf_tokenizer.h"
#include "importer/regex.h"

namespace llmsql {
namespace {

// What files up to version 7 mean that do not list their special tokens.
constexpr std::array kFirstSpecial{
    std::string_view("<unk>"),
    std::string_view("<s>"),
    std::string_view("</s>"),
    std::string_view("[INST]"),
    std::string_view("[/INST]"),
    std::string_view("[AVAILABLE_TOOLS]"),
    std::string_view("[/AVAILABLE_TOOLS]"),
    std::string_view("[TOOL_RESULTS]"),
    std::string_view("[/TOOL_RESULTS]"),
    std::string_view("[TOOL_CALLS]"),
    std::string_view("[IMG]"),
    std::string_view("<pad>"),
    std::string_view("[IMG_BREAK]"),
    std::string_view("[IMG_END]"),
    std::string_view("[PREFIX]"),
    std::string_view("[MIDDLE]"),
    std::string_view("[SUFFIX]"),
    std::string_view("[SYSTEM_PROMPT]"),
    std::string_view("[/SYSTEM_PROMPT]"),
    std::string_view("[TOOL_CONTENT]"),
};
constexpr int kLastWithoutList = 7;

struct TekkenFile {
    std::string where;
    Json json;                        // without vocab
    std::vector<std::string> pieces;  // by rank, bytes
};

/// A whole number that must be there, from `least` to `most`.
int64_t number_of(const TekkenFile& file, const Json& object, const char* name, uint64_t least,
                  uint64_t most) {
    const Json* value = member(object, name);
    if (!value || !value->is_number_unsigned() || value->get<uint64_t>() < least ||
        value->get<uint64_t>() > most)
        fail("{}: {} is {}, not a whole number from {} to {}", file.where, name,
             value ? shown(*value) : "missing", least, most);
    return value->get<int64_t>();
}

void take_piece(TekkenFile& file, const Json& value) {
    const size_t rank = file.pieces.size();
    if (rank == kMostTokens)
        fail("{}: has more than {} tokens, more than any model has", file.where, kMostTokens);
    const auto text = text_member(value, "token_bytes", file.where);
    std::optional<std::string> bytes = text ? bytes_of_base64(*text) : std::nullopt;
    if (!bytes || bytes->empty() || bytes->size() > kLongestPiece)
        fail("{}: token {} of vocab has no token_bytes in base64, or too many", file.where, rank);
    const Json* said = member(value, "rank");
    if (!said || *said != rank)
        fail("{}: token {} of vocab has the rank {}: they are to stand in order", file.where, rank,
             said ? shown(*said) : "of none");
    constexpr size_t kBytes = 256;
    if (rank < kBytes && *bytes != std::string(1, static_cast<char>(rank)))
        fail("{}: token {} of vocab is not the byte {}: the first {} are to be the bytes",
             file.where, rank, rank, kBytes);
    file.pieces.push_back(*std::move(bytes));
}

TekkenFile tekken_file(const HfFolder& folder) {
    TekkenFile file;
    file.where = folder.path(kTekkenFile).string();
    JsonLimits limits{.bytes = kLargestTokenizerFile};
    limits.take = [&](const JsonPath& path, Json& value) {
        if (path.size() != 2 || path[0] != "vocab") return false;
        take_piece(file, value);
        return true;
    };
    file.json = parse_json_file(file.where, limits);
    return file;
}

/// Names by id; empty where none is given.
std::vector<std::string> special_names(const TekkenFile& file, const Json& config, int64_t count) {
    std::vector<std::string> names(static_cast<size_t>(count));
    const Json* list = member(file.json, "special_tokens");
    if (!list) {
        const std::string version = text_member(config, "version", file.where).value_or("");
        int number = 0;
        const char* const end = version.data() + version.size();
        const bool known =
            version.starts_with('v') && std::from_chars(version.data() + 1, end, number).ptr == end;
        if (!known || number > kLastWithoutList)
            fail(
                "{}: lists no special_tokens, which after version v{} (config.version is \"{}\") "
                "it must",
                file.where, kLastWithoutList, printable(version));
        if (names.size() < kFirstSpecial.size())
            fail(
                "{}: lists no special_tokens, and default_num_special_tokens is {}: fewer than "
                "the {} that are meant",
                file.where, count, kFirstSpecial.size());
        for (size_t id = 0; id < kFirstSpecial.size(); ++id) names[id] = kFirstSpecial[id];
        return names;
    }
    if (!list->is_array()) fail("{}: special_tokens is not a list", file.where);
    for (const Json& each : *list) {
        const int64_t id =
            number_of(file, each, "rank", 0, static_cast<uint64_t>(count > 0 ? count - 1 : 0));
        const auto name = text_member(each, "token_str", file.where);
        if (!name || name->empty() || name->size() > kLongestPiece || id >= count)
            fail("{}: the special token {} has no token_str", file.where, id);
        std::string& place = names[static_cast<size_t>(id)];
        if (!place.empty())
            fail("{}: the special token {} is both \"{}\" and \"{}\"", file.where, id,
                 printable(place), printable(*name));
        place = *name;
    }
    return names;
}

/// All ways of making a token of two others, each with the token's rank: merging by them is merging
/// by the rank of the joined bytes.
void add_merges(const TekkenFile& file, size_t count, int64_t first, SourceTokenizer& tokenizer) {
    std::unordered_map<std::string_view, int64_t> ranks;
    ranks.reserve(count);
    for (size_t rank = 0; rank < count; ++rank)
        if (!ranks.emplace(file.pieces[rank], static_cast<int64_t>(rank)).second)
            fail("{}: token {} of vocab is also token {}", file.where, rank,
                 ranks.at(file.pieces[rank]));
    for (size_t rank = 0; rank < count; ++rank) {
        const std::string_view piece = file.pieces[rank];
        for (size_t cut = 1; cut < piece.size(); ++cut) {
            const auto left = ranks.find(piece.substr(0, cut));
            if (left == ranks.end()) continue;
            const auto right = ranks.find(piece.substr(cut));
            if (right == ranks.end()) continue;
            if (tokenizer.merges.size() == kMostMerges)
                fail("{}: its tokens can be made in more than {} ways, more than any model's",
                     file.where, kMostMerges);
            tokenizer.merges.push_back({first + left->second, first + right->second,
                                        static_cast<int64_t>(rank),
                                        first + static_cast<int64_t>(rank)});
        }
    }
}

}  // namespace

SourceTokenizer read_tekken(const HfFolder& folder, int64_t vocabulary, const Note& note) {
    const TekkenFile file = tekken_file(folder);
    const Json* config = member(file.json, "config");
    if (!config || !config->is_object()) fail("{}: has no config", file.where);
    const int64_t size = number_of(file, *config, "default_vocab_size", 1, kMostTokens);
    const int64_t special =
        number_of(file, *config, "default_num_special_tokens", 0, static_cast<uint64_t>(size));
    if (static_cast<uint64_t>(size - special) > file.pieces.size())
        fail("{}: default_vocab_size is {}, but there are {} special tokens and {} others",
             file.where, size, special, file.pieces.size());
    if (size > vocabulary)
        fail("{}: has {} (default_vocab_size), but the model has {}", file.where,
             counted(static_cast<uint64_t>(size), "token"), vocabulary);
    const auto pattern = text_member(*config, "pattern", file.where);
    if (!pattern || pattern->empty())
        fail("{}: does not say how text is split (config.pattern)", file.where);

    SourceTokenizer tokenizer;
    tokenizer.spec = {"bpe", "own"};
    tokenizer.unicode = "16.0";  // that of tiktoken's expressions
    tokenizer.takes_words = true;
    try {
        // What the expression does not match is left out there.
        tokenizer.split.push_back("inverted removed " + pcre2_of(*pattern));
    } catch (const Error& error) {
        fail(
            "{}: its tokenizer splits text in a way that llmsql does not have (config.pattern): "
            "the expression {}: {}",
            file.where, printable(*pattern), error.what());
    }

    TokenList& tokens = tokenizer.tokens;
    const std::vector<std::string> names = special_names(file, *config, special);
    for (int64_t id = 0; id < special; ++id) {
        const std::string& name = names[static_cast<size_t>(id)];
        tokens.set(id, name.empty() ? fmt::format("<SPECIAL_{}>", id) : name, PieceKind::control,
                   0);
        if (name == "<s>") tokenizer.bos = id;
        if (name == "</s>") tokenizer.eos = id;
        if (name == "<unk>") tokenizer.unk = id;
    }
    const auto count = static_cast<size_t>(size - special);
    for (size_t rank = 0; rank < count; ++rank)
        tokens.set(special + static_cast<int64_t>(rank), spelled(file.pieces[rank]),
                   PieceKind::normal, 0);
    for (int64_t id = size; id < vocabulary; ++id)
        tokens.set(id, fmt::format("[PAD{}]", id), PieceKind::unused, 0);
    add_merges(file, count, special, tokenizer);

    tokenizer.add_bos = tokenizer.bos.has_value();
    tokenizer.ends = configured_ids(folder, "eos_token_id", vocabulary, note);
    if (!tokenizer.eos && !tokenizer.ends.empty()) tokenizer.eos = tokenizer.ends.front();
    return tokenizer;
}

}  // namespace llmsql
