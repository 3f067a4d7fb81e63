// SPDX-License-Identifier: MIT
// What rows of a database hash to, so that whoever reads them can tell whether they are those that
// were written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace llmsql {

/// XXH3-128 over values in order, each preceded by what tells its type and length apart from
/// others. docs/model-db.md gives the bytes.
class RowDigest {
  public:
    RowDigest();
    RowDigest(RowDigest&&) noexcept = default;
    RowDigest& operator=(RowDigest&&) noexcept = default;
    ~RowDigest();

    void add_null();
    void add_integer(int64_t value);
    void add_real(double value);
    void add_text(std::string_view value);
    void add_blob(std::string_view value);

    /// 32 hexadecimal digits, of all that was added.
    std::string hex() const;

  private:
    void add(char type, const void* data, size_t bytes);

    struct Deleter {
        void operator()(XXH3_state_s* state) const;
    };
    std::unique_ptr<XXH3_state_s, Deleter> state_;
};

/// The keys of llm_meta that hold digests: this and a table's name.
inline constexpr std::string_view kDigestKey = "digest.";

}  // namespace llmsql
