// SPDX-License-Identifier: MIT
// Reads tokenizer.json. See hf_tokenizer.h.
#include "importer/hf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "importer/base64.h"
#include "importer/hf_characters.h"
#include "importer/regex.h"
#include "importer/tekken.h"

namespace llmsql {
namespace {

constexpr size_t kLongestTemplateFile = 4 << 20;

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
    Json json;                   // without model.vocab and model.merges
    Texts pieces;                // of model.vocab
    std::vector<int64_t> ids;    // of pieces
    std::vector<double> scores;  // of pieces, where it has any
    Texts lefts, rights;         // of model.merges
};

/// A number as Rust's serde_json reads it, and so Hugging Face's tokenizers: its digits as a whole
/// number, times or by a power of ten, each rounded. Of scores that sum to the same, one is larger
/// so.
double as_serde_reads(double exact) {
    if (exact == 0 || !std::isfinite(exact)) return exact;
    const std::string text = fmt::format("{}", std::abs(exact));
    uint64_t digits = 0;
    int exponent = 0;
    bool behind_point = false;
    for (size_t at = 0; at < text.size(); ++at) {
        if (text[at] == 'e') {
            exponent += std::stoi(text.substr(at + 1));
            break;
        }
        if (text[at] == '.') {
            behind_point = true;
            continue;
        }
        digits = digits * 10 + static_cast<uint64_t>(text[at] - '0');
        exponent -= behind_point;
    }
    constexpr int kLargest = 308;  // there is no larger power of ten
    auto value = static_cast<double>(digits);
    if (exponent < -kLargest) {
        value /= 1e308;
        exponent += kLargest;
    }
    const double power = std::stod(fmt::format("1e{}", std::abs(exponent)));
    value = exponent < 0 ? value / power : value * power;
    return exact < 0 ? -value : value;
}

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
            "{}: is missing; of other forms of tokenizer llmsql reads Mistral's {} alone "
            "(transformers' AutoTokenizer.from_pretrained(…).save_pretrained(…) writes this one)",
            file.where, kTekkenFile);
    JsonLimits limits{.bytes = kLargestTokenizerFile};
    limits.take = [&](const JsonPath& path, Json& value) {
        if (path.size() != 3 || path[0] != "model") return false;
        if (path[1] == "vocab" && value.is_array()) {  // Unigram's: a piece and its score
            if (value.size() != 2 || !value[0].is_string() || !value[1].is_number())
                fail("{}: the token {} is not a text and a score", file.where, file.ids.size());
            const std::string& piece = value[0].get_ref<const std::string&>();
            if (piece.size() > kLongestPiece || file.ids.size() >= kMostTokens)
                fail("{}: has more tokens, or longer ones, than any model", file.where);
            file.ids.push_back(static_cast<int64_t>(file.ids.size()));
            file.pieces.add(piece);
            file.scores.push_back(as_serde_reads(value[1].get<double>()));
            return true;
        }
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

void add_steps(const Json& value, std::string_view list, int depth, std::vector<Json>& steps) {
    constexpr int kDeepestSplit = 20;
    if (type_of(value) != "Sequence") {
        steps.push_back(value);
        return;
    }
    const Json* parts = member(value, list);
    if (!parts || !parts->is_array() || depth == kDeepestSplit) return;
    for (const Json& part : *parts) add_steps(part, list, depth + 1, steps);
}

/// The steps of a Sequence and those within it, or the one step; none if there is no such part.
std::vector<Json> steps_of(const Json& json, std::string_view part, std::string_view list) {
    std::vector<Json> steps;
    if (const Json* value = member(json, part)) add_steps(*value, list, 0, steps);
    return steps;
}

/// How a Split step says what it splits at: "Regex" or "String".
std::string pattern_of(const Json& step, const char* kind) {
    const Json* pattern = member(step, "pattern");
    const Json* text = pattern ? member(*pattern, kind) : nullptr;
    return text && text->is_string() ? text->get<std::string>() : "";
}

[[noreturn]] void fail_pre(const TokenizerFile& file, const std::string& why) {
    fail("{}: its tokenizer splits text in a way that llmsql does not have (pre_tokenizer): {}",
         file.where, why);
}

// GPT-2's words, which ByteLevel's use_regex stands for.
constexpr std::string_view kWordsOfByteLevel =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string translated(const TokenizerFile& file, std::string_view regex) {
    try {
        return pcre2_of(regex);
    } catch (const Error& error) {
        fail_pre(file, fmt::format("the expression {}: {}", printable(regex), error.what()));
    }
}

/// The word for it in llm_meta's tokenizer.split.
std::string_view behavior_of(const TokenizerFile& file, const Json& step, std::string_view absent) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kBehaviors{{
        {"Isolated", "isolated"},
        {"Removed", "removed"},
        {"MergedWithPrevious", "merged_with_previous"},
        {"MergedWithNext", "merged_with_next"},
        {"Contiguous", "contiguous"},
    }};
    const Json* given = member(step, "behavior");
    const std::string name =
        given && given->is_string() ? given->get<std::string>() : std::string(absent);
    for (const auto& [theirs, ours] : kBehaviors)
        if (name == theirs) return ours;
    fail_pre(file, fmt::format("the behavior \"{}\" of a step {}", printable(name), type_of(step)));
}

