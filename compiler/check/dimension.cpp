// SPDX-License-Identifier: MIT
// Arithmetic on symbolic dimensions. See dimension.h.
#include "compiler/check/dimension.h"

#include <fmt/core.h>

#include <limits>
#include <numeric>

namespace llmsql::compiler {
namespace {

constexpr size_t kMaxTerms = 64;  // sums multiplied by sums grow fast, and no model needs them
constexpr int kMaxExponent = 1000;

/// Both sides of a fraction, in lowest terms with a positive denominator; nothing on overflow.
std::optional<std::pair<int64_t, int64_t>> reduced(std::optional<int64_t> above,
                                                   std::optional<int64_t> below) {
    constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();  // has no negative
    if (!above || !below || *above == kLeast || *below == kLeast || *below == 0)
        return std::nullopt;
    const int64_t divisor = std::gcd(*above, *below) * (*below < 0 ? -1 : 1);
    return std::pair(*above / divisor, *below / divisor);
}

std::optional<int64_t> product_of(int64_t a, int64_t b) {
    int64_t product = 0;
    if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
    return product;
}

std::optional<int64_t> sum_of(std::optional<int64_t> a, std::optional<int64_t> b) {
    int64_t sum = 0;
    if (!a || !b || __builtin_add_overflow(*a, *b, &sum)) return std::nullopt;
    return sum;
}

}  // namespace

Dimension Dimension::constant(int64_t value) {
    Dimension made;
    if (value != 0) made.terms_[{}] = {value, 1};
    return made;
}

Dimension Dimension::named(std::string name, int order) {
    Dimension made;
    made.terms_[Product{{Symbol{order, std::move(name)}, 1}}] = {1, 1};
    return made;
}

std::optional<Dimension::Fraction> Dimension::times(Fraction a, Fraction b) {
    const auto made =
        reduced(product_of(a.numerator, b.numerator), product_of(a.denominator, b.denominator));
    if (!made) return std::nullopt;
    return Fraction{made->first, made->second};
}

std::optional<Dimension::Fraction> Dimension::plus(Fraction a, Fraction b) {
    const auto made = reduced(
        sum_of(product_of(a.numerator, b.denominator), product_of(b.numerator, a.denominator)),
        product_of(a.denominator, b.denominator));
    if (!made) return std::nullopt;
    return Fraction{made->first, made->second};
}

bool Dimension::add(const Product& product, Fraction factor) {
    Fraction& there = terms_[product];
    const auto total = plus(there, factor);
    if (!total) return false;
    there = *total;
    if (there.numerator == 0) terms_.erase(product);
    return terms_.size() <= kMaxTerms;
}

std::optional<Dimension> Dimension::sum(const Dimension& a, const Dimension& b, int sign) {
    Dimension made = a;
    for (const auto& [product, factor] : b.terms_)
        if (!made.add(product, {sign * factor.numerator, factor.denominator})) return std::nullopt;
    return made;
}

std::optional<Dimension> operator+(const Dimension& a, const Dimension& b) {
    return Dimension::sum(a, b, 1);
}

std::optional<Dimension> operator-(const Dimension& a, const Dimension& b) {
    return Dimension::sum(a, b, -1);
}

std::optional<Dimension> operator*(const Dimension& a, const Dimension& b) {
    Dimension made;
    for (const auto& [left, left_factor] : a.terms_) {
        for (const auto& [right, right_factor] : b.terms_) {
            Dimension::Product product = left;
            for (const auto& [symbol, exponent] : right) {
                int& there = product[symbol];
                there += exponent;
                if (there > kMaxExponent || there < -kMaxExponent) return std::nullopt;
                if (there == 0) product.erase(symbol);
            }
            const auto factor = Dimension::times(left_factor, right_factor);
            if (!factor || !made.add(product, *factor)) return std::nullopt;
        }
    }
    return made;
}

std::optional<Dimension> operator/(const Dimension& a, const Dimension& b) {
    if (b.terms_.size() > 1 && a == b) return Dimension::constant(1);
    if (b.terms_.size() != 1) return std::nullopt;
    const auto& [product, factor] = *b.terms_.begin();
    Dimension inverse;
    Dimension::Product inverted = product;
    for (auto& [symbol, exponent] : inverted) exponent = -exponent;
    const bool negative = factor.numerator < 0;
    inverse.terms_[inverted] = {negative ? -factor.denominator : factor.denominator,
                                negative ? -factor.numerator : factor.numerator};
    return a * inverse;
}

std::optional<int64_t> Dimension::whole() const {
    if (terms_.empty()) return 0;
    if (terms_.size() > 1) return std::nullopt;
    const auto& [product, factor] = *terms_.begin();
    if (!product.empty() || factor.denominator != 1) return std::nullopt;
    return factor.numerator;
}

std::string Dimension::text() const {
    if (terms_.empty()) return "0";
    std::string all;
    const auto append = [&](const Product& product, const Fraction& factor) {
        std::string above, below;
        const auto times = [](std::string& side, const std::string& what) {
            side.append(side.empty() ? "" : "*").append(what);
        };
        const int64_t size = factor.numerator < 0 ? -factor.numerator : factor.numerator;
        if (size != 1) times(above, std::to_string(size));
        if (factor.denominator != 1) below.append("/").append(std::to_string(factor.denominator));
        for (const auto& [symbol, exponent] : product) {
            for (int i = 0; i < exponent; ++i) times(above, symbol.name);
            for (int i = 0; i > exponent; --i) below.append("/").append(symbol.name);
        }
        if (above.empty()) above.push_back('1');
        const bool negative = factor.numerator < 0;
        if (all.empty()) {
            all += negative ? "-" : "";
        } else {
            all += negative ? " - " : " + ";
        }
        all.append(above).append(below);
    };
    for (const auto& [product, factor] : terms_)
        if (!product.empty()) append(product, factor);
    if (const auto constant = terms_.find({}); constant != terms_.end())
        append(constant->first, constant->second);
    return all;
}

std::string shape_text(const Shape& shape) {
    std::string all = "[";
    for (size_t i = 0; i < shape.size(); ++i) {
        if (i > 0) all += ", ";
        all += shape[i].text();
    }
    return all + "]";
}

}  // namespace llmsql::compiler
