// What options may be. See options.h.
#include "runtime/generate/options.h"

#include "common/error.h"

namespace llmsql {

void check_options(const GenerateOptions& options) {
    const auto check = [](bool good, const char* message) {
        if (!good) fail("{}", message);
    };
    check(options.predict >= -1, "-n: a number of tokens, or -1 for no limit");
    check(!options.context || *options.context >= 1, "-c: at least 1 token");
    check(!options.batch || *options.batch >= 1, "-b: at least 1 token");
    check(!options.keep || *options.keep >= -1, "--keep: a number of tokens, or -1 for the prompt");
    check(options.sampler.temperature >= 0, "--temp: 0 or more");
    check(options.sampler.top_p >= 0 && options.sampler.top_p <= 1, "--top-p: from 0 to 1");
    check(options.sampler.min_p >= 0 && options.sampler.min_p <= 1, "--min-p: from 0 to 1");
    check(options.sampler.repeat_penalty > 0, "--repeat-penalty: more than 0");
    check(options.seed >= -1, "--seed: a number, or -1 for a different one each time");
}

}  // namespace llmsql