/// The rules of a step but ByteLevel.
std::vector<std::string> rules_of(const TokenizerFile& file, const Json& step) {
    const std::string type = type_of(step);
    if (type == "Split") {
        const std::string regex = pattern_of(step, "Regex"), text = pattern_of(step, "String");
        if (regex.empty() && text.empty()) fail_pre(file, "a step Split without a pattern");
        return {fmt::format("{}{} {}", is_flag(step, "invert", true, false) ? "inverted " : "",
                            behavior_of(file, step, ""),
                            regex.empty() ? pcre2_literal(text) : translated(file, regex))};
    }
    if (type == "Digits")
        return {(is_flag(step, "individual_digits", true, false) ? "isolated " : "contiguous ") +
                hf_numeric()};
    if (type == "Punctuation")
        return {fmt::format("{} {}", behavior_of(file, step, "Isolated"), hf_punctuation())};
    if (type == "Whitespace")
        return {fmt::format("inverted removed {0}+|(?:(?!{0}){1})+", hf_word(),
                            translated(file, R"(\S)"))};
    if (type == "WhitespaceSplit") return {"removed " + translated(file, R"(\s)")};
    if (type == "BertPreTokenizer")
        return {"removed " + translated(file, R"(\s)"), "isolated " + hf_punctuation()};
    if (type == "CharDelimiterSplit") {
        const auto delimiter = text_member(step, "delimiter", file.where);
        if (delimiter && !delimiter->empty()) return {"removed " + pcre2_literal(*delimiter)};
    }
    if (type == "FixedLength") {
        const Json* length = member(step, "length");
        constexpr uint64_t kMost = 65535;  // PCRE2's
        if (length && length->is_number_unsigned() && length->get<uint64_t>() > 0 &&
            length->get<uint64_t>() <= kMost)
            return {fmt::format("isolated (?s:.){{1,{}}}", length->get<uint64_t>())};
    }
    if (type == "Metaspace") {
        const auto mark = text_member(step, "replacement", file.where);
        const auto scheme = text_member(step, "prepend_scheme", file.where);
        const bool always =
            scheme ? scheme == "always" : is_flag(step, "add_prefix_space", true, true);
        if (!mark || mark->empty() || (scheme && !always && scheme != "never" && scheme != "first"))
            fail_pre(file, "a step Metaspace of an unknown form");
        std::vector<std::string> rules{"mark " + *mark};
        if (always) rules.push_back("prefix " + *mark);
        if (scheme == "first") rules.push_back("first " + *mark);
        if (is_flag(step, "split", true, true))
            rules.push_back("merged_with_next " + pcre2_literal(*mark));
        return rules;
    }
    fail_pre(file, fmt::format("a step {}", type));
}

