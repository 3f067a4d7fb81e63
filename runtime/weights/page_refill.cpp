// SPDX-License-Identifier: MIT
// Replacing pages part by part. See page_refill.h.
#include "runtime/weights/page_refill.h"

#include <algorithm>
#include <chrono>

#include "common/page_cache.h"

namespace llmsql {
namespace {

// Of a part, which is long enough to be worth a call and short enough to be waited for: 15 to 40
// ms.
constexpr uint64_t kPart = 32 << 20;

// The first part tells how fast the device is. A token has its pass and its logits.
constexpr int kTurnsBefore = 16;
constexpr double kTurnsAToken = 2;

// What small pages cost a token that reads the whole file: 20 GB/s instead of 30.
constexpr double kLostAByte = 1 / 20e9 - 1 / 30e9;

// A run that has lost half of what replacing all costs is likely enough to lose the rest.
constexpr double kOfCost = 0.5;

}  // namespace

PageRefill::PageRefill(std::shared_ptr<ModelFile> file)
    : file_(std::move(file)), mapping_(file_->mapping()) {}

bool PageRefill::after_turn() {
    if (ended_) return false;
    ++turns_;
    const auto size = static_cast<double>(mapping_->bytes().size());
    const double lost = turns_ / kTurnsAToken * kLostAByte * size;
    if (turns_ < kTurnsBefore || lost < kOfCost * seconds_a_byte_ * size) return false;
    return replace_part();
}

bool PageRefill::replace_part() {
    const uint64_t size = mapping_->bytes().size();
    const uint64_t bytes = std::min(kPart, size - at_);
    release(mapping_->bytes().subspan(at_, bytes));  // pages stay while they are mapped
    const auto start = std::chrono::steady_clock::now();
    const bool dropped = refill_page_cache(file_->descriptor(), at_, at_ + bytes);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (at_ == 0) seconds_a_byte_ = seconds.count() / static_cast<double>(bytes);
    at_ += bytes;
    ended_ = !dropped || at_ == size;
    return dropped && at_ == size;
}

}  // namespace llmsql
