// SPDX-License-Identifier: MIT
// A source's tokenizer, imported by itself and run: what tests compare with other tokenizers.
//
//   token_lines SOURCE [--markup] [--seconds]
//
// SOURCE is a GGUF, which need not hold tensors, a folder with tokenizer.json, or a model.db. Of
// each text on standard input, a line with its number of bytes and then those, one line of ids is
// printed;
// --markup: the text is a template's, so that control tokens are found in it; --seconds: instead of
// ids, how long all texts took.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

#include "common/error.h"
#include "importer/hf_tokenizer.h"
#include "importer/special_tokens.h"
#include "importer/tokenizer.h"
#include "runtime/text/tokenizer.h"

namespace {

namespace fs = std::filesystem;
using namespace llmsql;

void tell(const std::string& note) {
    fmt::print(stderr, "{}\n", note);
}

SourceTokenizer read(const fs::path& source) {
    if (!fs::is_directory(source)) {
        const Gguf gguf(source);
        return read_tokenizer(gguf, tell);
    }
    const HfFolder folder(source);
    const auto vocabulary = folder.number("vocab_size");
    if (!vocabulary) fail("{}: config.json has no vocab_size", source.string());
    return read_tokenizer(folder, static_cast<int64_t>(*vocabulary), tell);
}

void import(const fs::path& source, const fs::path& database) {
    SourceTokenizer tokenizer = read(source);
    settle_special_tokens(tokenizer, {}, !fs::is_directory(source), tell);
    const std::atomic<bool> canceled{false};
    ModelWriter writer(database, canceled);
    write_tokenizer(tokenizer, writer);
    writer.finish();
    writer.require_publishable();
    writer.publish();
}

void run(const fs::path& database, bool markup, bool seconds) {
    const ModelDb db(database);
    Tokenizer tokenizer(db);
    std::chrono::duration<double> taken{};
    for (std::string line; std::getline(std::cin, line);) {
        std::string text(std::stoull(line), '\0');
        std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
        std::cin.get();
        const Fragment fragment{std::move(text), markup};
        const auto began = std::chrono::steady_clock::now();
        const auto ids = tokenizer.encode(std::span(&fragment, 1), false);
        taken += std::chrono::steady_clock::now() - began;
        if (!seconds) fmt::print("{}\n", fmt::join(ids, " "));
    }
    if (seconds) fmt::print("{}\n", taken.count());
}

}  // namespace

int main(int count, char** arguments) {
    try {
        fs::path source;
        bool markup = false, seconds = false;
        for (int i = 1; i < count; ++i) {
            const std::string argument = arguments[i];
            markup |= argument == "--markup";
            seconds |= argument == "--seconds";
            if (!argument.starts_with("--")) source = argument;
        }
        if (source.extension() == ".db") {
            run(source, markup, seconds);
            return 0;
        }
        const fs::path database =
            fs::temp_directory_path() / fmt::format("llmsql-token-lines-{}.db", ::getpid());
        import(source, database);
        run(database, markup, seconds);
        fs::remove(database);
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "token_lines: {}\n", error.what());
        return 1;
    }
}