/// All rules of steps but ByteLevel.
std::vector<std::string> rules_of(const TokenizerFile& file, const std::vector<Json>& steps) {
    std::vector<std::string> rules;
    for (const Json& step : steps)
        for (std::string& rule : rules_of(file, step)) rules.push_back(std::move(rule));
    return rules;
}

std::vector<Json> pre_steps_of(const TokenizerFile& file) {
    return steps_of(file.json, "pre_tokenizer", "pretokenizers");
}

bool is_byte_level(const Json& step) {
    return type_of(step) == "ByteLevel";
}

/// Whether a normalizer spells bytes as characters, behind which nothing may change the text of a
/// BPE that does not: its words are bytes.
bool normalizes_bytes(const TokenizerFile& file, const std::string& model,
                      const std::vector<Json>& pre_steps) {
    const std::vector<Json> steps = steps_of(file.json, "normalizer", "normalizers");
    const auto found = std::ranges::find_if(steps, is_byte_level);
    if (found == steps.end()) return false;
    if (model != "BPE")
        fail(
            "{}: its tokenizer changes text in a way that llmsql does not have (normalizer): a "
            "step ByteLevel before a model {}",
            file.where, model);
    if (std::ranges::any_of(pre_steps, is_byte_level)) return false;
    if (found + 1 != steps.end())
        fail(
            "{}: its tokenizer changes text in a way that llmsql does not have (normalizer): a "
            "step {} behind a step ByteLevel",
            file.where, type_of(*(found + 1)));
    return true;
}

/// The splitter of a byte-level tokenizer whose normalizer has spelled the bytes.
void read_spelled(const TokenizerFile& file, const std::vector<Json>& steps,
                  SourceTokenizer& tokenizer) {
    for (const Json& step : steps)
        if (type_of(step) == "Metaspace")
            fail_pre(file, "a step Metaspace behind a normalizer ByteLevel");
    tokenizer.spec = {"bpe", "own"};
    tokenizer.split = rules_of(file, steps);
    tokenizer.split.insert(tokenizer.split.begin(), "spelled");
}

/// The splitter of a byte-level tokenizer, one of whose steps is ByteLevel: one that has a name, or
/// its own.
void read_pre(const TokenizerFile& file, const std::vector<Json>& all, SourceTokenizer& tokenizer) {
    const auto found = std::ranges::find_if(all, is_byte_level);
    const Json byte_level = *found;
    const std::vector<Json> steps(all.begin(), found), behind(found + 1, all.end());
    tokenizer.spec = {"bpe", "own"};
    const bool prefix = is_flag(byte_level, "add_prefix_space", true, true);
    const bool words = is_flag(byte_level, "use_regex", true, true);
    std::vector<std::string>& rules = tokenizer.split;
    rules = rules_of(file, steps);
    if (prefix) rules.push_back("prefix  ");
    if (words) rules.push_back("isolated " + translated(file, kWordsOfByteLevel));
    if (!behind.empty()) {
        // They see each byte as a character: Falcon's cut digits there.
        rules.emplace_back("bytes");
        for (const Json& step : behind) {
            if (type_of(step) == "Metaspace")
                fail_pre(file, "a step Metaspace behind a step ByteLevel");
            for (std::string& rule : rules_of(file, step)) rules.push_back(std::move(rule));
        }
        return;
    }
    // What has a name here is called by it.
    std::string name;
    if (!prefix && words && steps.empty()) name = "gpt2";
    if (!prefix && words && steps.size() == 1 && rules[0] == "isolated " + hf_numeric())
        name = "smollm";
    if (!prefix && !words && steps.size() == 1)
        for (const auto& [expression, known] : kSplits)
            if (rules[0] == "isolated " + translated(file, expression)) name = known;
    if (name.empty()) return;
    tokenizer.spec.pre = name;
    rules.clear();
}

