// SPDX-License-Identifier: MIT
// Fuzz target: a GGUF file. Its metadata, directory and rows are read, and a tokenizer that it has
// is brought into a model.db and used.
#include "importer/gguf.h"

#include <algorithm>

#include "importer/chat.h"
#include "importer/special_tokens.h"
#include "importer/store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tokenizers.h"

namespace llmsql::fuzz {
namespace {

void read_arrays(const Gguf& gguf) {
    for (const std::string& key : gguf.keys()) {
        static_cast<void>(gguf.number(key));
        answers([&] { static_cast<void>(gguf.text(key)); });
        answers([&] { static_cast<void>(gguf.flag(key)); });
        answers([&] {
            GgufArrayReader reader(gguf, gguf.array(key).value(), key);
            for (uint64_t i = 0; i < std::min<uint64_t>(reader.count(), 100); ++i)
                gguf.array(key)->type == GgufValueType::string
                    ? static_cast<void>(reader.next_string())
                    : static_cast<void>(reader.next_number());
        });
    }
}

// Each tensor as a parameter of just its shape, plain and with each transform.
void read_rows(const Gguf& gguf) {
    for (const SourceTensor& tensor : gguf.tensors()) {
        for (const char* transform : {"", "unpermute", "plus"}) {
            Param param;
            param.name = "p";
            if (tensor.shape.size() > 1) param.shape.rows = tensor.shape[tensor.shape.size() - 2];
            param.shape.cols = tensor.shape.back();
            ParamSource source{tensor.name, {}, {}, 1, {}};
            if (*transform) source.transforms.push_back({transform, {1}});
            if (tensor.shape.size() == 3) {
                source.part = tensor.shape[0] - 1;
                source.parts = tensor.shape[0];
            }
            param.gguf = source;
            answers([&] {
                const RowSource rows(gguf, param);
                RowSource::Buffer buffer;
                if (param.shape.is_vector())
                    rows.read(0, 1, buffer);
                else
                    rows.read(*param.shape.rows - 1, 1, buffer);
                rows.fits_f16();
            });
        }
    }
}

}  // namespace
}  // namespace llmsql::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql;
    using namespace llmsql::fuzz;
    static const Folder folder;
    const auto path = folder.write("x.gguf", text_of(data, size));
    answers([&] {
        const Gguf gguf(path);
        ++accepted;
        read_arrays(gguf);
        read_rows(gguf);
        const Note note = [](const std::string&) {};
        SourceTokenizer tokenizer = read_tokenizer(gguf, note);
        const auto jinja = checked_template(gguf.text("tokenizer.chat_template"), nullptr, note);
        settle_special_tokens(tokenizer, {jinja.value_or("")}, true, note);
        chat_of(
            jinja, tokenizer, [] { return ""; }, note);
        use_tokenizer(folder, tokenizer);
    });
    return 0;
}
