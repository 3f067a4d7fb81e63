// SPDX-License-Identifier: MIT
// What llmsql-run needs of the operating system: signals, standard output, lines, memory.
#pragma once

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace llmsql {

/// Standard output is a pipe whose reader has gone. There is nobody to tell, so main ends silently,
/// with the status that SIGPIPE would have given.
class OutputClosed : public std::runtime_error {
  public:
    static constexpr int kStatus = 128 + SIGPIPE;
    OutputClosed() : std::runtime_error("standard output is closed") {}
};

/// Makes sure that descriptors 0 to 2 are taken, catches SIGINT, SIGTERM and SIGHUP, ignores
/// SIGPIPE and SIGXFSZ.
void prepare_console();

/// The signal that asked to stop since the last forget_interrupt(), or 0.
int interrupt();
void forget_interrupt();

/// Thrown where something has to end at once because of a signal: main ends with its status.
class StoppedBySignal : public std::runtime_error {
  public:
    StoppedBySignal() : std::runtime_error("interrupted") {}
};
void stop_if_interrupted();

/// Writes all of `text`, whole characters, to standard output: to a terminal as shown() has it,
/// else as it is. Throws OutputClosed; other failures are Errors.
void print(std::string_view text);

/// Has what print() writes from now on look dim, or as ever; false, and nothing done, where
/// standard output is no terminal, or one that is not to have colors (NO_COLOR, TERM=dumb).
bool print_dim(bool dim);

/// A text as a terminal is to show it, whoever wrote it: nothing in it moves the cursor, changes
/// settings or the order of what stands beside it. Control characters but line ends and tabs become
/// their pictures (U+2400 on), those above ASCII and the marks that override a text's direction
/// <U+202E>, and what is no UTF-8 U+FFFD.
std::string shown(std::string_view text);

/// Ends a line of standard output that print() has begun, as well as that is possible: before an
/// error's line.
void end_line() noexcept;

/// Calls end_line() where standard output is a terminal, on which what stderr says would stand
/// behind an answer's beginning: before a line in the middle of a run. What goes to a file or a
/// pipe is never parted so.
void end_line_of_terminal() noexcept;

/// One line to stderr, after the program's name, without control characters.
void print_notice(std::string_view text);

/// The next line of standard input without its newline; nothing at its end or after a signal.
std::optional<std::string> read_line();

/// The next byte of standard input; nothing at its end or after a signal. For a terminal: not to be
/// mixed with read_line() on one line.
std::optional<char> read_byte();

/// What a file holds, or a pipe or a device, or ("-") standard input, until its end. Throws
/// StoppedBySignal after a signal; other failures, more than 64 MiB of what is no file among them,
/// are Errors that name it.
std::string read_input(const std::filesystem::path& path);
/// What errors call it.
std::string input_name(const std::filesystem::path& path);
/// Fails where there is no such file to be read. Nothing of it is read; "-" and "" are good.
void require_input(const std::filesystem::path& path);

/// Whether a person is at both ends.
bool is_terminal();

/// The most memory this process has had resident, in bytes (VmHWM), or 0 where it can't be told.
uint64_t peak_resident_bytes();

}  // namespace llmsql
