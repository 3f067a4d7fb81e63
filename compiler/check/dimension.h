// SPDX-License-Identifier: MIT
// A dimension known by name: a polynomial over the graph's dims, so that n_head * d_head is equal
// to itself however it is written, and a width can be divided into heads without knowing either.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace llmsql::compiler {

/// A sum of products of dims with whole, possibly negative exponents and fractional factors.
/// Immutable.
class Dimension {
  public:
    static Dimension constant(int64_t value);

    /// `order` is where the dim is declared: products print their factors in that order.
    static Dimension named(std::string name, int order);

    // Absent where a result cannot be represented: too many terms, overflow, a divisor that is a
    // sum (but of what is equal to it) or zero.
    friend std::optional<Dimension> operator+(const Dimension& a, const Dimension& b);
    friend std::optional<Dimension> operator-(const Dimension& a, const Dimension& b);
    friend std::optional<Dimension> operator*(const Dimension& a, const Dimension& b);
    friend std::optional<Dimension> operator/(const Dimension& a, const Dimension& b);

    bool operator==(const Dimension&) const = default;

    /// The whole number that it is, if no dim is in it.
    std::optional<int64_t> whole() const;

    /// "n_head*d_head", "2*d_ff + 1", "d_model/n_head".
    std::string text() const;

  private:
    struct Symbol {
        int order = 0;
        std::string name;
        auto operator<=>(const Symbol&) const = default;
    };
    struct Fraction {
        int64_t numerator = 0;
        int64_t denominator = 1;
        bool operator==(const Fraction&) const = default;
    };
    using Product = std::map<Symbol, int>;  // exponents, none of them 0

    static std::optional<Fraction> times(Fraction a, Fraction b);
    static std::optional<Fraction> plus(Fraction a, Fraction b);
    static std::optional<Dimension> sum(const Dimension& a, const Dimension& b, int sign);
    bool add(const Product& product, Fraction factor);  // false: cannot be represented

    std::map<Product, Fraction> terms_;  // no factor is 0
};

using Shape = std::vector<Dimension>;

/// "[T, n_head*d_head]".
std::string shape_text(const Shape& shape);

}  // namespace llmsql::compiler
