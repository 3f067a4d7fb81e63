// SPDX-License-Identifier: MIT
// Whether a test runs under AddressSanitizer or ThreadSanitizer, which both need address space of
// their own and keep what is freed.
#pragma once

namespace llmsql::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)  // Clang's way
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace llmsql::test
