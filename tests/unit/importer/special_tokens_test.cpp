// SPDX-License-Identifier: MIT
// Ends and marks of turns: by what the source says, by name, by the template.
#include "importer/special_tokens.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace llmsql::test {
namespace {

using Pieces = std::vector<std::string>;

class SpecialTokens : public testing::Test {
  protected:
    void SetUp() override { restart(); }
    int64_t add(std::string_view text, PieceKind kind) {
        const int64_t id = tokenizer_.tokens.size();
        tokenizer_.tokens.set(id, text, kind, 0);
        return id;
    }
    void settle(const std::vector<std::string_view>& templates = {}, bool of_gguf = true) {
        notes_.clear();
        settle_special_tokens(tokenizer_, templates, of_gguf,
                              [this](const std::string& line) { notes_.push_back(line); });
    }
    PieceKind kind(int64_t id) const { return tokenizer_.tokens.kind(id); }

    void restart() {
        tokenizer_ = {};
        tokenizer_.spec = {"bpe", "gpt2"};
    }

    SourceTokenizer tokenizer_;
    std::vector<std::string> notes_;
};

TEST_F(SpecialTokens, EveryKeyNamesAnEnd) {
    tokenizer_.eos = add("<stop/>", PieceKind::control);
    tokenizer_.ends = {add("<turn/>", PieceKind::control), add("<more/>", PieceKind::control)};
    add("<other/>", PieceKind::control);
    settle();
    EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{0, 1, 2}));
    EXPECT_EQ(stop_pieces(tokenizer_), (Pieces{"<stop/>", "<turn/>", "<more/>"}));
    EXPECT_TRUE(notes_.empty());
}

TEST_F(SpecialTokens, NamesOfEndsAreEndsWhateverTheyAreCalled) {
    const char* const ends[] = {"<|eot_id|>",
                                "<|im_end|>",
                                "<|end|>",
                                "<|return|>",
                                "<|call|>",
                                "<|flush|>",
                                "<|calls|>",
                                "<end_of_turn>",
                                "<|endoftext|>",
                                "</s>",
                                "<|eom_id|>",
                                "<EOT>",
                                "_<EOT>",
                                "[EOT]",
                                "[EOS]",
                                "<eos>",
                                "<turn|>",
                                "<|end_of_text|>",
                                "<end_of_utterance>",
                                "<｜end▁of▁sentence｜>",
                                "[e~["};
    for (const char* end : ends)
        for (const PieceKind kind :
             {PieceKind::normal, PieceKind::control, PieceKind::user_defined, PieceKind::unused}) {
            restart();
            tokenizer_.spec = {"spm", ""};
            add("a", PieceKind::normal);
            const int64_t id = add(end, kind);
            settle();
            EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{id})) << end;
            EXPECT_EQ(this->kind(id), PieceKind::control) << end;
            EXPECT_EQ(stop_pieces(tokenizer_),
                      end == std::string_view("</s>") ? Pieces{} : Pieces{end});
            EXPECT_EQ(notes_.size(), kind == PieceKind::control ? 0u : 1u) << end;
        }
}

TEST_F(SpecialTokens, MarksOfCodeEndGenerationButAreNoStops) {
    for (const char* end :
         {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>",
          "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", "<|file_sep|>"})
        add(end, PieceKind::control);
    tokenizer_.eos = add("<|endoftext|>", PieceKind::control);
    settle();
    EXPECT_EQ(tokenizer_.ends.size(), 12u);
    EXPECT_EQ(stop_pieces(tokenizer_), (Pieces{"<|endoftext|>"}));
}

TEST_F(SpecialTokens, MarksOfCodeThatTheSourceNamesAreThoseAlone) {
    const int64_t named = add("<named>", PieceKind::control),
                  spelt = add("<|file_sep|>", PieceKind::user_defined),
                  other = add("<|fim_pad|>", PieceKind::user_defined);
    tokenizer_.ends = {named};
    tokenizer_.names_fill = {false, false, true};
    settle();
    EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{named, other}));
    EXPECT_EQ(kind(spelt), PieceKind::user_defined);
}

TEST_F(SpecialTokens, AMessageOfGptOssGoesOn) {
    const int64_t end = add("<|end|>", PieceKind::control);
    const int64_t result = add("<|return|>", PieceKind::control);
    settle();
    EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{end, result}));
    tokenizer_.ends.clear();
    const int64_t call = add("<|call|>", PieceKind::control);
    settle();
    EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{result, call}));
    EXPECT_EQ(kind(end), PieceKind::control);
}

