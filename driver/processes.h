// SPDX-License-Identifier: MIT
// Starting the programs that llmsql is made of.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace llmsql::driver {

/// A program of ours, beside this one. Fails where it is not there.
std::filesystem::path program(const std::string& name);

enum class Channel { passed, captured, dropped };

struct Ended {
    int status = 0;  // 128 + N after signal N
    std::string output, errors;
};

/// Runs a program of ours and waits for it. An interruption from the terminal reaches it alone,
/// SIGTERM and SIGHUP are passed on to it, and when this process is killed it gets SIGTERM. Its
/// files other than standard ones are closed. One at a time in a process.
Ended run_program(const std::string& name, const std::vector<std::string>& arguments,
                  Channel output = Channel::passed, Channel errors = Channel::passed);

/// Becomes that program. Files that stay open across exec are its own then.
[[noreturn]] void become_program(const std::string& name,
                                 const std::vector<std::string>& arguments);

}  // namespace llmsql::driver
