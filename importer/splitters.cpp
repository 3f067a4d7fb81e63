// SPDX-License-Identifier: MIT
// The splitters that GGUF names. See splitters.h.
//
// What llama.cpp matches by \p{Lu}, \p{Ll} and the like is any letter there (unicode.cpp), and so
// it is here: a class such as [^\P{L}a-z] is the letters but for a to z.
#include "importer/splitters.h"

#include <algorithm>

namespace llmsql {
namespace {

const std::string kContraction = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const std::string kLead = R"([^\r\n\p{L}\p{N}]?)";
const std::string kSpaces = R"(\s+(?!\S)|\s+)";
const std::string kLines = R"(|\s*[\r\n]+|)" + kSpaces;
const std::string kSymbols = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*)" + kLines;
const std::string kSymbolsSlash = R"(| ?[^\s\p{L}\p{N}]+[\r\n/]*)" + kLines;

const std::string kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|)" + kSpaces;
const std::string kQwen2 = kContraction + "|" + kLead + R"(\p{L}+|\p{N})" + kSymbols;
const std::string kCjk = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{30ff}]+)";
const std::string kPunctuated = R"([!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)";
const std::string kDeepSeek3 = kPunctuated + R"(| ?[\p{P}\p{S}]+[\r\n]*)" + kLines;
const std::string kNoStops =
    R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{ff0c}\x{3001}\x{964}\x{6d4}\x{60c})]+)";
// Spaces are \s there and nothing else, whatever range they lie in.
const std::string kDeepSeekCjk =
    R"([\x{4e00}-\x{9fa5}\x{800}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e})"
    R"(\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{4e00}\x{ac00}-\x{d7ff}]+)";

/// Words whose capitals come first, each half of `upper` and `lower` letters.
std::string cased(const std::string& upper, const std::string& lower, const std::string& after) {
    return kLead + upper + "*" + lower + "+" + after + "|" + kLead + upper + "+" + lower + "*" +
           after;
}
const std::string kTekken =
    cased(R"([^\P{L}a-z])", R"([^\P{L}A-Z])", "") + R"(|\p{N})" + kSymbolsSlash;
const std::string kO200k = cased(R"([^\P{L}a-z])", R"([^\P{L}A-Z])", kContraction + "?") +
                           R"(|\p{N}{1,3})" + kSymbolsSlash;
const std::string kMarked = R"([\p{L}\p{M}])";

// The cased letters that DeepSeek LLM's tokenizer.json lists.
const std::string kDeepSeekLetters =
    R"(\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
    R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a})"
    R"(\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556})"
    R"(\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf})"
    R"(\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d})"
    R"(\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d})"
    R"(\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3})"
    R"(\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107})"
    R"(\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d})"
    R"(\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184})"
    R"(\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d})"
    R"(\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf})"
    R"(\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f})"
    R"(\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2})"
    R"(\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)";

// Kimi's Han: blocks, not the script.
const std::string kHan =
    R"(\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f})"
    R"(\x{2b820}-\x{2ceaf}\x{2ceb0}-\x{2ebef}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f})";

