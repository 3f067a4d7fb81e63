// SPDX-License-Identifier: MIT
// Sizes of memory, in and out.
#include "common/byte_size.h"

#include <gtest/gtest.h>

#include "common/error.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

TEST(ByteSize, Reads) {
    const auto read = [](std::string_view text) { return parse_bytes(text, "--budget"); };
    EXPECT_EQ(read("96MiB"), 96 << 20);
    EXPECT_EQ(read("96 mib"), 96 << 20);
    EXPECT_EQ(read("100MB"), 100000000);
    EXPECT_EQ(read("64KiB"), 65536);
    EXPECT_EQ(read("64kb"), 64000);
    EXPECT_EQ(read("2GiB"), int64_t{2} << 30);
    EXPECT_EQ(read("1.5GB"), 1500000000);
    EXPECT_EQ(read("30.1 MiB"), 31562137);
    EXPECT_EQ(read("12345678"), 12345678);
    EXPECT_EQ(read("7b"), 7);
    EXPECT_EQ(read("0"), 0);
    EXPECT_EQ(read("1048576 GiB"), int64_t{1} << 50);
}

TEST(ByteSize, RefusesWhatIsNone) {
    for (const std::string_view text :
         {"", "MiB", "96M", "96MiBs", "-1MiB", "+1", "1e6", "0x10", "nan", "inf", "1..5MiB", ".",
          "96  MiB", " 96MiB", "96MiB ", "1048577GiB", "99999999999999999999999", "9,5MiB", "1 2"})
        EXPECT_THROW(parse_bytes(text, "--budget"), Error) << text;
    try {
        parse_bytes("lots", "--budget");
    } catch (const Error& e) {
        EXPECT_SAYS(e.what(), "--budget lots: … 96MiB …");
    }
}

TEST(ByteSize, WritesExactly) {
    EXPECT_EQ(exact_bytes_text(96 << 20), "96 MiB");
    EXPECT_EQ(exact_bytes_text(int64_t{3} << 30), "3 GiB");
    EXPECT_EQ(exact_bytes_text(100000000), "100 MB");
    EXPECT_EQ(exact_bytes_text(65536), "64 KiB");
    EXPECT_EQ(exact_bytes_text(12345), "12345 bytes");
    EXPECT_EQ(exact_bytes_text(0), "0 bytes");
    for (const char* text : {"38.1 MiB", "20.5 MiB", "350 MB", "30.25 MiB", "100.5 MB", "7.77 GiB"})
        EXPECT_EQ(exact_bytes_text(parse_bytes(text, "it")), text);
    EXPECT_EQ(exact_bytes_text(123456789), "123456789 bytes");
    for (const int64_t bytes : {1, 999, 1000, 1024, 1536, 1000000, 1 << 20, 123456789, 5 << 20})
        if (const std::string text = exact_bytes_text(bytes); !text.ends_with("bytes")) {
            EXPECT_EQ(parse_bytes(text, "it"), bytes);
        }
}

TEST(ByteSize, WritesTenths) {
    EXPECT_EQ(mib_text(0), "0.0 MiB");
    EXPECT_EQ(mib_text(96 << 20), "96.0 MiB");
    EXPECT_EQ(mib_text((1 << 20) * 31 + 230000), "31.2 MiB");
    EXPECT_EQ(mib_text_up(1), "0.1 MiB");
    EXPECT_EQ(mib_text_up(96 << 20), "96.0 MiB");
    EXPECT_EQ(mib_text_up((96 << 20) + 1), "96.1 MiB");
    // What is written upwards is enough when it is read.
    for (int64_t bytes = 1; bytes < 1 << 26; bytes += 99991)
        EXPECT_GE(parse_bytes(mib_text_up(bytes), "it"), bytes);
}

}  // namespace
}  // namespace llmsql
