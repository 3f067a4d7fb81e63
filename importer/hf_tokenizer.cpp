// SPDX-License-Identifier: MIT
// Reads tokenizer.json. See hf_tokenizer.h.
#include "importer/hf_tokenizer.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/files.h"

namespace llmsql {
namespace {

// The largest known, Gemma's, is 33 MB with 262144 tokens and 514906 merges.
constexpr size_t kLargestFile = 80 << 20;
constexpr size_t kMostMerges = 1 << 22;
constexpr size_t kLongestPiece = 64 * 1024;
constexpr size_t kLongestTemplate = 4 << 20;
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// How text is cut into words, as tokenizer.json files write it; how many digits go together tells
// Qwen's from OpenAI's cl100k, which Llama 3 has taken over; Qwen3.5's keeps marks with letters.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kSplits{{
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen2"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "cl100k"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen35"},
}};

/// Texts one after the other, without an allocation for each.
class Texts {
  public:
    void add(std::string_view text) {
        all_ += text;
        ends_.push_back(all_.size());
    }
    size_t size() const { return ends_.size(); }
    std::string_view operator[](size_t i) const {
        const size_t begin = i == 0 ? 0 : ends_[i - 1];
        return std::string_view(all_).substr(begin, ends_[i] - begin);
    }

  private:
    std::string all_;
    std::vector<size_t> ends_;
};

/// tokenizer.json, its large tables apart.
struct TokenizerFile {
    std::string where;
    Json json;                 // without model.vocab and model.merges
    Texts pieces;              // of model.vocab
    std::vector<int64_t> ids;  // of pieces
    Texts lefts, rights;       // of model.merges
};

