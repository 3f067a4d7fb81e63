// The one place where an instruction set is chosen.
#include "runtime/kernels/kernels.h"

namespace llmsql {

const Kernels& kernels() {
    static const Kernels& chosen = avx2_kernels() ? *avx2_kernels() : portable_kernels();
    return chosen;
}

}  // namespace llmsql
