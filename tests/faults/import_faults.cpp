// SPDX-License-Identifier: MIT
// Imports, over files that were there before.
#include <atomic>
#include <cmath>

#include "common/error.h"
#include "importer/import.h"
#include "tests/faults/scenario.h"
#include "tests/unit/importer/safetensors_builder.h"

namespace llmsql::faults {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGraph = R"(graph tiny @gguf("tiny") @hf("TinyForCausalLM") {
  dim d       @gguf("tiny.embedding_length")   @hf("hidden_size");
  dim n_layer @gguf("tiny.block_count")        @hf("num_hidden_layers");
  dim n_vocab @gguf(rows("token_embd.weight")) @hf("vocab_size");
  param token_embd : [n_vocab, d] @gguf("token_embd.weight") @hf("model.embed_tokens.weight");
  block layer[n_layer] {
    param norm : [d]    @gguf("blk.{i}.norm.weight") @hf("model.layers.{i}.norm.weight");
    param up   : [d, d] @gguf("blk.{i}.up.weight")   @hf("model.layers.{i}.up.weight");
  }
  forward(tokens: i32[T]) -> f32[T, n_vocab] {
    x = embed(token_embd, tokens);
    for l in layer { x = x + linear(rms_norm(x, l.norm, 1e-5), l.up); }
    return linear(x, token_embd);
  }
}
)";

class Import : public Scenario {
  public:
    Import(const fs::path& source, const fs::path& folder) {
        options_.source = source;
        options_.output = folder / "model.db";
        options_.write_model = folder / "model.toml";
        // A small graph, as parsing takes most of the time.
        fs::create_directory(folder / "graphs");
        put(folder / "graphs" / "tiny.graph", kGraph);
        options_.graph_dirs = {folder / "graphs"};
        options_.name = "before";
        run();
        before_ = files();
        options_.name = "after";
        run();
        after_ = files();
        require(before_.database != after_.database && before_.model != after_.model,
                "two imports are to differ");
    }

    void prepare() override {
        put(options_.output, before_.database);
        put(*options_.write_model, before_.model);
    }
    void run() override {
        import_model(options_, {.note = [](const std::string&) {},
                                .progress = [](uint64_t, uint64_t) {},
                                .canceled = &canceled_});
    }
    bool may_end() const override { return true; }
    void check(bool failed) override {
        const Files now = files();
        require(now.database == (failed ? before_ : after_).database,
                failed ? "the database is not what was there before"
                       : "the database is not what it is without a fault");
        // Where the last step fails, the model file has been renamed already.
        require(now.model == after_.model || (failed && now.model == before_.model),
                "the model file is neither the old one nor the new one");
    }

  private:
    struct Files {
        std::string database, model;
    };
    Files files() const { return {content_of(options_.output), content_of(*options_.write_model)}; }

    ImportOptions options_;
    std::atomic<bool> canceled_ = false;
    Files before_, after_;
};

constexpr const char* kConfig = R"({"architectures": ["TinyForCausalLM"], "model_type": "tiny",
 "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 48})";

constexpr const char* kTokenizer =
    R"({"added_tokens": [{"id": 4, "content": "<s>", "special": true, "normalized": false},
  {"id": 5, "content": "</s>", "special": true, "normalized": false}],
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
 "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": ["a b"]}})";

/// f32 of so many elements.
std::string some_values(size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i + count));
    return test::bytes_of(values);
}

std::string tiny_safetensors() {
    test::SafetensorsBuilder builder;
    builder.tensor("model.embed_tokens.weight", "F32", {48, 32}, some_values(48 * 32));
    for (const std::string layer : {"model.layers.0.", "model.layers.1."})
        builder.tensor(layer + "norm.weight", "F32", {32}, some_values(32))
            .tensor(layer + "up.weight", "F32", {32, 32}, some_values(32 * 32));
    return builder.build();
}

std::string tiny_gguf() {
    std::vector<std::string> tokens{"<s>", "</s>", "a", "b", "ab"};
    std::vector<int32_t> kinds{3, 3, 1, 1, 1};
    while (tokens.size() < 48) {
        tokens.push_back(fmt::format("t{}", tokens.size()));
        kinds.push_back(1);
    }
    test::GgufBuilder builder;
    builder.text("general.architecture", "tiny")
        .number("tiny.embedding_length", 32)
        .number("tiny.block_count", 2)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", tokens)
        .integers("tokenizer.ggml.token_type", kinds)
        .texts("tokenizer.ggml.merges", {"a b"})
        .number("tokenizer.ggml.bos_token_id", 0)
        .number("tokenizer.ggml.eos_token_id", 1)
        .tensor("token_embd.weight", {32, 48}, 0, some_values(48 * 32));
    for (const std::string layer : {"blk.0.", "blk.1."})
        builder.tensor(layer + "norm.weight", {32}, 0, some_values(32))
            .tensor(layer + "up.weight", {32, 32}, 0, some_values(32 * 32));
    return builder.build();
}

}  // namespace

std::unique_ptr<Scenario> import_gguf(const fs::path& folder) {
    put(folder / "source.gguf", tiny_gguf());
    return std::make_unique<Import>(folder / "source.gguf", folder);
}

std::unique_ptr<Scenario> import_folder(const fs::path& folder) {
    const fs::path source = folder / "source";
    fs::create_directory(source);
    put(source / "config.json", kConfig);
    put(source / "tokenizer.json", kTokenizer);
    put(source / "tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
    put(source / "generation_config.json", R"({"bos_token_id": 4, "eos_token_id": 5})");
    put(source / "model.safetensors", tiny_safetensors());
    return std::make_unique<Import>(source, folder);
}

}  // namespace llmsql::faults