[[noreturn]] void fail_normalizer(const TokenizerFile& file, const std::string& why) {
    fail("{}: its tokenizer changes text in a way that llmsql does not have (normalizer): {}",
         file.where, why);
}

using NormalRules = std::vector<std::pair<std::string, std::string>>;

/// BERT's own: spaces are one kind, Han stands alone, small letters without accents.
void add_bert_steps(const Json& step, NormalRules& rules) {
    constexpr const char* kHan =
        R"([\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f})"
        R"(\x{2b740}-\x{2b81f}\x{2b920}-\x{2ceaf}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}])";
    if (is_flag(step, "clean_text", true, true)) {
        rules.emplace_back(
            R"(replace (?:[\x{0}-\x{8}\x{b}\x{c}\x{e}-\x{1f}\x{7f}-\x{9f}\x{fffd}\p{Cf}\p{Co}])"
            R"((?<![\x{890}\x{891}\x{8e2}\x{110cd}\x{13430}-\x{1343f}]))++)",
            "");
        rules.emplace_back(
            R"(replace [\t\n\r\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}])",
            " ");
    }
    if (is_flag(step, "handle_chinese_chars", true, true)) {
        rules.emplace_back(fmt::format("replace (?={})", kHan), " ");
        rules.emplace_back(fmt::format("replace (?<={})", kHan), " ");
    }
    const bool lower = is_flag(step, "lowercase", true, true);
    if (is_flag(step, "strip_accents", true, lower)) {
        rules.emplace_back("nfd", "");
        rules.emplace_back(fmt::format("replace (?:{})++", hf_nonspacing_mark()), "");
    }
    if (lower) rules.emplace_back("lowercase", "");
}

void add_normal_step(const TokenizerFile& file, const Json& step, NormalRules& rules) {
    const std::string type = type_of(step);
    if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
        std::string form = type;
        for (char& c : form) c = static_cast<char>(c | 0x20);
        rules.emplace_back(form, "");
    } else if (type == "Lowercase") {
        rules.emplace_back("lowercase", "");
    } else if (type == "StripAccents") {
        rules.emplace_back(fmt::format("replace (?:{})++", hf_mark()), "");
    } else if (type == "Strip") {
        const bool left = is_flag(step, "strip_left", true, true);
        const bool right = is_flag(step, "strip_right", true, true);
        if (left || right)
            rules.emplace_back(left && right ? "strip both"
                               : left        ? "strip left"
                                             : "strip right",
                               "");
    } else if (type == "Prepend") {
        rules.emplace_back("prepend", text_member(step, "prepend", file.where).value_or(""));
    } else if (type == "Replace") {
        const std::string regex = pattern_of(step, "Regex"), text = pattern_of(step, "String");
        if (regex.empty() && text.empty())
            fail_normalizer(file, "a step Replace without a pattern");
        std::string expression;
        try {
            expression = regex.empty() ? pcre2_literal(text) : pcre2_of(regex);
        } catch (const Error& error) {
            fail_normalizer(file,
                            fmt::format("the expression {}: {}", printable(regex), error.what()));
        }
        rules.emplace_back("replace " + expression,
                           text_member(step, "content", file.where).value_or(""));
    } else if (type == "Precompiled") {
        const auto map = text_member(step, "precompiled_charsmap", file.where);
        if (!map || map->empty()) return;
        auto bytes = bytes_of_base64(*map);
        if (!bytes) fail_normalizer(file, "a step Precompiled whose map is not base64");
        rules.emplace_back("map graphemes", *std::move(bytes));
    } else if (type == "BertNormalizer") {
        add_bert_steps(step, rules);
    } else if (type == "ByteLevel") {
        rules.emplace_back("bytes", "");
    } else if (type == "Nmt") {
        rules.emplace_back(R"(replace [\x{1}-\x{8}\x{b}\x{e}-\x{1f}\x{7f}\x{8f}\x{9f}]++)", "");
        rules.emplace_back(
            R"(replace [\x{9}\x{a}\x{c}\x{d}\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}])",
            " ");
    } else {
        fail_normalizer(file, fmt::format("a step {}", type));
    }
}