void take_merge(TokenizerFile& file, const Json& merge) {
    if (file.lefts.size() == kMostMerges)
        fail("{}: has more than {} merges, more than any model has", file.where, kMostMerges);
    if (merge.is_string()) {  // "left right"
        const std::string& text = merge.get_ref<const std::string&>();
        const size_t space = text.find(' ', 1);
        if (text.empty() || space == std::string::npos)
            fail("{}: merge {} is \"{}\", not two pieces with a space between", file.where,
                 file.lefts.size(), printable(text));
        file.lefts.add(std::string_view(text).substr(0, space));
        file.rights.add(std::string_view(text).substr(space + 1));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {  // ["left", "right"]
        file.lefts.add(merge[0].get_ref<const std::string&>());
        file.rights.add(merge[1].get_ref<const std::string&>());
    } else {
        fail("{}: merge {} is not two pieces", file.where, file.lefts.size());
    }
}

TokenizerFile read_file_of(const HfFolder& folder) {
    TokenizerFile file;
    file.where = folder.path("tokenizer.json").string();
    std::error_code ignored;
    if (!std::filesystem::exists(file.where, ignored))
        fail(
            "{}: is missing; llmsql reads no other form of tokenizer (transformers' "
            "AutoTokenizer.from_pretrained(…).save_pretrained(…) writes it)",
            file.where);
    JsonLimits limits{.bytes = kLargestFile};
    limits.take = [&](const JsonPath& path, Json& value) {
        if (path.size() != 3 || path[0] != "model") return false;
        if (path[1] == "vocab") {
            if (!value.is_number_unsigned() || value.get<uint64_t>() >= kMostTokens)
                fail("{}: the id of the token \"{}\" is not a number below {}", file.where,
                     printable(path[2]), kMostTokens);
            if (path[2].size() > kLongestPiece)
                fail("{}: a token is {} bytes long, more than the {} that can be read", file.where,
                     path[2].size(), kLongestPiece);
            file.pieces.add(path[2]);
            file.ids.push_back(value.get<int64_t>());
            return true;
        }
        if (path[1] != "merges") return false;
        take_merge(file, value);
        return true;
    };
    file.json = parse_json_file(file.where, limits);
    return file;
}

std::string type_of(const Json& part) {
    const Json* type = member(part, "type");
    return type && type->is_string() ? printable(type->get<std::string>()) : "of no type";
}

bool is_flag(const Json& part, std::string_view name, bool value, bool absent) {
    const Json* found = member(part, name);
    return (found ? found->is_boolean() && found->get<bool>() : absent) == value;
}

/// The steps of a Sequence, or the one step; none if there is no such part.
std::vector<Json> steps_of(const Json& json, std::string_view part, std::string_view list) {
    const Json* value = member(json, part);
    if (!value) return {};
    if (type_of(*value) != "Sequence") return {*value};
    const Json* steps = member(*value, list);
    if (!steps || !steps->is_array()) return {};
    return {steps->begin(), steps->end()};
}

/// How a Split step says what it splits at: "Regex" or "String".
std::string pattern_of(const Json& step, const char* kind) {
    const Json* pattern = member(step, "pattern");
    const Json* text = pattern ? member(*pattern, kind) : nullptr;
    return text && text->is_string() ? text->get<std::string>() : "";
}

[[noreturn]] void fail_pre(const TokenizerFile& file, const std::string& why) {
    fail(
        "{}: its tokenizer splits text in a way that llmsql does not have ({}); it has gpt2's, "
        "qwen2's, smollm's, llama3's and cl100k's",
        file.where, why);
}

/// The splitter of a byte-level tokenizer.
std::string pre_of(const TokenizerFile& file) {
    std::vector<Json> steps = steps_of(file.json, "pre_tokenizer", "pretokenizers");
    if (steps.empty() || type_of(steps.back()) != "ByteLevel") fail_pre(file, "no ByteLevel step");
    const Json byte_level = steps.back();
    steps.pop_back();
    if (!is_flag(byte_level, "add_prefix_space", false, true))
        fail_pre(file, "with a space in front");
    if (is_flag(byte_level, "use_regex", true, true)) {
        if (steps.empty()) return "gpt2";
        if (steps.size() == 1 && type_of(steps[0]) == "Digits" &&
            is_flag(steps[0], "individual_digits", true, false))
            return "smollm";
        fail_pre(file, fmt::format("a step {} before GPT-2's", type_of(steps[0])));
    }
    if (steps.size() != 1 || type_of(steps[0]) != "Split")
        fail_pre(file, fmt::format("{} steps before ByteLevel", steps.size()));
    const std::string regex = pattern_of(steps[0], "Regex");
    const Json* behavior = member(steps[0], "behavior");
    if (!behavior || *behavior != "Isolated" || !is_flag(steps[0], "invert", false, false))
        fail_pre(file, "not isolating what the expression matches");
    for (const auto& [expression, name] : kSplits)
        if (regex == expression) return std::string(name);
    fail_pre(file, "by the expression " + printable(regex));
}

/// A SentencePiece BPE's parts must be those that llmsql's does by itself. Whether a space is put
/// in front of a text.
bool check_spm(const TokenizerFile& file) {
    bool marks = false, prefix = false;
    const auto refuse = [&](const std::string& what) {
        fail("{}: its tokenizer has {}, which llmsql's SentencePiece BPE does not", file.where,
             what);
    };
    for (const Json& step : steps_of(file.json, "normalizer", "normalizers")) {
        const Json* prepend = member(step, "prepend");
        const Json* content = member(step, "content");
        if (type_of(step) == "Prepend" && prepend && *prepend == kSpaceMark && !marks)
            prefix = true;
        else if (type_of(step) == "Replace" && pattern_of(step, "String") == " " && content &&
                 *content == kSpaceMark)
            marks = true;
        else
            refuse(fmt::format("a normalizer {}", type_of(step)));
    }
    for (const Json& step : steps_of(file.json, "pre_tokenizer", "pretokenizers")) {
        const Json* behavior = member(step, "behavior");
        // Spaces are marks by then: the step that splits at them never does.
        if (marks && type_of(step) == "Split" && pattern_of(step, "String") == " " && behavior &&
            *behavior == "MergedWithPrevious")
            continue;
        const Json* replacement = member(step, "replacement");
        const Json* scheme = member(step, "prepend_scheme");
        const bool always =
            scheme ? *scheme == "always" : is_flag(step, "add_prefix_space", true, true);
        if (marks || type_of(step) != "Metaspace" || !replacement || *replacement != kSpaceMark ||
            !is_flag(step, "split", false, true) ||
            (scheme && *scheme != "always" && *scheme != "never"))
            refuse(fmt::format("a pre_tokenizer {}{}", type_of(step),
                               type_of(step) == "Metaspace" ? " that splits, or puts a space in "
                                                              "front of the first word only"
                                                            : ""));
        marks = true;
        prefix = always;
    }
    if (!marks) refuse("no step that marks spaces by U+2581");
    return prefix;
}

/// What the byte-level kind leaves to whoever gives it text.
void check_bpe_normalizer(const TokenizerFile& file, const Note& note) {
    for (const Json& step : steps_of(file.json, "normalizer", "normalizers")) {
        if (type_of(step) != "NFC")
            fail("{}: its tokenizer has a normalizer {}, which llmsql does not", file.where,
                 type_of(step));
        note(fmt::format(
            "{}: brings text into the normal form NFC, which llmsql leaves to whoever writes it",
            file.where));
    }
}

void check_model(const TokenizerFile& file, const Json& model) {
    if (type_of(model) != "BPE")
        fail(
            "{}: its tokenizer is of the kind \"{}\", which llmsql does not have; it has BPE "
            "(byte-level, and SentencePiece's)",
            file.where, type_of(model));
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
        if (const auto text = text_member(model, affix, file.where); text && !text->empty())
            fail("{}: its tokenizer marks parts of words ({}), which llmsql's does not", file.where,
                 affix);
    if (const Json* dropout = member(model, "dropout"); dropout && *dropout != 0)
        fail("{}: its tokenizer leaves out merges at random (dropout), which llmsql's does not",
             file.where);
    if (file.ids.empty()) fail("{}: has no vocabulary (model.vocab)", file.where);
}

bool is_byte_piece(std::string_view piece) {
    return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
}

void set_token(const TokenizerFile& file, TokenList& tokens, int64_t id, std::string_view text,
               PieceKind kind) {
    if (id < tokens.size() && tokens.kind(id) != PieceKind::absent && tokens.text(id) != text)
        fail("{}: the token {} is both \"{}\" and \"{}\"", file.where, id,
             printable(tokens.text(id)), printable(text));
    tokens.set(id, text, kind, 0);
}

struct AddedToken {
    int64_t id = 0;
    std::string text;
    bool special = false, normalized = false;
};

std::vector<AddedToken> added_tokens(const TokenizerFile& file, const Note& note) {
    std::vector<AddedToken> added;
    const Json* list = member(file.json, "added_tokens");
    if (!list) return added;
    if (!list->is_array()) fail("{}: added_tokens is not a list", file.where);
    size_t stripping = 0;
    for (const Json& each : *list) {
        const Json* id = member(each, "id");
        const auto text = text_member(each, "content", file.where);
        if (!id || !id->is_number_unsigned() || id->get<uint64_t>() >= kMostTokens || !text ||
            text->empty() || text->size() > kLongestPiece)
            fail("{}: the added token {} lacks an id or its text", file.where, added.size());
        added.push_back({id->get<int64_t>(), *text, is_flag(each, "special", true, false),
                         is_flag(each, "normalized", true, false)});
        stripping += is_flag(each, "lstrip", true, false) || is_flag(each, "rstrip", true, false) ||
                     is_flag(each, "single_word", true, false);
    }
    if (stripping > 0)
        note(fmt::format(
            "{}: {} added token{} also the spaces beside {} or only whole words; llmsql takes the "
            "token alone",
            file.where, stripping, stripping == 1 ? " takes" : "s take",
            stripping == 1 ? "it" : "them"));
    return added;
}

void fill_tokens(const TokenizerFile& file, SourceTokenizer& tokenizer, int64_t vocabulary,
                 bool byte_fallback, const Note& note) {
    const bool spm = tokenizer.spec.kind == "spm";
    TokenList& tokens = tokenizer.tokens;
    for (size_t i = 0; i < file.ids.size(); ++i) {
        if (file.ids[i] >= vocabulary)
            fail("{}: the token {} (\"{}\") is beyond the model's {}", file.where, file.ids[i],
                 printable(file.pieces[i]), vocabulary);
        const bool byte = byte_fallback && is_byte_piece(file.pieces[i]);
        set_token(file, tokens, file.ids[i], file.pieces[i],
                  byte ? PieceKind::byte : PieceKind::normal);
    }
    size_t beyond = 0;
    for (const AddedToken& added : added_tokens(file, note)) {
        if (added.id >= vocabulary) {
            ++beyond;
            continue;
        }
        // A run of marks that isn't looked for in what is normalised is never found in a text: it
        // comes out of merges, and stands for spaces.
        const bool of_marks = spm && !added.special && !added.normalized &&
                              added.text.find(kSpaceMark) != std::string::npos &&
                              added.id < tokens.size() &&
                              tokens.kind(added.id) == PieceKind::normal;
        set_token(file, tokens, added.id, added.text,
                  added.special ? PieceKind::control
                  : of_marks    ? PieceKind::normal
                                : PieceKind::user_defined);
    }
    if (beyond > 0)
        note(fmt::format("{}: {} added token{} beyond the model's {} {} left out", file.where,
                         beyond, beyond == 1 ? "" : "s", vocabulary, beyond == 1 ? "is" : "are"));
    for (int64_t id = 0; id < vocabulary; ++id)
        if (id >= tokens.size() || tokens.kind(id) == PieceKind::absent)
            tokens.set(id, fmt::format("[PAD{}]", id), PieceKind::unused, 0);
}

/// Merges are made of the vocabulary's pieces, whatever those also are.
void fill_merges(const TokenizerFile& file, SourceTokenizer& tokenizer) {
    TokenList normal = tokenizer.tokens;
    for (size_t i = 0; i < file.ids.size(); ++i) normal.set_kind(file.ids[i], PieceKind::normal);
    const TokenIds ids(normal);
    for (size_t rank = 0; rank < file.lefts.size(); ++rank)
        tokenizer.merges.push_back(
            merge_of(ids, file.lefts[rank], file.rights[rank], rank, file.where));
}

/// A special token of tokenizer_config.json: its text, or an object that has it.
std::optional<int64_t> named_token(const Json& config, const char* name, const TokenIds& ids,
                                   const std::string& where) {
    const Json* value = member(config, name);
    if (value && value->is_object()) value = member(*value, "content");
    if (!value) return std::nullopt;
    if (!value->is_string()) fail("{}: {} is not a token's text", where, name);
    const auto id = ids.find(value->get_ref<const std::string&>());
    if (!id)
        fail("{}: {} is \"{}\", which is not a token", where, name,
             printable(value->get_ref<const std::string&>()));
    return id;
}

/// The ids that a configuration gives under a name: one or a list; none that the model hasn't.
std::vector<int64_t> ids_under(const Json& config, const char* name, int64_t vocabulary) {
    const Json* value = member(config, name);
    if (!value) return {};
    std::vector<int64_t> ids;
    for (const Json& each : value->is_array() ? *value : Json::array({*value}))
        if (each.is_number_unsigned() && each.get<uint64_t>() < static_cast<uint64_t>(vocabulary))
            ids.push_back(each.get<int64_t>());
    return ids;
}

/// The texts that the post-processor puts before and after a text.
struct Surroundings {
    std::vector<std::string> before, after;
};
Surroundings surroundings(const Json& json) {
    Surroundings found;
    for (const Json& step : steps_of(json, "post_processor", "processors")) {
        const Json* single = member(step, "single");
        if (type_of(step) != "TemplateProcessing" || !single || !single->is_array()) continue;
        bool text_seen = false;
        for (const Json& part : *single) {
            const Json* special = member(part, "SpecialToken");
            const Json* id = special ? member(*special, "id") : nullptr;
            text_seen = text_seen || !special;
            if (id && id->is_string())
                (text_seen ? found.after : found.before).push_back(id->get<std::string>());
        }
    }
    return found;
}

void fill_special(const HfFolder& folder, const TokenizerFile& file, SourceTokenizer& tokenizer,
                  const Note& note) {
    const Json config = folder.optional_json("tokenizer_config.json");
    const Json generation = folder.optional_json("generation_config.json");
    const std::string where = folder.path("tokenizer_config.json").string();
    const int64_t vocabulary = tokenizer.tokens.size();
    const TokenIds ids(tokenizer.tokens);
    const auto first_of = [&](const char* name) -> std::optional<int64_t> {
        for (const Json* from : {&generation, &folder.config()})
            if (const auto found = ids_under(*from, name, vocabulary); !found.empty())
                return found[0];
        return std::nullopt;
    };
    tokenizer.bos = named_token(config, "bos_token", ids, where);
    tokenizer.eos = named_token(config, "eos_token", ids, where);
    tokenizer.unk = named_token(config, "unk_token", ids, where);
    if (!tokenizer.bos && !member(config, "bos_token") && !config.is_object())
        tokenizer.bos = first_of("bos_token_id");
    if (!tokenizer.eos) tokenizer.eos = first_of("eos_token_id");
    if (const auto unk = text_member(file.json.at("model"), "unk_token", file.where))
        tokenizer.unk = ids.find(*unk);
    for (const Json* from : {&generation, &folder.config()})
        for (const int64_t id : ids_under(*from, "eos_token_id", vocabulary))
            tokenizer.ends.push_back(id);

    const Surroundings around = surroundings(file.json);
    const auto add_bos = flag_member(config, "add_bos_token", where);
    if (around.before.size() > 1)
        fail("{}: puts {} tokens before a text; llmsql knows one", file.where,
             around.before.size());
    if (!around.before.empty() && add_bos.value_or(true)) {
        tokenizer.bos = ids.find(around.before[0]);
        if (!tokenizer.bos)
            fail("{}: puts \"{}\" before a text, which is not a token", file.where,
                 printable(around.before[0]));
    }
    tokenizer.add_bos = add_bos.value_or(!around.before.empty());
    if (tokenizer.add_bos && !tokenizer.bos)
        fail("{}: add_bos_token is true, but there is no bos_token", where);
    if (!around.after.empty() || flag_member(config, "add_eos_token", where).value_or(false))
        note(fmt::format("{}: puts an end token after a text, which llmsql does not", file.where));
}

}  // namespace

