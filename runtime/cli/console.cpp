// SPDX-License-Identifier: MIT
// Signals, standard streams and /proc.
#include "runtime/cli/console.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "common/error.h"
#include "common/files.h"
#include "common/utf8.h"

namespace llmsql {
namespace {

volatile std::sig_atomic_t caught = 0;

// The first asks for an end between two tokens; a second one ends the program there and then,
// whatever it is doing.
void on_signal(int signal) {
    if (caught) std::signal(signal, SIG_DFL);
    if (caught) std::raise(signal);
    caught = signal;
}

// Until there is input, or its end; false if a signal came first. Signals are let in only while
// waiting, so that none falls between looking whether one came and waiting.
bool wait_for_input() {
    sigset_t ours, before;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    struct pollfd input {
        STDIN_FILENO, POLLIN, 0
    };
    while (!interrupt() && ::ppoll(&input, 1, nullptr, &before) < 0 && errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return !interrupt();
}

}  // namespace

void prepare_console() {
    fill_standard_descriptors();
    struct sigaction action {};
    action.sa_handler = on_signal;  // without SA_RESTART: a read at the prompt ends
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    // One that was ignored at the start, as nohup has it, stays ignored.
    if (std::signal(SIGHUP, SIG_IGN) != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is an error of writing it
}

int interrupt() {
    return caught;
}
void stop_if_interrupted() {
    if (caught) throw StoppedBySignal();
}
void forget_interrupt() {
    caught = 0;
}

// Whether the last line on standard output has no end yet.
static bool line_is_open = false;

std::string shown(std::string_view text) {
    std::string result;
    while (!text.empty()) {
        const Utf8Char next = utf8_at(text);
        const char32_t code = next.code;
        const bool turns = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
        if (next.status != Utf8Status::valid)
            result += kReplacement;
        else if ((code < 0x20 && code != '\n' && code != '\t') || code == 0x7f)
            // U+2400 to U+2421 are E2 90 80 to E2 90 A1.
            result += {'\xe2', '\x90', static_cast<char>(0x80 + (code == 0x7f ? 0x21 : code))};
        else if ((code >= 0x80 && code < 0xa0) || turns)
            result += fmt::format("<U+{:04X}>", static_cast<uint32_t>(code));
        else
            result += text.substr(0, next.length);
        text.remove_prefix(next.length);
    }
    return result;
}

// All of it to standard output, as it is.
static void write_out(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EAGAIN) {  // somebody made the pipe non-blocking
            struct pollfd ready {
                STDOUT_FILENO, POLLOUT, 0
            };
            ::poll(&ready, 1, -1);
            continue;
        }
        if (written < 0 && errno == EPIPE) throw OutputClosed();
        if (written < 0 && errno == EBADF) fail("standard output is closed");
        if (written < 0) fail("standard output: {}", std::strerror(errno));
        text.remove_prefix(static_cast<size_t>(written));
    }
}

void print(std::string_view text) {
    static const bool terminal = ::isatty(STDOUT_FILENO) != 0;
    std::string harmless;
    if (terminal) text = harmless = shown(text);
    if (!text.empty()) line_is_open = !text.ends_with('\n');
    write_out(text);
}

bool print_dim(bool dim) {
    static const bool able = [] {
        const char *color = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
        return ::isatty(STDOUT_FILENO) != 0 && (!color || !*color) && terminal && *terminal &&
               terminal != std::string_view("dumb");
    }();
    if (able) write_out(dim ? "\x1b[2m" : "\x1b[22m");
    return able;
}

void end_line() noexcept {
    if (line_is_open && ::write(STDOUT_FILENO, "\n", 1) == 1) line_is_open = false;
}

void end_line_of_terminal() noexcept {
    if (::isatty(STDOUT_FILENO) != 0) end_line();
}

void print_notice(std::string_view text) {
    end_line_of_terminal();
    report(fmt::format("llmsql-run: {}\n", one_line(text)));
}

// Of standard input, at a time.
static constexpr size_t kMostInput = 64 << 20;

std::optional<std::string> read_line() {
    static std::string buffer;  // read but not yet returned
    for (size_t searched = 0;;) {
        const size_t newline = buffer.find('\n', searched);
        searched = buffer.size();
        if (newline != std::string::npos) {
            std::string line = buffer.substr(0, newline);
            buffer.erase(0, newline + 1);
            if (line.ends_with('\r')) line.pop_back();
            return line;
        }
        if (buffer.size() > kMostInput) fail("standard input: a line is longer than 64 MiB");
        if (!wait_for_input()) return std::nullopt;
        char bytes[1 << 16];
        const ssize_t count = ::read(STDIN_FILENO, bytes, sizeof(bytes));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail("standard input: {}", std::strerror(errno));
        if (count == 0) {
            if (buffer.empty()) return std::nullopt;
            return std::exchange(buffer, {});  // a last line without a newline
        }
        buffer.append(bytes, static_cast<size_t>(count));
    }
}

std::optional<char> read_byte() {
    while (wait_for_input()) {
        char byte = 0;
        const ssize_t count = ::read(STDIN_FILENO, &byte, 1);
        if (count == 1) return byte;
        if (count == 0) break;
        // A terminal that has gone is at its end.
        if (errno == EIO) break;
        if (errno != EINTR) fail("standard input: {}", std::strerror(errno));
    }
    return std::nullopt;
}

std::string read_input(const std::filesystem::path& path) {
    const bool standard = path == "-";
    const std::filesystem::file_type type =
        standard ? std::filesystem::file_type::fifo : status_of(path).type();
    if (type != std::filesystem::file_type::fifo && type != std::filesystem::file_type::character)
        return read_file(path);
    const std::string name = input_name(path);
    Descriptor opened;
    while (!standard && opened.get() < 0) {
        opened = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        stop_if_interrupted();
        if (opened.get() < 0 && errno != EINTR) fail("{}: {}", name, std::strerror(errno));
    }
    const int fd = standard ? STDIN_FILENO : opened.get();
    std::string content;
    for (char bytes[1 << 16];;) {
        const ssize_t count = ::read(fd, bytes, sizeof bytes);
        stop_if_interrupted();
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail("{}: cannot read: {}", name, std::strerror(errno));
        if (count == 0) return content;
        content.append(bytes, static_cast<size_t>(count));
        if (content.size() > kMostInput) fail("{}: more than 64 MiB: put it into a file", name);
    }
}

std::string input_name(const std::filesystem::path& path) {
    return path == "-" ? "standard input" : path.string();
}

void require_input(const std::filesystem::path& path) {
    if (path.empty() || path == "-") return;
    if (::access(path.c_str(), R_OK) != 0) fail("{}: {}", path.string(), std::strerror(errno));
}

bool is_terminal() {
    return ::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO);
}

uint64_t peak_resident_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
    return 0;
}

}  // namespace llmsql