struct AddedToken {
    int64_t id = 0;
    std::string text;
    bool special = false, normalized = false;
    bool takes_left = false, takes_right = false, single_word = false;
};

std::vector<AddedToken> added_tokens(const TokenizerFile& file) {
    std::vector<AddedToken> added;
    const Json* list = member(file.json, "added_tokens");
    if (!list) return added;
    if (!list->is_array()) fail("{}: added_tokens is not a list", file.where);
    for (const Json& each : *list) {
        const Json* id = member(each, "id");
        const auto text = text_member(each, "content", file.where);
        if (!id || !id->is_number_unsigned() || id->get<uint64_t>() >= kMostTokens || !text ||
            text->empty() || text->size() > kLongestPiece)
            fail("{}: the added token {} lacks an id or its text", file.where, added.size());
        const auto is = [&](const char* flag) { return is_flag(each, flag, true, false); };
        added.push_back({id->get<int64_t>(), *text, is("special"), is("normalized"), is("lstrip"),
                         is("rstrip"), is("single_word")});
    }
    return added;
}

/// Gives the tokens the ids that Hugging Face's tokenizers gives them: what the vocabulary has
/// keeps its own, all others follow on it, whatever the file says. Models are made with these.
void renumber(const TokenizerFile& file, std::vector<AddedToken>& added, const Note& note) {
    std::unordered_map<std::string_view, int64_t> ids;
    for (const AddedToken& each : added) ids.emplace(each.text, -1);
    for (size_t i = 0; i < file.ids.size(); ++i)
        if (const auto known = ids.find(file.pieces[i]); known != ids.end())
            known->second = file.ids[i];
    auto next = static_cast<int64_t>(file.ids.size());
    const AddedToken* first = nullptr;
    size_t others = 0;
    int64_t said = 0;
    for (AddedToken& each : added) {
        int64_t& id = ids[each.text];
        if (id < 0) id = next++;
        if (id == each.id) continue;
        if (others++ == 0) {
            first = &each;
            said = each.id;
        }
        each.id = id;
    }
    if (first)
        note(fmt::format(
            "{}: {} added token{} the id that follows on the vocabulary, as Hugging "
            "Face's tokenizers gives it, not the one written there: \"{}\" is {}, not {}",
            file.where, others, others == 1 ? " has" : "s have", printable(first->text), first->id,
            said));
}

/// Whether a SentencePiece BPE's steps are no more than what llmsql's does by itself: marking
/// spaces, with one in front of each text or not; nothing if they are more.
std::optional<bool> plain_spm(const TokenizerFile& file) {
    bool marks = false, prefix = false;
    // Tokens that are looked for in what the steps make need the steps.
    for (const AddedToken& added : added_tokens(file))
        if (added.normalized && !added.special) return std::nullopt;
    for (const Json& step : steps_of(file.json, "normalizer", "normalizers")) {
        const Json* prepend = member(step, "prepend");
        const Json* content = member(step, "content");
        if (type_of(step) == "Prepend" && prepend && *prepend == kSpaceMark && !marks && !prefix)
            prefix = true;
        else if (type_of(step) == "Replace" && pattern_of(step, "String") == " " && content &&
                 *content == kSpaceMark)
            marks = true;
        else
            return std::nullopt;
    }
    for (const Json& step : pre_steps_of(file)) {
        const Json* behavior = member(step, "behavior");
        const Json* scheme = member(step, "prepend_scheme");
        const Json* replacement = member(step, "replacement");
        // Spaces are marks by then: the step that splits at them never does.
        if (marks && type_of(step) == "Split" && pattern_of(step, "String") == " " && behavior &&
            *behavior == "MergedWithPrevious")
            continue;
        if (marks || type_of(step) != "Metaspace" || !replacement || *replacement != kSpaceMark ||
            !is_flag(step, "split", false, true) || !scheme || *scheme != "never")
            return std::nullopt;
        marks = true;
    }
    return marks ? std::optional(prefix) : std::nullopt;
}