SourceTokenizer read_tokenizer(const HfFolder& folder, int64_t vocabulary, const Note& note) {
    const TokenizerFile file = read_file_of(folder);
    const Json* model = member(file.json, "model");
    if (!model) fail("{}: holds no tokenizer (model is missing)", file.where);
    check_model(file, *model);
    SourceTokenizer tokenizer;
    const bool byte_fallback = flag_member(*model, "byte_fallback", file.where).value_or(false);
    if (byte_fallback) {
        tokenizer.spec.kind = "spm";
        tokenizer.add_space_prefix = check_spm(file);
    } else {
        tokenizer.spec = {"bpe", pre_of(file)};
        if (flag_member(*model, "ignore_merges", file.where).value_or(false)) {
            if (tokenizer.spec.pre != "cl100k")
                fail_pre(file, "a word that is a token is not merged (ignore_merges)");
            tokenizer.spec.pre = "llama3";
        }
        check_bpe_normalizer(file, note);
    }
    if (file.lefts.size() == 0) fail("{}: its tokenizer has no merges (model.merges)", file.where);
    fill_tokens(file, tokenizer, vocabulary, byte_fallback, note);
    fill_merges(file, tokenizer);
    fill_special(folder, file, tokenizer, note);
    if (tokenizer.unk && byte_fallback)
        tokenizer.tokens.set_kind(*tokenizer.unk, PieceKind::unknown);
    return tokenizer;
}

std::optional<std::string> chat_template(const HfFolder& folder) {
    const std::filesystem::path jinja = folder.path("chat_template.jinja");
    std::error_code ignored;
    if (std::filesystem::exists(jinja, ignored)) {
        if (const auto bytes = std::filesystem::file_size(jinja, ignored);
            !ignored && bytes > kLongestTemplate)
            fail("{}: is {} bytes long, more than the {} that can be read", jinja.string(), bytes,
                 kLongestTemplate);
        return read_file(jinja);
    }
    const Json config = folder.optional_json("tokenizer_config.json");
    const Json* text = member(config, "chat_template");
    if (!text) return std::nullopt;
    if (text->is_string()) return text->get<std::string>();
    const std::string where = folder.path("tokenizer_config.json").string();
    if (text->is_array())  // several by name
        for (const Json& each : *text)
            if (text_member(each, "name", where) == "default")
                return text_member(each, "template", where);
    fail("{}: chat_template is neither a text nor a list with a template called default", where);
}

}  // namespace llmsql
