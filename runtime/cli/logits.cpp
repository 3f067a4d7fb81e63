// Logits to a .npy file; the format is NumPy's NEP 1.
#include "runtime/cli/logits.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/error.h"
#include "common/files.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/cli/profile.h"

namespace llmsql {

static_assert(std::endian::native == std::endian::little, "rows are written as they lie in memory");

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

}  // namespace

NpyWriter::NpyWriter(const std::filesystem::path& path, int64_t rows, int64_t cols)
    : path_(regular_output_path(path, kMagic, "a .npy file")) {
    std::string temporary = path_.string() + ".XXXXXX";
    fd_ = ::mkostemp(temporary.data(), O_CLOEXEC);
    temporary_ = temporary;
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (fd_ >= 0) ::fchmod(fd_, 0666 & ~mask);
    if (fd_ < 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
    // Magic, version 1.0, the header's length; the header is padded so that the data is aligned.
    std::string header =
        fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
    constexpr size_t kPrefix = 10;
    const size_t padded = (kPrefix + header.size() + 1 + 63) / 64 * 64 - kPrefix;
    header.resize(padded - 1, ' ');
    header += '\n';
    std::string start(kMagic);
    start += {'\x01', '\x00', static_cast<char>(padded & 0xFF), static_cast<char>(padded >> 8)};
    start += header;
    write_bytes(start.data(), start.size());
}

NpyWriter::~NpyWriter() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(temporary_.c_str());
}

void NpyWriter::write(std::span<const float> values) {
    write_bytes(values.data(), values.size_bytes());
}

void NpyWriter::write_bytes(const void* data, size_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t written = ::write(fd_, at, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
        at += written;
        bytes -= static_cast<size_t>(written);
    }
}

void NpyWriter::commit() {
    if (::fsync(fd_) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0)
        fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
    ::close(fd_);
    fd_ = -1;
}

int run_logits(Program& program, const Options& options) {
    const std::span<const int32_t> tokens = options.tokens;
    const int64_t vocabulary = program.vocabulary();
    for (const int32_t token : tokens)
        if (token >= vocabulary)
            fail("--tokens: there is no token {}, the vocabulary has {}", token, vocabulary);
    if (tokens.size() > static_cast<size_t>(program.context()))
        fail("--tokens: {} tokens, the context holds {}", tokens.size(), program.context());

    const OnePhase phase(program, options, "logits");
    NpyWriter out(options.logits, static_cast<int64_t>(tokens.size()), vocabulary);
    const size_t batch = batch_of(program, options);
    for (size_t position = 0; position < tokens.size();) {
        if (interrupt()) return status_after_signals();
        const auto pass = tokens.subspan(position, std::min(batch, tokens.size() - position));
        program.forward(pass, static_cast<int>(position));
        const int rows = static_cast<int>(pass.size());
        for (int first = 0; first < rows;) {
            const int count = std::min(program.logits_rows(), rows - first);
            const Logits logits = program.logits(first, count);
            for (int row = 0; row < count; ++row) out.write(logits.row(row));
            first += count;
        }
        position += pass.size();
    }
    out.commit();
    phase.report();
    return 0;
}

}  // namespace llmsql
