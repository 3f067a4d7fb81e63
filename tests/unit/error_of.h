// SPDX-License-Identifier: MIT
// The error that a piece of code ends in, as text.
#pragma once

#include <string>

#include "common/error.h"

namespace llmsql::test {

/// What the Error says that `body` throws; "no error" where it throws none.
template<class Body>
std::string error_of(Body body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace llmsql::test
