// SPDX-License-Identifier: MIT
// Perplexity over windows of a text.
#include "runtime/cli/perplexity.h"

#include <cmath>

#include "common/error.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/cli/profile.h"
#include "runtime/generate/prompt.h"
#include "runtime/generate/score.h"

namespace llmsql {
namespace {

constexpr int kDefaultSpan = 512;

}  // namespace

int run_perplexity(Program& program, Tokenizer& tokenizer, const Options& options) {
    const int size = options.context.value_or(kDefaultSpan);
    if (size < 4) fail("-c {}: a window needs at least 4 tokens", size);
    require_context(program, size);
    std::string text = read_input(options.file);
    check_utf8(text, input_name(options.file));
    if (text.ends_with('\n')) text.pop_back();  // as llama-perplexity does
    const std::vector<int32_t> tokens = encode_noting(tokenizer, text);
    if (tokens.size() < 2 * static_cast<size_t>(size))
        fail("{}: {} {} too few, perplexity with windows of {} needs {} (a smaller -c needs fewer)",
             options.file.string(), counted(tokens.size(), "token"),
             tokens.size() == 1 ? "is" : "are", size, 2 * size);

    const size_t spans = tokens.size() / static_cast<size_t>(size);
    const int first = size / 2;
    SharedScheduler scheduler(program, {});
    const CallerOptions how{.interrupted = [] { return interrupt() != 0; }};
    const OnePhase phase(program, options, "perplexity");
    double sum = 0;
    int64_t count = 0;
    for (size_t w = 0; w < spans; ++w) {
        const auto begin = tokens.begin() + static_cast<ptrdiff_t>(w) * size;
        std::vector<int32_t> span(begin, begin + size);
        if (tokenizer.adds_start_token()) span.front() = *tokenizer.start_token();
        const auto scored = log_probability_of(scheduler, &tokenizer, span,
                                               static_cast<size_t>(first) + 1, options, how);
        if (!scored) {
            report("\n");
            return status_after_signals();
        }
        sum -= *scored;
        count += size - 1 - first;
        report(fmt::format("[{}]{:.4f},", w + 1, std::exp(sum / static_cast<double>(count))));
    }
    report("\n");
    print(fmt::format("perplexity: {:.4f}\n", std::exp(sum / static_cast<double>(count))));
    phase.report();
    return 0;
}

}  // namespace llmsql
