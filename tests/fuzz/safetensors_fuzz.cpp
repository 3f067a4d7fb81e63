// SPDX-License-Identifier: MIT
// Fuzz target: a safetensors file.
#include "importer/safetensors.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql;
    using namespace llmsql::fuzz;
    static const Folder folder;
    const auto path = folder.write("x.safetensors", text_of(data, size));
    answers([&] {
        const RandomAccessFile file(path);
        const std::vector<SourceTensor> tensors = read_safetensors(file);
        ++accepted;
        for (const SourceTensor& tensor : tensors) {
            if (tensor.bytes > size) finding("a tensor that is larger than its file");
            std::string bytes(tensor.bytes, '\0');
            file.read(tensor.offset, bytes.data(), bytes.size());
        }
    });
    return 0;
}
