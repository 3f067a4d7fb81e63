// SPDX-License-Identifier: MIT
// What a source is, and what makes it another one.
#include "driver/source.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <set>

#include "tests/unit/error_of.h"
#include "tests/unit/says.h"
#include "tests/unit/temporary_folder.h"

namespace llmsql::driver {
namespace {

using test::error_of;

namespace fs = std::filesystem;

const std::string kBody(2 << 20, 'x');

/// A database's first bytes, with an application_id.
std::string database(std::string_view id) {
    std::string bytes = "SQLite format 3";
    bytes.resize(200);
    bytes.replace(68, 4, id);
    return bytes;
}

TEST(Source, KindsAreToldByWhatIsInThem) {
    const test::TemporaryFolder folder;
    EXPECT_EQ(identify(folder.write("a.bin", "GGUF" + kBody)).kind, SourceKind::gguf);
    EXPECT_EQ(identify(folder.write("b.gguf", database("lmsq"))).kind, SourceKind::database);
    folder.write("hf/config.json", "{}");
    EXPECT_EQ(identify(folder / "hf").kind, SourceKind::folder);
    EXPECT_EQ(identify(folder / "hf/").path, fs::canonical(folder / "hf"));

    EXPECT_SAYS(error_of([&] { identify(folder / "none.gguf"); }), "…none.gguf: …");
    EXPECT_SAYS(error_of([&] { identify(folder.path()); }), "… config.json …");
    EXPECT_SAYS(error_of([&] { identify(folder.write("c.db", database("othr"))); }),
                "…c.db: … SQLite … model…");
    EXPECT_SAYS(error_of([&] { identify(folder.write("d", "")); }), "…d: … GGUF …");
    EXPECT_SAYS(error_of([&] { identify(folder.write("e", "GGU")); }), "…e: … GGUF …");
    EXPECT_SAYS(error_of([&] { identify(folder.write("f", "SQLite format 3")); }), "…f: … GGUF …");
}

TEST(Source, AnyChangeMakesAnother) {
    const test::TemporaryFolder folder;
    const fs::path file = folder.write("a.gguf", "GGUF" + kBody);
    const auto now = fs::last_write_time(file);
    const std::string first = identify(file).identity;
    EXPECT_EQ(identify(file).identity, first);
    fs::create_symlink(file, folder / "link");
    EXPECT_EQ(identify(folder / "link").path, identify(file).path);
    EXPECT_EQ(identify(folder / "link").identity, first);

    fs::last_write_time(file, now + std::chrono::nanoseconds(1000));
    EXPECT_NE(identify(file).identity, first);
    fs::last_write_time(file, now);
    EXPECT_EQ(identify(file).identity, first);
    folder.write("a.gguf", "GGUF" + kBody + "x");
    fs::last_write_time(file, now);
    EXPECT_NE(identify(file).identity, first);
    folder.write("a.gguf", "GGUFy" + kBody.substr(1));
    fs::last_write_time(file, now);
    EXPECT_NE(identify(file).identity, first);
}

TEST(Source, OfASplitModelAllPartsCount) {
    const test::TemporaryFolder folder;
    const fs::path one = folder.write("m-00001-of-00002.gguf", "GGUF1");
    const fs::path two = folder.write("m-00002-of-00002.gguf", "GGUF2");
    folder.write("m-00001-of-00003.gguf", "GGUF of another");
    folder.write("n-00001-of-00002.gguf", "GGUF of another");
    const IdentifiedSource first = identify(one);
    EXPECT_EQ(identify(two).identity, first.identity);
    EXPECT_EQ(identify(two).path, first.path);
    folder.write("m-00002-of-00002.gguf", "GGUF3");
    EXPECT_NE(identify(one).identity, first.identity);
}

TEST(Source, OfAFolderAllFilesOfTheModelCount) {
    const test::TemporaryFolder folder;
    for (const char* name : {"config.json", "model.safetensors", "tokenizer.json",
                             "chat_template.jinja", "tokenizer.model", "merges.txt"})
        folder.write(name, name);
    std::set<std::string> seen = {identify(folder.path()).identity};
    folder.write("README.md", "nothing of the model");
    EXPECT_EQ(identify(folder.path()).identity, *seen.begin());
    for (const std::string& name : folder.files()) {
        if (name == "README.md") continue;
        folder.write(name, "changed");
        EXPECT_TRUE(seen.insert(identify(folder.path()).identity).second) << name;
    }
    folder.write("model-2.safetensors", "");
    EXPECT_TRUE(seen.insert(identify(folder.path()).identity).second);
}

TEST(Source, KeysStandForEachTextByItself) {
    const auto key = [](const std::vector<std::string>& texts) { return key_of(texts); };
    const std::set<std::string> keys = {key({}),          key({""}),    key({"ab", "c"}),
                                        key({"a", "bc"}), key({"abc"}), key({"c", "ab"})};
    EXPECT_EQ(keys.size(), 6u);
    for (const std::string& each : keys) EXPECT_EQ(each.size(), 32u);
    EXPECT_EQ(key({"ab", "c"}), key({"ab", "c"}));
}

}  // namespace
}  // namespace llmsql::driver
