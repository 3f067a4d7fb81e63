// SPDX-License-Identifier: MIT
// How much memory a run is given. See prepare.h.
#include <algorithm>
#include <bit>
#include <charconv>
#include <string_view>

#include "common/error.h"
#include "driver/prepare.h"

namespace llmsql::driver {

int64_t bytes_on_page(const std::string& page, std::string_view name) {
    const std::string begins = fmt::format("\n{} ", name);
    const size_t row = page.find(begins);
    const size_t digits =
        row == std::string::npos ? row : page.find_first_not_of(' ', row + begins.size());
    int64_t bytes = 0;
    if (digits == std::string::npos ||
        std::from_chars(&page[digits], page.data() + page.size(), bytes).ec != std::errc())
        fail("llmsqlc --emit=memory does not say what the run takes");
    return bytes;
}

int64_t budget_within(uint64_t free) {
    // A tenth is for whoever else wants some: the page cache that weights are read through, and
    // what other programs come to take. Then down to one of eight steps between powers of two.
    constexpr uint64_t kMost = uint64_t{1} << 50, kMiB = 1 << 20;
    const uint64_t mib = std::min(free, kMost) / 10 * 9 / kMiB;
    const int bits = std::bit_width(mib);
    const int dropped = std::max(0, bits - 4);
    return static_cast<int64_t>((mib >> dropped << dropped) * kMiB);
}

}  // namespace llmsql::driver
