// SPDX-License-Identifier: MIT
// JSON within limits: what is kept, what is taken, what is refused.
#include "importer/json.h"

#include <gtest/gtest.h>

#include "tests/unit/error_of.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

std::string error_for(const std::string& text, const JsonLimits& limits = {}) {
    return error_of([&] { parse_json(text, "x.json", limits); });
}

TEST(JsonText, IsWhatAParserMakesOfIt) {
    for (const char* text :
         {"null", "[]", "{}", "[[],[{}],[[1,2],[3]]]", R"({"a":{"b":[1,-2,3.5,"x",true,null]}})",
          R"({"a":[{"b":1,"c":[]},{"b":2}],"d":"\u00e9"})"})
        EXPECT_EQ(parse_json(text, "x"), Json::parse(text)) << text;
}

TEST(JsonText, GivesValuesAwayByTheirPath) {
    std::vector<std::string> seen;
    JsonLimits limits;
    limits.values = 12;
    limits.take = [&](const JsonPath& path, Json& value) {
        if (path.size() != 3 || path[0] != "m") return false;
        seen.push_back(path[1] + "/" + path[2] + "=" + value.dump());
        return true;
    };
    std::string many;
    for (int i = 0; i < 100; ++i) many += ",[\"p\",\"q\"]";
    const Json kept = parse_json(R"({"m":{"v":{"x":1,"y":{"z":[2]}},"w":["a b",["c","d"])" + many +
                                     R"(],"n":5},"o":[{"q":1}]})",
                                 "x", limits);
    EXPECT_EQ(kept, Json::parse(R"({"m":{"v":{},"w":[],"n":5},"o":[{"q":1}]})"));
    ASSERT_EQ(seen.size(), 104u);
    EXPECT_EQ(seen[0], "v/x=1");
    EXPECT_EQ(seen[1], "v/y={\"z\":[2]}");
    EXPECT_EQ(seen[2], "w/=\"a b\"");
    EXPECT_EQ(seen[3], "w/=[\"c\",\"d\"]");
}

TEST(JsonText, HasLimits) {
    EXPECT_CONTAINS(error_for(R"({"a":1,"b":2,"a":3})"), "x.json: has the name \"a\" twice");
    EXPECT_EQ(error_for(std::string(32, '[') + std::string(32, ']')), "");
    EXPECT_CONTAINS(error_for(std::string(33, '[') + std::string(33, ']')), "nested more than 32");
    EXPECT_CONTAINS(error_for("[1,2,3]", {.values = 3}), "more than the 3 values");
    EXPECT_CONTAINS(error_for("[1,2,3]", {.bytes = 6}), "7 bytes of JSON, more than the 6");
    EXPECT_CONTAINS(error_for("{\"a\": tru}"), "x.json: is not valid JSON, at byte");
    EXPECT_CONTAINS(error_for(""), "is not valid JSON");
    EXPECT_CONTAINS(error_for(std::string("[]\0]", 4)), "at byte 3: a zero byte");
    EXPECT_CONTAINS(error_for("[1e400]"), "is not valid JSON");
    EXPECT_EQ(error_for("[\"" + std::string(100000, 'x') + "\\q\"]").find('\n'), std::string::npos);
    EXPECT_LT(error_for("[\"" + std::string(100000, 'x') + "\\q\"]").size(), 300u);
}

}  // namespace
}  // namespace llmsql::test
