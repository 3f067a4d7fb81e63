// SPDX-License-Identifier: MIT
// Templates give what Python's jinja2 gives, set up as transformers sets it up. What that is was
// recorded by tests/reference/jinja_cases.py, which also compares what is not kept here: published
// templates, and templates made at random.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "common/error.h"
#include "jinja/template.h"

namespace llmsql::jinja {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(LLMSQL_SOURCE_DIR) / "tests" / "fixtures";

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

Json fixture(const char* name) {
    return Json::parse(content(kFixtures / "jinja" / name));
}

struct Made {
    std::string text, error;
};

Made made_of(const std::string& source, const Value& variables) {
    Made made;
    try {
        for (const Piece& piece :
             Template(source).render(variables, seconds_of("2026-11-29 08:30:05")))
            made.text += piece.text;
    } catch (const Error& error) {
        made.error = error.what();
    }
    return made;
}

TEST(AgreesWithJinja, Snippets) {
    const Json recorded = fixture("snippets.json");
    const Value variables = value_of_json(recorded.at("variables").dump(), false, "variables");
    int count = 0;
    for (const Json& each : recorded.at("snippets")) {
        const std::string source = each.at(0).get<std::string>();
        const Made made = made_of(source, variables);
        if (each.at(1).is_null()) {
            EXPECT_NE(made.error, "")
                << source << "\ngave " << made.text << "\nwhere Python said " << each.at(2);
            EXPECT_EQ(made.error.substr(0, 5), "line ") << source << "\n" << made.error;
            EXPECT_EQ(made.error.find('\n'), std::string::npos);
        } else {
            EXPECT_EQ(made.error, "") << source;
            EXPECT_EQ(made.text, each.at(1).get<std::string>()) << source;
        }
        ++count;
    }
    EXPECT_GT(count, 300);
}

// FIPS 180-4, for the hashes of the fixture.
std::string sha256(const std::string& text);

TEST(AgreesWithJinja, ChatTemplates) {
    const Json recorded = fixture("templates.json");
    std::vector<Value> variables;
    for (const Json& each : recorded.at("variables"))
        variables.push_back(value_of_json(each.dump(), false, "variables"));
    for (const auto& [name, hashes] : recorded.at("rendered").items()) {
        const std::string source = content(kFixtures / "chat-templates" / (name + ".jinja"));
        ASSERT_EQ(hashes.size(), variables.size());
        for (size_t i = 0; i < variables.size(); ++i) {
            const Made made = made_of(source, variables[i]);
            if (hashes[i].is_null())
                EXPECT_NE(made.error, "") << name << " " << i << "\n" << made.text;
            else
                EXPECT_EQ(sha256(made.text).substr(0, 16), hashes[i].get<std::string>())
                    << name << " " << i << "\n"
                    << made.text << made.error;
        }
    }
}

std::string sha256(const std::string& text) {
    // The fractional parts of the cube roots of the first 64 primes, and of the square roots of 8.
    std::vector<uint32_t> primes, k, h;
    for (uint32_t n = 2; primes.size() < 64; ++n) {
        bool prime = true;
        for (const uint32_t p : primes) prime = prime && n % p != 0;
        if (prime) primes.push_back(n);
    }
    const auto fraction = [](long double x) {
        return static_cast<uint32_t>((x - std::floor(x)) * 4294967296.0L);
    };
    for (const uint32_t p : primes) k.push_back(fraction(std::cbrt(static_cast<long double>(p))));
    for (size_t i = 0; i < 8; ++i)
        h.push_back(fraction(std::sqrt(static_cast<long double>(primes[i]))));
    std::string bytes = text + '\x80';
    while (bytes.size() % 64 != 56) bytes += '\0';
    for (int i = 7; i >= 0; --i) bytes += static_cast<char>((text.size() * 8) >> (i * 8));
    const auto turned = [](uint32_t x, int n) { return x >> n | x << (32 - n); };
    for (size_t at = 0; at < bytes.size(); at += 64) {
        uint32_t w[64];
        for (size_t i = 0; i < 16; ++i) {
            w[i] = 0;
            for (size_t b = 0; b < 4; ++b)
                w[i] = w[i] << 8 | static_cast<unsigned char>(bytes[at + i * 4 + b]);
        }
        for (size_t i = 16; i < 64; ++i)
            w[i] = w[i - 16] + w[i - 7] +
                   (turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3) +
                   (turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10);
        std::vector<uint32_t> v = h;
        for (size_t i = 0; i < 64; ++i) {
            const uint32_t one = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) +
                                 ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
            const uint32_t two = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) +
                                 ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
            v = {one + two, v[0], v[1], v[2], v[3] + one, v[4], v[5], v[6]};
        }
        for (size_t i = 0; i < 8; ++i) h[i] += v[i];
    }
    std::string hex;
    for (const uint32_t part : h) hex += fmt::format("{:08x}", part);
    return hex;
}

}  // namespace
}  // namespace llmsql::jinja
