// SPDX-License-Identifier: MIT
// The error that a piece of code ends in, as text.
#pragma once

#include <stdexcept>
#include <string>

namespace llmsql::test {

/// What the error says that `body` throws; "" where it throws none.
template<class Body>
std::string error_of(Body body) {
    try {
        body();
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

}  // namespace llmsql::test
