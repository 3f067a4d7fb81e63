// SPDX-License-Identifier: MIT
// Fuzz target: the tokenizer.json of a Hugging Face folder, brought into a model.db and used.
#include "importer/hf_tokenizer.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizers.h"

namespace llmsql::fuzz {
namespace {

const Folder& folder_of_a_model() {
    static const Folder folder;
    static const bool written = [] {
        folder.write("config.json",
                     R"({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": true})");
        const std::string header =
            R"({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})";
        const uint64_t length = header.size();
        std::string file(reinterpret_cast<const char*>(&length), sizeof length);
        file.append(header).append(4, '\0');
        folder.write("model.safetensors", file);
        return true;
    }();
    static_cast<void>(written);
    return folder;
}

}  // namespace
}  // namespace llmsql::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql;
    using namespace llmsql::fuzz;
    const Folder& folder = folder_of_a_model();
    folder.write("tokenizer.json", text_of(data, size));
    static const HfFolder source(folder / "");
    answers([&] {
        const SourceTokenizer tokenizer = read_tokenizer(source, 300, [](const std::string&) {});
        ++accepted;
        use_tokenizer(folder, tokenizer);
    });
    return 0;
}
