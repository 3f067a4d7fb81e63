// SPDX-License-Identifier: MIT
// Writes the first files of the corpora that are not written by hand: small files of each format,
// from which fuzzing starts. Run it where a format has changed: make_corpus tests/fuzz/corpus
#include <filesystem>
#include <fstream>
#include <iterator>

#include "importer/ggml_types.h"
#include "runtime/session/session.h"
#include "tests/faults/tiny_model_open.h"
#include "tests/fuzz/tiny_program.h"
#include "tests/fuzz/whole_model.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/safetensors_builder.h"

namespace llmsql::fuzz {
namespace {

std::filesystem::path corpus;

void put(const std::string& target, const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories(corpus / target);
    std::ofstream(corpus / target / name, std::ios::binary) << bytes;
}

test::GgufBuilder gguf(const std::string& model) {
    test::GgufBuilder builder;
    builder.text("general.architecture", "llama")
        .number("llama.block_count", 1)
        .raw_key("f64", 12, test::bytes_of(0.25))
        .text("tokenizer.ggml.model", model)
        .texts("tokenizer.ggml.tokens", {"<s>", "a", "b", "ab", "<0x0A>", "\xE2\x96\x81"})
        .integers("tokenizer.ggml.token_type", {3, 1, 1, 1, 6, 4})
        .number("tokenizer.ggml.bos_token_id", 0)
        .tensor("m", {3, 2}, 0, test::bytes_of(std::vector<float>{1, 2, 3, 4, 5, 6}))
        .tensor("e", {1, 2, 2}, 1, std::string(8, '\1'))
        .tensor("v", {32}, 8, std::string(34, 'x'));
    return builder;
}

void make_gguf() {
    put("gguf", "spm",
        gguf("llama").floats("tokenizer.ggml.scores", {0, -1, -2, -1, 0, 0}).build());
    put("gguf", "bpe",
        gguf("gpt2")
            .text("tokenizer.ggml.pre", "gpt-2")
            .texts("tokenizer.ggml.merges", {"a b"})
            .build());
    test::GgufBuilder types;  // a row of each
    for (uint32_t number = 0; number < 100; ++number)
        if (const GgmlTypeInfo* type = find_ggml_type(number))
            types.tensor(std::string(type->name), {static_cast<uint64_t>(type->block_weights)},
                         number, std::string(static_cast<size_t>(type->block_bytes), '\3'));
    put("gguf", "types", types.build());
}

void make_safetensors() {
    test::SafetensorsBuilder builder;
    builder.tensor("a", "F32", {2, 1}, std::string(8, '\0')).tensor("b", "BF16", {1}, "xy");
    put("safetensors", "two", builder.build());
    put("safetensors", "empty", test::SafetensorsBuilder().tensor("e", "F16", {0, 3}, "").build());
}

void make_plans() {
    const std::string whole = plan_start() + std::string(kPlanEnd);
    put("plan", "whole", whole);
    std::string streamed = plan_start("q8");
    std::string rows;
    for (int param = 1; param <= 19; ++param) {
        const bool vector = param == 2 || (param >= 6 && param <= 8) || param == 19;
        rows += fmt::format("{}({}, 0, 0, {})", param > 1 ? ", " : "", param, vector ? 1 : 0);
    }
    const std::string before = "CREATE VIRTUAL TABLE temp.tensor";
    streamed.insert(streamed.find(before),
                    "CREATE VIRTUAL TABLE temp.residency USING llm_residency(budget=268435456, "
                    "pool=65536, windows=0, workers=1);\n"
                    "INSERT INTO residency(param, first_tile, last_tile, held) VALUES " +
                        rows + ";\n");
    put("plan", "streamed", streamed + std::string(kPlanEnd));
}

void make_model_db() {
    const Folder folder;
    whole_model().write(folder / "model.db", 512);
    sqlite3* db = nullptr;
    sqlite3_open((folder / "model.db").c_str(), &db);
    test::TinyModel::run(db, kWholeModelTokens);
    sqlite3_close(db);
    std::ifstream file(folder / "model.db", std::ios::binary);
    put("model_db", "whole", {std::istreambuf_iterator<char>(file), {}});
}

// A text whose answer was left off, and a conversation whose answer is whole, each in pages that
// are small for a session file, as corpora should be.
void make_sessions() {
    for (const SessionKind kind : {SessionKind::text, SessionKind::chat}) {
        const Folder folder;
        faults::write_tiny_files(folder / "", false);
        faults::OpenTinyModel model(folder / "");
        model.generator->set_options(faults::tiny_options(kind == SessionKind::text ? 36 : 8));
        SessionChoice choice;
        choice.file = folder / "session.db";
        choice.commit_every = 4;
        {
            Session session(choice, kind, model.program, model.program.chat(), model.tokenizer,
                            *model.generator);
            session.say("abcabc fgh abcdefgh");
            for (int i = 0; i < 20; ++i)
                if (!session.next()) break;
            if (kind == SessionKind::chat) session.finish();
        }
        sqlite3* db = nullptr;
        sqlite3_open(choice.file.c_str(), &db);
        test::TinyModel::run(db, "PRAGMA page_size = 512; VACUUM");
        sqlite3_close(db);
        put("session", kind == SessionKind::text ? "text" : "chat",
            faults::content_of(choice.file));
    }
}

}  // namespace
}  // namespace llmsql::fuzz

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: make_corpus FOLDER\n");
        return 1;
    }
    llmsql::fuzz::corpus = argv[1];
    llmsql::fuzz::make_gguf();
    llmsql::fuzz::make_safetensors();
    llmsql::fuzz::make_plans();
    llmsql::fuzz::make_model_db();
    llmsql::fuzz::make_sessions();
    return 0;
}
