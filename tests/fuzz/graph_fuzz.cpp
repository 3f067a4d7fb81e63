// SPDX-License-Identifier: MIT
// Fuzz target: a graph file, parsed and checked; and what is made of it for a model's metadata.
#include "compiler/load/load.h"

#include <algorithm>

#include "tests/fuzz/fuzz.h"

namespace {

// A graph must be in a file of its name, or of any other to be told so.
std::string file_name(std::string_view text) {
    const size_t at = text.rfind("\ngraph ");
    std::string name(at == std::string_view::npos ? "" : text.substr(at + 7, 20));
    name.resize(
        std::min(name.size(), name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_")));
    return (name.empty() ? "fuzz" : name) + ".graph";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql;
    using namespace llmsql::compiler;
    using namespace llmsql::fuzz;
    static const Folder folder;
    const auto path = folder.write(file_name(text_of(data, size)), text_of(data, size));
    answers([&] { static_cast<void>(ast_text(path)); }, false);
    answers(
        [&] {
            check_graph_file(path);
            ++accepted;
        },
        false);
    SourceMetadata metadata;
    metadata.architecture = path.stem().string();
    metadata.number = [](const std::string& key) {
        return static_cast<double>(key.size() % 7 + 1);
    };
    metadata.text = [](const std::string&) { return std::nullopt; };
    metadata.keys = [] { return std::vector<std::string>{"a", "b"}; };
    metadata.shape = [](const std::string&) { return std::vector<int64_t>{8, 8}; };
    answers([&] { static_cast<void>(model_from_source(path, metadata, "fuzz")); }, false);
    return 0;
}
