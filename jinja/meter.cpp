// SPDX-License-Identifier: MIT
// The counting of what a rendering uses. See meter.h.
#include "jinja/meter.h"

#include "common/error.h"
#include "jinja/value.h"

namespace llmsql::jinja {

thread_local Meter* Meter::current_ = nullptr;

Meter::~Meter() {
    for (const auto& object : kept_) object->clear();
    kept_.clear();
    current_ = outer_;
}

void Meter::step(int64_t count) {
    Meter* const meter = current_;
    if (!meter) return;
    meter->steps_ += count;
    if (meter->steps_ > meter->limits_.steps)
        fail("the template does not end: it has taken {} steps", meter->limits_.steps);
    if (meter->steps_ - meter->told_ > 10'000 && meter->limits_.pulse) {
        meter->told_ = meter->steps_;
        meter->limits_.pulse();
    }
}

void Meter::allow(size_t count, size_t each) {
    const Meter* const meter = current_;
    const int64_t most = meter ? meter->limits_.memory - meter->held_ : int64_t{1} << 30;
    if (most < 0 || count > static_cast<size_t>(most) / each)
        fail("the template takes too much memory: more than {} MiB",
             (meter ? meter->limits_.memory : most) >> 20);
}

void Meter::take(int64_t bytes) {
    held_ += bytes;
    if (held_ <= limits_.memory) return;
    held_ -= bytes;
    fail("the template takes too much memory: more than {} MiB", limits_.memory >> 20);
}

}  // namespace llmsql::jinja
