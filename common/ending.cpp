// SPDX-License-Identifier: MIT
// The handler of what nobody handles. See ending.h.
#include "common/ending.h"

#include <cstdlib>
#include <exception>
#include <new>

#include "common/error.h"
#include "common/files.h"

namespace llmsql {
namespace {

const char* name = "";

[[noreturn]] void on_terminate() {
    bool memory = false;
    try {
        if (const std::exception_ptr error = std::current_exception())
            std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        memory = true;
    } catch (...) {  // a defect: the core tells
    }
    TemporaryFile::abandon_all();
    if (!memory) std::abort();
    report(name);
    report(": out of memory\n");
    std::_Exit(1);
}

}  // namespace

void end_well_without_memory(const char* program) {
    name = program;
    std::set_terminate(on_terminate);
}

}  // namespace llmsql
