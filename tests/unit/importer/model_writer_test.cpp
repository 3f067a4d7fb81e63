// SPDX-License-Identifier: MIT
// The model database as a file: what it holds, and that a failure leaves nothing of it.
#include "importer/model_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <functional>

#include "common/error.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/sql.h"

namespace llmsql::test {
namespace {

using Files = std::vector<std::string>;

class ModelWriterTest : public testing::Test {
  protected:
    void fill(ModelWriter& writer) {
        writer.meta("model", "tiny");
        writer.meta("tokenizer.bos", int64_t{2});
        writer.param(1, {"m", WeightType::q8, {20, 40}});
        writer.param(2, {"v", WeightType::f32, {{}, 3}});
        std::vector<std::byte> strips(2 * strip_bytes(WeightType::q8, 40), std::byte{7});
        strips.back() = std::byte{8};
        writer.tile(1, 0, strips, strip_checksums(strips, 2));
        const std::vector<std::byte> vector(12, std::byte{1});
        writer.tile(2, 0, vector, strip_checksums(vector, 1));
        writer.token(0, "", 3, 0);
        writer.token(1, std::string_view("a\0b", 3), 1, -1.5);
        writer.merge(1, 1, 0, 0);
        writer.merge(1, 1, 5, 1);  // a second one of the same pair
    }

    std::filesystem::path output() const { return folder_ / "x.db"; }

