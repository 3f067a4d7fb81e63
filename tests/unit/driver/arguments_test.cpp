// SPDX-License-Identifier: MIT
// Which program an option of `llmsql run` is for.
#include "driver/arguments.h"

#include <gtest/gtest.h>

#include "tests/unit/error_of.h"
#include "tests/unit/says.h"

namespace llmsql::driver {
namespace {

using test::error_of;

using Words = std::vector<std::string>;

RunRequest read(const Words& words) {
    return read_request(words);
}

TEST(Arguments, SourceStandsAnywhere) {
    for (const Words& words : {Words{"m.gguf", "-p", "a b", "--chat", "-n", "3"},
                               Words{"-p", "a b", "--chat", "m.gguf", "-n", "3"},
                               Words{"-p", "a b", "--chat", "-n", "3", "--", "m.gguf"}}) {
        const RunRequest request = read(words);
        EXPECT_EQ(request.source, "m.gguf");
        EXPECT_EQ(request.run_options, (Words{"-p", "a b", "--chat", "-n", "3"}));
        EXPECT_FALSE(request.compiles());
    }
    EXPECT_EQ(read({"--", "-odd.gguf"}).source, "-odd.gguf");
    // A value may look like an option or a source.
    EXPECT_EQ(read({"-p", "--help", "m.gguf"}).run_options, (Words{"-p", "--help"}));
    EXPECT_EQ(read({"--prompt=x", "m.gguf"}).run_options, (Words{"--prompt=x"}));
    EXPECT_EQ(read({"-n3", "m.gguf"}).run_options, (Words{"-n3"}));
    EXPECT_EQ(read({"--profile", "m.gguf"}).run_options, (Words{"--profile"}));
}

TEST(Arguments, GoToTheProgramsTheyAreFor) {
    const RunRequest request =
        read({"m.gguf", "--weights", "q8", "--weights=a*=q4", "-c4096", "--budget=96MiB", "--kv",
              "q8", "-t", "3", "--temp", "0", "--sequences", "4"});
    EXPECT_EQ(request.import_options, (Words{"--weights", "q8", "--weights", "a*=q4"}));
    EXPECT_EQ(request.compile_options, (Words{"--kv", "q8", "--sequences", "4"}));
    EXPECT_EQ(request.context, 4096);
    EXPECT_EQ(request.budget, "96MiB");
    EXPECT_EQ(request.threads, "3");
    EXPECT_EQ(request.run_options, (Words{"--threads", "3", "--temp", "0"}));
    EXPECT_TRUE(request.compiles());
    EXPECT_EQ(read({"m.gguf", "--model", "x.toml"}).model_file, "x.toml");
    EXPECT_TRUE(read({"m.gguf", "-h"}).help);
}

TEST(Arguments, MistakesAreTold) {
    EXPECT_SAYS(error_of([] { read({"a.gguf", "b.gguf"}); }), "… b.gguf … a.gguf …");
    EXPECT_SAYS(error_of([] { read({"a.gguf", "-c", "0"}); }), "-c … 1 … '0'");
    EXPECT_SAYS(error_of([] { read({"a.gguf", "-c", "12x"}); }), "-c … '12x'");
    EXPECT_SAYS(error_of([] { read({"a.gguf", "--budget", "much"}); }), "--budget … much …");
    EXPECT_SAYS(error_of([] { read({"a.gguf", "--kv"}); }), "--kv … missing");
    EXPECT_SAYS(error_of([] { read({""}); }), "… empty");
}

}  // namespace
}  // namespace llmsql::driver
