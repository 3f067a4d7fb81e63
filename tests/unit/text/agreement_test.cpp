// SPDX-License-Identifier: MIT
// Agreement with other tokenizers on the real models' vocabularies: what they made of
// tests/fixtures/tokens/texts.txt was recorded by tests/reference/record_tokens.py. Each test needs
// an imported model.db, named by an environment variable, and is skipped without.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "common/error.h"
#include "common/files.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {
namespace {

const std::string kFolder = LLMSQL_SOURCE_DIR "/tests/fixtures/tokens/";

/// "name: rest" lines.
std::map<std::string, std::string> read_lines(const std::string& file) {
    std::map<std::string, std::string> lines;
    std::istringstream in(read_file(kFolder + file));
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line[0] == '#') continue;
        const size_t colon = line.find(": ");
        lines[line.substr(0, colon)] = line.substr(colon + 2);
    }
    return lines;
}

/// \n \r \t \\ and \xNN.
std::string unescape(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            out += text[i];
            continue;
        }
        switch (text.at(++i)) {
            case 'n':
                out += '\n';
                break;
            case 'r':
                out += '\r';
                break;
            case 't':
                out += '\t';
                break;
            case 'x':
                out += static_cast<char>(std::stoi(text.substr(i + 1, 2), nullptr, 16));
                i += 2;
                break;
            default:
                out += text[i];
        }
    }
    return out;
}

void agree(const char* variable, const std::string& recording) {
    const char* path = std::getenv(variable);
    if (!path || !*path)
        GTEST_SKIP() << "set " << variable << " to the imported model.db to compare " << recording;
    const ModelDb db(path);
    Tokenizer tokenizer(db);
    const auto recorded = read_lines(recording);
    const auto texts = read_lines("texts.txt");
    ASSERT_EQ(recorded.size(), texts.size());
    for (const auto& [name, escaped] : texts) {
        SCOPED_TRACE(name);
        const Fragment fragment{unescape(escaped), name.starts_with("markup:")};
        const uint64_t left_out = tokenizer.bytes_left_out();
        const auto ids = tokenizer.encode(std::span(&fragment, 1), true);
        std::string line;
        std::string text;
        for (const int32_t id : ids) {
            line += fmt::format("{}{}", line.empty() ? "" : " ", id);
            text += tokenizer.text_of(id);
        }
        EXPECT_EQ(line, recorded.at(name));
        if (tokenizer.adds_start_token())
            text.erase(0, tokenizer.text_of(*tokenizer.start_token()).size());
        // SentencePiece takes U+2581 itself, which one text has, for a space.
        if (tokenizer.bytes_left_out() == left_out && name != "control_lookalikes") {
            EXPECT_EQ(text, fragment.text);
        }
    }
}

TEST(Agreement, SmolLM2) {
    agree("LLMSQL_SMOLLM2_DB", "smollm2.txt");
}
TEST(Agreement, Qwen25) {
    agree("LLMSQL_QWEN25_DB", "qwen2.5.txt");
}
TEST(Agreement, Gemma3) {
    agree("LLMSQL_GEMMA3_DB", "gemma3.txt");
}

}  // namespace
}  // namespace llmsql