    TemporaryFolder folder_;
    std::atomic<bool> canceled_ = false;
};

TEST_F(ModelWriterTest, WritesTheDocumentedTables) {
    ModelWriter writer(output(), canceled_);
    fill(writer);
    const uint64_t bytes = writer.finish();
    writer.publish();
    EXPECT_EQ(bytes, std::filesystem::file_size(output()));
    EXPECT_EQ(folder_.files(), Files{"x.db"});

    const Sql sql(output());
    EXPECT_EQ(sql.text("PRAGMA application_id"), "1819112305");
    EXPECT_EQ(sql.text("PRAGMA user_version"), "4");
    EXPECT_EQ(sql.text("PRAGMA page_size"), "65536");
    EXPECT_EQ(sql.text("PRAGMA integrity_check"), "ok");
    EXPECT_EQ(sql.text("SELECT key || '=' || value FROM llm_meta WHERE key NOT LIKE 'digest.%'"),
              "model=tiny;tokenizer.bos=2");
    EXPECT_EQ(sql.text("SELECT id, name, type, rows, cols, tile_rows FROM llm_param"),
              "1|m|q8|20|40|3824;2|v|f32|NULL|3|1");
    EXPECT_EQ(
        sql.text("SELECT id, param, first_row, length(checksums), length(data) FROM llm_tile"),
        "1|1|0|16|2176;2|2|0|8|12");
    EXPECT_EQ(sql.text("SELECT id, hex(piece), kind, score FROM llm_token"),
              "0||3|0.0;1|610062|1|-1.5");
    EXPECT_EQ(sql.text("SELECT \"left\", \"right\", rank, merged FROM llm_merge"), "1|1|0|0");
    EXPECT_EQ(sql.text("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL "
                       "ORDER BY name"),
              "llm_tile_param;llm_token_piece;llm_token_special");

    // A checksum a strip.
    std::vector<std::byte> strip(strip_bytes(WeightType::q8, 40), std::byte{7});
    uint64_t expected[2] = {hash64(strip.data(), strip.size()), 0};
    strip.back() = std::byte{8};
    expected[1] = hash64(strip.data(), strip.size());
    const std::string stored = sql.blob("SELECT checksums FROM llm_tile WHERE id = 1");
    ASSERT_EQ(stored.size(), sizeof expected);
    EXPECT_EQ(std::memcmp(stored.data(), expected, sizeof expected), 0);
}

TEST_F(ModelWriterTest, TilesAreAsManyStripsAsFillPages) {
    EXPECT_EQ(tile_rows(WeightType::f32, {{}, 1000000}), 1);
    EXPECT_EQ(tile_rows(WeightType::q8, {1000, 576}), 16 * 21);  // 26 would fit
    EXPECT_EQ(tile_rows(WeightType::f32, {1000, 4096}), 32);   // one strip alone needs a page more
    EXPECT_EQ(tile_rows(WeightType::f32, {1000, 50000}), 16);  // a strip larger than a tile
}

TEST_F(ModelWriterTest, ReplacesAnOutputOnlyWhenDone) {
    {
        ModelWriter earlier(output(), canceled_);
        fill(earlier);
        earlier.meta("source", "earlier");
        earlier.finish();
        earlier.publish();
    }
    const auto is_earlier = [&] {
        return Sql(output()).text("SELECT count(*) FROM llm_meta WHERE value = 'earlier'") == "1";
    };
    {
        ModelWriter writer(output(), canceled_);
        fill(writer);
        EXPECT_TRUE(is_earlier());
        EXPECT_EQ(folder_.files().size(), 2u);
    }
    EXPECT_EQ(folder_.files(), Files{"x.db"});
    EXPECT_TRUE(is_earlier());
    ModelWriter writer(output(), canceled_);
    fill(writer);
    writer.finish();
    writer.publish();
    EXPECT_EQ(folder_.files(), Files{"x.db"});
    EXPECT_EQ(Sql(output()).text("SELECT count(*) FROM llm_token"), "2");
    EXPECT_FALSE(is_earlier());
    struct stat info {};
    ::stat(output().c_str(), &info);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

TEST_F(ModelWriterTest, CancelingLeavesNothing) {
    // Before any write, in the middle, and before the indexes.
    for (int calls = 0; calls < 3; ++calls) {
        const std::string error = error_of([&] {
            ModelWriter writer(output(), canceled_);
            if (calls > 0) writer.meta("model", "tiny");
            if (calls > 1) writer.token(1, "a", 1, 0);
            canceled_ = true;
            writer.token(9, "x", 1, 0);
        });
        canceled_ = false;
        EXPECT_NE(error.find("interrupted"), std::string::npos) << error;
        EXPECT_EQ(folder_.files(), Files{});
    }
    const std::string error = error_of([&] {
        ModelWriter writer(output(), canceled_);
        fill(writer);
        canceled_ = true;
        writer.finish();
        writer.publish();
    });
    EXPECT_NE(error.find("interrupted"), std::string::npos) << error;
    EXPECT_EQ(folder_.files(), Files{});
}

TEST_F(ModelWriterTest, AFullDiskIsOneLineAndNoFile) {
    // A limit on the size of files stands in for the disk: each limit fails another write, the last
    // ones the indexes and the end.
    struct rlimit old {};
    ::getrlimit(RLIMIT_FSIZE, &old);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    int failures = 0;
    for (rlim_t limit = 0;; limit += 512 * 1024) {
        const struct rlimit small { limit, old.rlim_max };
        ::setrlimit(RLIMIT_FSIZE, &small);
        const std::string error = error_of([&] {
            ModelWriter writer(output(), canceled_);
            writer.param(1, {"m", WeightType::f32, {1600, 4096}});
            const std::vector<std::byte> strip(strip_bytes(WeightType::f32, 4096), std::byte{3});
            for (int64_t row = 0; row < 160; row += 16)
                writer.tile(1, row, strip, strip_checksums(strip, 1));
            writer.finish();
            writer.publish();
        });
        ::setrlimit(RLIMIT_FSIZE, &old);
        if (error.empty()) break;
        ++failures;
        EXPECT_NE(error.find("x.db: cannot write: "), std::string::npos) << error;
        EXPECT_EQ(folder_.files(), Files{}) << "at " << limit;
    }
    std::signal(SIGXFSZ, handler);
    EXPECT_GE(failures, 5);
    EXPECT_EQ(folder_.files(), Files{"x.db"});
}

TEST_F(ModelWriterTest, RefusesOutputsThatCannotBe) {
    const auto error = [&](const std::filesystem::path& path) {
        return error_of([&] { ModelWriter writer(path, canceled_); });
    };
    EXPECT_NE(error(folder_ / "").find("is a directory"), std::string::npos);
    EXPECT_NE(error(folder_ / "none/x.db").find("No such file"), std::string::npos);
    // A journal of another database would be rolled back into the new one.
    folder_.write("x.db-journal", "\xd9\xd5\x05\xf9");
    EXPECT_NE(error(output()).find("x.db-journal is beside it"), std::string::npos);
    EXPECT_EQ(folder_.files(), Files{"x.db-journal"});
    folder_.write("x.db-journal", "");
    EXPECT_EQ(error(output()), "");
}

// Checked when it is published too: meanwhile, somebody may have taken the name.
TEST_F(ModelWriterTest, ADatabaseThatHasComeMeanwhileStays) {
    ModelWriter writer(output(), canceled_);
    fill(writer);
    writer.finish();
    Sql(output()).text("CREATE TABLE note(text)");
    EXPECT_NE(error_of([&] { writer.publish(); }).find("is a database, but not a model database"),
              std::string::npos);
    EXPECT_EQ(Sql(output()).text("SELECT name FROM sqlite_master"), "note");
}

TEST_F(ModelWriterTest, DigestsSayWhoseTheRowsAre) {
    const auto digests = [&](const std::function<void(ModelWriter&)>& write) {
        ModelWriter writer(output(), canceled_);
        write(writer);
        writer.finish();
        writer.publish();
        return Sql(output()).text("SELECT value FROM llm_meta WHERE key LIKE 'digest.%'");
    };
    const std::vector<std::byte> one(12, std::byte{1}), two(12, std::byte{2});
    const auto with = [&](const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
        return digests([&](ModelWriter& writer) {
            fill(writer);
            writer.tile(3, 0, a, strip_checksums(a, 1));
            writer.tile(4, 0, b, strip_checksums(b, 1));
        });
    };
    const std::string first = with(one, two);
    EXPECT_EQ(with(one, two), first);
    EXPECT_NE(with(two, one), first);
    EXPECT_EQ(first.size(), 5u * 32 + 4);
}

}  // namespace
}  // namespace llmsql::test
