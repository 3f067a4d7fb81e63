// Fuzz target: plan.sql, edited, run over a tiny model. The number of statements that it must end
// in is put right first.
#include "tests/fuzz/tiny_program.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace llmsql::fuzz;
    if (run_plan(text_of(data, size))) ++accepted;
    return 0;
}
