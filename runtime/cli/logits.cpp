// SPDX-License-Identifier: MIT
// Logits to a .npy file; the format is NumPy's NEP 1.
#include "runtime/cli/logits.h"

#include <bit>
#include <string>

#include "common/error.h"
#include "common/files.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/cli/profile.h"
#include "runtime/generate/score.h"

namespace llmsql {

static_assert(std::endian::native == std::endian::little, "rows are written as they lie in memory");

namespace {

// The format's magic and version, the length of a header, which is always the same, and its first
// keys. NumPy itself writes them in another order: an array of somebody else's is not replaced.
constexpr std::string_view kStart(
    "\x93NUMPY\x01\x00\x76\x00{'fortran_order': False, 'descr': '<f4', 'shape': (", 61);
constexpr size_t kDataOffset = 128;

std::filesystem::path npy_path(const std::filesystem::path& path) {
    const auto output = regular_output_path(path, kStart, "logits of an earlier run");
    TemporaryFile::remove_dead(output,
                               [](std::string_view start) { return start.starts_with(kStart); });
    return output;
}

}  // namespace

NpyWriter::NpyWriter(const std::filesystem::path& path, int64_t rows, int64_t cols)
    : file_(npy_path(path)) {
    // Padded so that the data is aligned.
    std::string start = fmt::format("{}{}, {})}}", kStart, rows, cols);
    start.resize(kDataOffset - 1, ' ');
    file_.write(start + '\n');
}

void NpyWriter::write(std::span<const float> values) {
    file_.write({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
}

void NpyWriter::commit() {
    file_.flush();
    file_.publish();
}

int run_logits(Program& program, const Options& options) {
    const std::span<const int32_t> tokens = options.tokens;
    const int64_t vocabulary = program.vocabulary();
    for (const int32_t token : tokens)
        if (token >= vocabulary)
            fail("--tokens: there is no token {}, the vocabulary has {}", token, vocabulary);
    if (tokens.size() > static_cast<size_t>(program.context()))
        fail("--tokens: {}, the context holds {}", counted(tokens.size(), "token"),
             program.context());

    const OnePhase phase(program, options, "logits");
    NpyWriter out(options.logits, static_cast<int64_t>(tokens.size()), vocabulary);
    SharedScheduler scheduler(program, {});
    const CallerOptions how{.interrupted = [] { return interrupt() != 0; }};
    if (!read_rows(scheduler, nullptr, tokens, 0, options, how,
                   [&](size_t, std::span<const float> row) { out.write(row); }))
        return status_after_signals();
    out.commit();
    phase.report();
    return 0;
}

}  // namespace llmsql