void check_model(const TokenizerFile& file, const Json& model) {
    if (type_of(model) == "Unigram" || type_of(model) == "WordPiece") {
        if (file.ids.empty()) fail("{}: has no vocabulary (model.vocab)", file.where);
        return;
    }
    if (type_of(model) != "BPE")
        fail(
            "{}: its tokenizer is of the kind \"{}\" (model), which llmsql does not have; it has "
            "BPE "
            "(byte-level, and SentencePiece's), Unigram and WordPiece",
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
    const bool known = id < tokens.size() && tokens.kind(id) != PieceKind::absent;
    tokens.set(id, text, kind, known ? tokens.score(id) : 0);
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
        if (!file.scores.empty())
            tokens.set(file.ids[i], file.pieces[i], tokens.kind(file.ids[i]), file.scores[i]);
    }
    size_t beyond = 0;
    std::vector<AddedToken> all = added_tokens(file);
    renumber(file, all, note);
    for (const AddedToken& added : all) {
        if (added.id >= vocabulary) {
            ++beyond;
            continue;
        }
        // A run of marks that isn't looked for in what is normalised is what merges make of spaces;
        // a text has it only where it is spelled.
        const bool of_marks = spm && !added.special && !added.normalized &&
                              added.text.find(kSpaceMark) != std::string::npos &&
                              added.id < tokens.size() &&
                              tokens.kind(added.id) == PieceKind::normal;
        set_token(file, tokens, added.id, added.text,
                  added.special ? PieceKind::control
                  : of_marks    ? PieceKind::normal
                                : PieceKind::user_defined);
        if (of_marks) tokenizer.literal.push_back(added.id);
        const auto mark = [&](bool marked, std::vector<int64_t>& ids) {
            if (marked && !of_marks) ids.push_back(added.id);
        };
        mark(added.takes_left, tokenizer.takes_left);
        mark(added.takes_right, tokenizer.takes_right);
        mark(added.single_word, tokenizer.single_word);
        mark(added.normalized && !added.special, tokenizer.normalized);
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

/// The ids that a configuration gives under a name: one or a list. What is no number is an error,
/// as for transformers; an id that the model hasn't can end nothing, which is noted.
std::vector<int64_t> ids_under(const Json& config, const char* name, int64_t vocabulary,
                               const std::string& where, const Note& note) {
    const Json* value = member(config, name);
    if (!value) return {};
    std::vector<int64_t> ids;
    for (const Json& each : value->is_array() ? *value : Json::array({*value})) {
        const bool whole = each.is_number_float() && std::abs(each.get<double>()) < 0x1p53 &&
                           each.get<double>() == std::floor(each.get<double>());
        if (!each.is_number_integer() && !whole)
            fail(
                "{}: {} is {}: a token's id is a whole number, and this is to be one, or a list "
                "of them",
                where, name, shown(*value));
        const bool above = each.is_number_unsigned() && each.get<uint64_t>() > INT64_MAX;
        const int64_t id = above   ? INT64_MAX
                           : whole ? static_cast<int64_t>(each.get<double>())
                                   : each.get<int64_t>();
        if (id >= 0 && id < vocabulary)
            ids.push_back(id);
        else
            note(fmt::format("{}: {} is {}, but there {} {}: left out", where, name, shown(each),
                             vocabulary == 1 ? "is" : "are",
                             counted(static_cast<uint64_t>(vocabulary), "token")));
    }
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
    const std::string where = folder.path("tokenizer_config.json").string();
    const int64_t vocabulary = tokenizer.tokens.size();
    const TokenIds ids(tokenizer.tokens);
    const auto ids_of = [&](const char* name) {
        return configured_ids(folder, name, vocabulary, note);
    };
    const std::vector<int64_t> starts = ids_of("bos_token_id"), ends = ids_of("eos_token_id");
    tokenizer.bos = named_token(config, "bos_token", ids, where);
    tokenizer.eos = named_token(config, "eos_token", ids, where);
    tokenizer.unk = named_token(config, "unk_token", ids, where);
    if (!tokenizer.bos && !member(config, "bos_token") && !config.is_object())
        if (!starts.empty()) tokenizer.bos = starts.front();
    if (!tokenizer.eos && !ends.empty()) tokenizer.eos = ends.front();
    const Json& model = file.json.at("model");
    if (const auto unk = text_member(model, "unk_token", file.where))
        tokenizer.unk = ids.find(*unk);
    if (const Json* unk = member(model, "unk_id");
        unk && unk->is_number_unsigned() &&
        unk->get<uint64_t>() < static_cast<uint64_t>(vocabulary))
        tokenizer.unk = unk->get<int64_t>();
    tokenizer.ends.insert(tokenizer.ends.end(), ends.begin(), ends.end());

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

std::vector<int64_t> configured_ids(const HfFolder& folder, const char* name, int64_t vocabulary,
                                    const Note& note) {
    // Of both files, the first that counts first. What a class has where the file says nothing
    // is of its own vocabulary, which may be another.
    std::vector<int64_t> all =
        ids_under(folder.optional_json("generation_config.json"), name, vocabulary,
                  folder.path("generation_config.json").string(), note);
    const Note none = [](const std::string&) {};
    const auto more =
        ids_under(folder.config(), name, vocabulary, folder.path("config.json").string(),
                  folder.is_default(name) ? none : note);
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

SourceTokenizer read_tokenizer(const HfFolder& folder, int64_t vocabulary, const Note& note) {
    std::error_code ignored;
    if (!std::filesystem::exists(folder.path("tokenizer.json"), ignored) &&
        std::filesystem::exists(folder.path(kTekkenFile), ignored))
        return read_tekken(folder, vocabulary, note);
    const TokenizerFile file = read_file_of(folder);
    const Json* model = member(file.json, "model");
    if (!model) fail("{}: holds no tokenizer (model is missing)", file.where);
    check_model(file, *model);
    SourceTokenizer tokenizer;
    tokenizer.unicode = "16.0";  // that of the Oniguruma in Hugging Face's tokenizers
    const bool byte_fallback = flag_member(*model, "byte_fallback", file.where).value_or(false);
    const bool has_unknown = member(*model, "unk_token") || member(*model, "unk_id");
    const bool fuses = flag_member(*model, "fuse_unk", file.where).value_or(false);
    const std::vector<Json> steps = pre_steps_of(file);
    const bool spelled = normalizes_bytes(file, type_of(*model), steps);
    std::optional<bool> prefix;  // of SentencePiece's BPE without more
    if (type_of(*model) == "Unigram") {
        tokenizer.spec.kind = "unigram";
        tokenizer.unknown = has_unknown ? "fused" : "";
    } else if (type_of(*model) == "WordPiece") {
        tokenizer.spec.kind = "wordpiece";
        tokenizer.continuing =
            text_member(*model, "continuing_subword_prefix", file.where).value_or("##");
        const Json* longest = member(*model, "max_input_chars_per_word");
        tokenizer.longest_word =
            longest && longest->is_number_unsigned() ? longest->get<uint64_t>() : 100;
    } else {
        if (file.lefts.size() == 0)
            fail("{}: its tokenizer has no merges (model.merges)", file.where);
        if (spelled) {
            read_spelled(file, steps, tokenizer);
        } else if (std::ranges::any_of(steps, is_byte_level)) {
            read_pre(file, steps, tokenizer);
        } else {
            tokenizer.spec.kind = "spm";
            if (byte_fallback) prefix = plain_spm(file);
        }
        tokenizer.takes_words = flag_member(*model, "ignore_merges", file.where).value_or(false);
        if (tokenizer.takes_words && tokenizer.spec.pre == "cl100k") {
            tokenizer.spec.pre = "llama3";
            tokenizer.takes_words = false;
        }
        tokenizer.unknown = !has_unknown ? "none" : fuses ? "fused" : "each";
    }
    if (prefix) {
        tokenizer.add_space_prefix = *prefix;
    } else {
        for (const Json& step : steps_of(file.json, "normalizer", "normalizers"))
            add_normal_step(file, step, tokenizer.normalize);
        if (tokenizer.spec.kind != "bpe") {
            tokenizer.split = rules_of(file, steps);
            // What has no steps at all is told from what has those of SentencePiece.
            if (tokenizer.spec.kind == "spm" && tokenizer.split.empty() &&
                tokenizer.normalize.empty())
                tokenizer.normalize.emplace_back("replace (?!)", "");
        }
    }
    if (tokenizer.spec.kind != "bpe") tokenizer.falls_back = byte_fallback;
    if (tokenizer.spec.kind == "bpe" && tokenizer.unknown == "none") tokenizer.unknown.clear();
    if (tokenizer.spec.kind == "spm" && byte_fallback && prefix) tokenizer.unknown.clear();
    fill_tokens(file, tokenizer, vocabulary, byte_fallback, note);
    fill_merges(file, tokenizer);
    fill_special(folder, file, tokenizer, note);
    if (tokenizer.unk && tokenizer.spec.kind != "bpe" &&
        tokenizer.tokens.kind(*tokenizer.unk) == PieceKind::normal)
        tokenizer.tokens.set_kind(*tokenizer.unk, PieceKind::unknown);
    else if (tokenizer.unk && byte_fallback && tokenizer.spec.kind == "spm")
        tokenizer.tokens.set_kind(*tokenizer.unk, PieceKind::unknown);
    return tokenizer;
}

std::optional<std::string> chat_template(const HfFolder& folder, const Note& note) {
    const std::filesystem::path jinja = folder.path("chat_template.jinja");
    std::error_code ignored;
    if (std::filesystem::exists(jinja, ignored)) {
        if (const auto bytes = std::filesystem::file_size(jinja, ignored);
            !ignored && bytes > kLongestTemplateFile)
            fail("{}: is {} bytes long, more than the {} that can be read", jinja.string(), bytes,
                 kLongestTemplateFile);
        return read_file(jinja);
    }
    const Json config = folder.optional_json("tokenizer_config.json");
    const Json* text = member(config, "chat_template");
    // Where processors of pictures have kept it.
    const Json processor = text ? Json() : folder.optional_json("chat_template.json");
    if (!text) text = member(processor, "chat_template");
    if (!text) return std::nullopt;
    if (text->is_string()) return text->get<std::string>();
    const std::string where = folder.path("tokenizer_config.json").string();
    std::optional<std::string> found;
    std::vector<std::string> others;
    if (text->is_array())  // several by name
        for (const Json& each : *text) {
            const auto name = text_member(each, "name", where);
            if (name == "default")
                found = text_member(each, "template", where);
            else if (name)
                others.push_back(printable(*name));
        }
    if (found && !others.empty())
        note(fmt::format("{}: of the chat templates the default one is taken; left out: {}", where,
                         fmt::join(others, ", ")));
    if (found) return found;
    fail("{}: chat_template is neither a text nor a list with a template called default", where);
}

}  // namespace llmsql