const std::vector<Splitter>& all() {
    const auto known = [](std::string_view theirs, std::string_view ours, bool bos = false) {
        return Splitter{theirs, ours, bos, false, false, {}};
    };
    const auto own = [](std::string_view theirs, std::vector<std::string> expressions) {
        return Splitter{theirs, "own", false, false, false, std::move(expressions)};
    };
    const auto words = [](Splitter splitter) {
        splitter.takes_words = true;
        return splitter;
    };
    const auto bos = [](Splitter splitter) {
        splitter.adds_bos = true;
        return splitter;
    };
    const auto marked = [](std::string_view theirs) {
        return Splitter{theirs, "", false, false, true, {}};
    };
    static const std::vector<Splitter> splitters{
        known("default", "default"),
        known("gpt-2", "gpt2"),
        known("phi-2", "gpt2"),
        known("jina-es", "gpt2"),
        known("jina-de", "gpt2"),
        known("jina-v2-es", "gpt2"),
        known("jina-v2-de", "gpt2"),
        known("jina-v1-en", "gpt2"),
        known("jina-v2-code", "gpt2"),
        known("roberta-bpe", "gpt2"),
        known("gigachat", "gpt2"),
        known("a.x-4.0", "gpt2"),
        known("mellum", "gpt2"),
        known("modern-bert", "gpt2"),
        known("exaone4", "gpt2"),
        known("mpt", "gpt2"),
        known("olmo", "gpt2"),
        known("jais", "gpt2"),
        known("trillion", "gpt2"),
        known("granite-docling", "gpt2"),
        known("qwen2", "qwen2"),
        known("deepseek-r1-qwen", "qwen2"),
        known("kormo", "qwen2"),
        known("f2llmv2", "qwen2"),
        known("megrez", "qwen2"),
        known("stablelm2", "qwen2"),
        known("hunyuan", "qwen2"),
        known("solar-open", "qwen2"),
        known("grok-2", "qwen2"),
        known("smollm", "smollm"),
        known("refact", "smollm"),
        known("starcoder", "smollm"),
        known("command-r", "smollm"),
        known("codeshell", "smollm"),
        known("exaone", "smollm"),
        known("minerva-7b", "smollm"),
        known("mellum2", "smollm"),
        known("llama-bpe", "llama3", true),
        known("llama3", "llama3", true),
        known("llama-v3", "llama3", true),
        known("falcon3", "llama3", true),
        known("falcon-h1", "llama3", true),
        known("pixtral", "llama3", true),
        known("midm-2.0", "llama3", true),
        known("lfm2", "llama3", true),
        known("jina-v5-nano", "llama3", true),
        known("glm4", "llama3"),
        known("glm5", "llama3"),
        known("dbrx", "cl100k"),
        known("smaug-bpe", "cl100k"),
        known("chatglm-bpe", "cl100k"),
        own("deepseek-llm",
            {R"([\r\n])", kDeepSeekLetters,
             R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3001}\x{3002}]+)",
             R"(\s+\z)", kDeepSeekCjk, R"(\p{N}+)"}),
        own("deepseek-coder",
            {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepSeekCjk, R"(\p{N})"}),
        own("deepseek-v3", {R"(\p{N}{1,3})", kCjk, kDeepSeek3}),
        own("hunyuan-dense", {R"(\p{N}{1,3})", kCjk, kDeepSeek3}),
        own("joyai-llm", {R"(\p{N}{1,3})", kCjk, kDeepSeek3}),
        own("hy_v4", {R"(\p{N}{1,3})", kCjk, kDeepSeek3}),
        own("spark2_5", {R"(\p{N}{1,3})", kCjk,
                         kPunctuated + R"(| ?[\p{P}\p{S}]+|[\r\n]|)" + kSpaces, R"(\p{N})"}),
        words(own(
            "youtu",
            {R"([\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+|[\x{ff01}\x{2026}\x{201c}\x{201d}\x{2018}\x{2019}\x{2014})"
             R"(\x{ff1a}\x{ff1b}\x{ff0c}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]+|[\x{3105}-\x{312f}]+|)" +
                 kCjk,
             cased(kMarked, kMarked, kContraction + "?") + R"(|\p{N})" + kSymbolsSlash})),
        own("falcon", {R"([\p{P}$+<=>\^~|`]+)", kGpt2, "[0-9][0-9][0-9]"}),
        own("poro-chat", {kNoStops}),
        own("bloom", {kNoStops}),
        own("gpt3-finnish", {kNoStops}),
        own("viking", {kNoStops, R"(\p{N})"}),
        bos(words(own("tekken", {kTekken}))),
        bos(own("chameleon", {"<sentinel:[0-9]+>", "(?:IMGIMG)[A-I]{1,4}Z", R"([\t\n]|    |  )",
                              R"(\p{N})", R"([\p{P}!-/:-@\[-`{-~])", kGpt2})),
        own("gpt-4o", {kO200k}),
        own("llama4", {kO200k}),
        own("kanana2", {kO200k}),
        own("talkie", {kO200k}),
        own("minimax-m2", {kO200k}),
        words(own("granite-embed-multi-97m",
                  {cased(R"([\p{L}\p{M}&&[^a-z]])", R"([\p{L}\p{M}&&[^A-Z]])", kContraction + "?") +
                   R"(|\p{N}{1,3})" + kSymbolsSlash})),
        own("tiny_aya",
            {R"([0-9]{1,3}(?=(?:[0-9]{3})*\b))",
             cased(kMarked, kMarked, kContraction + "?") + R"(|\p{N}{1,3})" + kSymbolsSlash}),
        own("cohere2moe",
            {R"([0-9]{1,3}(?=(?:[0-9]{3})*\b))",
             cased(kMarked, kMarked, kContraction + "?") + R"(|\p{N}{1,3})" + kSymbolsSlash}),
        own("kimi-k2", {"[" + kHan + "]+|" + kLead + R"([^\P{L})" + kHan + "]+" + kContraction +
                        R"(?|\p{N}{1,3})" + kSymbols}),
        own("superbpe", {R"(\p{N}+)", R"((?=(?:[0-9]{3})+(?![0-9])))"}),
        own("bailingmoe", {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" + kLead +
                           R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|)" + kSpaces}),
        own("bailingmoe2", {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" + kLead +
                            R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|)" + kSpaces}),
        own("llada-moe", {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" + kLead +
                          R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|)" + kSpaces}),
        own("seed-coder",
            {kContraction + "|" + kLead + R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+)" + kLines}),
        own("ufakzeka", {kLead + R"(\p{L}+|\p{N})" + kSymbols}),
        // Digits three at a time, counted from the end of the number.
        own("afmoe",
            {R"((?<!\p{N})\p{N}{1,2}(?=(?:\p{N}{3})++(?!\p{N}))|\p{N}{3}|\p{N}{1,2})",
             R"([\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{30ff}\x{ff65}-\x{ff9f})"
             R"(\x{2f00}-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f})"
             R"(\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+)",
             kDeepSeek3}),
        own("laguna", {R"([^\n]+|\n+)", kQwen2}),
        own("exaone-moe",
            {kContraction + "|" + kLead +
             R"((?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|)" +
             kSpaces}),
        words(own("minicpm5",
                  {R"(\p{N}{1,3})", kContraction + "|" + kLead + R"(\p{L}+|\p{N}+)" + kSymbols})),
        own("jais-2",
            {kContraction + "|" + kLead +
             R"(\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)"
             R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
             R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"}),
        known("qwen35", "qwen35"),
        marked("gemma4"),
        marked("granite-embed-multi-311m"),
        marked("sarvam-moe"),
    };
    return splitters;
}

}  // namespace

const Splitter* splitter_of(std::string_view name) {
    const auto found = std::ranges::find(all(), name, &Splitter::theirs);
    return found == all().end() ? nullptr : &*found;
}

std::vector<std::string_view> splitter_names() {
    std::vector<std::string_view> names;
    for (const Splitter& each : all())
        if (each.theirs != "default") names.push_back(each.theirs);
    return names;
}

}  // namespace llmsql