TEST_F(SpecialTokens, ModelsWithStruckTextHaveAPlainS) {
    const int64_t s = add("</s>", PieceKind::control);
    add("<|tool_response>", PieceKind::control);
    settle();
    EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{1}));
    EXPECT_EQ(kind(s), PieceKind::normal);
}

TEST_F(SpecialTokens, MarksOfTurnsAreControlTokens) {
    for (const PieceKind kind :
         {PieceKind::normal, PieceKind::user_defined, PieceKind::unused, PieceKind::control}) {
        restart();
        const int64_t known = add("<|im_start|>", kind), header = add("<|start_header_id|>", kind),
                      inst = add("[INST]", kind), of_template = add("<<turn of>>", kind),
                      plain = add("<peer>", kind), elsewhere = add("<elsewhere>", kind);
        // As a Jinja text and a query have it.
        settle({"{{ '<peer>' + message.role }}",
                "SELECT '<<turn of>>' || role, content FROM message"});
        for (const int64_t id : {known, header, inst, plain})
            EXPECT_EQ(this->kind(id), PieceKind::control) << id;
        EXPECT_EQ(this->kind(elsewhere), kind);
        // What is called normal must look like a mark.
        EXPECT_EQ(this->kind(of_template), kind == PieceKind::normal ? kind : PieceKind::control);
        EXPECT_TRUE(tokenizer_.ends.empty());
        EXPECT_EQ(notes_.size(), kind == PieceKind::control ? 0u : 1u);
    }
}

TEST_F(SpecialTokens, WhatStandsWithinATurnKeepsItsKind) {
    constexpr std::string_view kTemplate =
        "<think></think><tool_call></tool_call><tool_response><|thought|><arg_key>user\n\n  ";
    const Pieces within{
        "<think>",     "</think>",  "<tool_call>", "</tool_call>", "<tool_response>",
        "<|thought|>", "<arg_key>", "\n\n",        "  ",           "user"};
    for (const PieceKind kind : {PieceKind::normal, PieceKind::user_defined}) {
        restart();
        for (const std::string& text : within) add(text, kind);
        settle({kTemplate});
        for (int64_t id = 0; id < tokenizer_.tokens.size(); ++id)
            EXPECT_EQ(this->kind(id), kind) << tokenizer_.tokens.text(id);
        EXPECT_TRUE(notes_.empty());
    }
}

TEST_F(SpecialTokens, AWordOfMergesIsNoMarkThoughTheTemplateHasIt) {
    const int64_t left = add("<di", PieceKind::normal), right = add("v>", PieceKind::normal),
                  merged = add("<div>", PieceKind::normal);
    tokenizer_.merges = {{left, right, 0, merged}};
    settle({"<div>{{ message.content }}</div>"});
    EXPECT_EQ(kind(merged), PieceKind::normal);
}

TEST_F(SpecialTokens, AnEndThatIsALetterStaysOne) {
    tokenizer_.eos = add("\u010a", PieceKind::normal);  // a line feed, as GPT-2 spells it
    tokenizer_.ends = {add("<0x0A>", PieceKind::byte)};
    settle();
    EXPECT_EQ(tokenizer_.ends, (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(kind(0), PieceKind::normal);
    EXPECT_EQ(kind(1), PieceKind::byte);
    EXPECT_TRUE(notes_.empty());
}

TEST_F(SpecialTokens, CodeToFillInIsMarkedInGgufsOnly) {
    const int64_t prefix = add("<|fim_prefix|>", PieceKind::user_defined);
    settle({}, false);
    EXPECT_EQ(kind(prefix), PieceKind::user_defined);
    settle({}, true);
    EXPECT_EQ(kind(prefix), PieceKind::control);
}

TEST_F(SpecialTokens, StopsThatAModelFileCannotSpellAreLeftOut) {
    tokenizer_.ends = {add(std::string_view("a\0b", 3), PieceKind::control),
                       add("\xff<end>", PieceKind::control), add("<end>", PieceKind::control)};
    settle();
    EXPECT_EQ(tokenizer_.ends.size(), 3u);
    EXPECT_EQ(stop_pieces(tokenizer_), (Pieces{"<end>"}));
}

TEST_F(SpecialTokens, AMillionMarksInAMegabyte) {
    // 200,000 tokens that the template might write, which is looked through once.
    for (int i = 0; i < 200'000; ++i) add(fmt::format("<{:038}>", i), PieceKind::user_defined);
    std::string text;
    while (text.size() < 1'000'000) text += "<00000000000000000000000000000000000000>";
    settle({text});
    EXPECT_EQ(kind(0), PieceKind::control);
    EXPECT_EQ(kind(1), PieceKind::user_defined);
}

}  // namespace
}  // namespace llmsql::test
