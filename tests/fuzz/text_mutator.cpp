// SPDX-License-Identifier: MIT
// A mutator for texts of words, numbers and signs, SQL and TOML alike: it changes tokens and lines
// rather than bytes, so that what it makes is still read. Part of the targets that take texts.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

struct Piece {
    size_t begin = 0, end = 0;
};

bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == ':';
}

// Words, numbers, quoted texts and single signs.
std::vector<Piece> tokens_of(const std::string& text) {
    std::vector<Piece> tokens;
    for (size_t at = 0; at < text.size();) {
        if (std::isspace(static_cast<unsigned char>(text[at]))) {
            ++at;
            continue;
        }
        const size_t begin = at++;
        if (is_word(text[begin]))
            while (at < text.size() && is_word(text[at])) ++at;
        else if (text[begin] == '\'' || text[begin] == '"')
            at = std::min(text.find(text[begin], at), text.size() - 1) + 1;
        tokens.push_back({begin, at});
    }
    return tokens;
}

// What ends in `end`: statements of SQL by ';', or lines.
std::vector<Piece> parts_of(const std::string& text, char end) {
    std::vector<Piece> parts;
    for (size_t at = 0; at < text.size();) {
        const size_t next = std::min(text.find(end, at), text.size() - 1) + 1;
        parts.push_back({at, next});
        at = next;
    }
    return parts;
}

constexpr std::array kNumbers{"0",
                              "1",
                              "-1",
                              "2",
                              "16",
                              "31",
                              "32",
                              "33",
                              "64",
                              "255",
                              "1024",
                              "65536",
                              "1048576",
                              "1048577",
                              "2147483647",
                              "2147483648",
                              "-2147483649",
                              "4294967296",
                              "1099511627776",
                              "9223372036854775807",
                              "-9223372036854775808",
                              "18446744073709551616",
                              "0.5",
                              "-0.0",
                              "1e-320",
                              "1e308",
                              "9e999",
                              "-9e999",
                              "NULL",
                              "''",
                              "x''",
                              "'[1,2]'"};

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    std::minstd_rand random(seed);
    const auto below = [&](size_t bound) {
        return std::uniform_int_distribution<size_t>(0, bound - 1)(random);
    };
    std::string text(reinterpret_cast<const char*>(data), size);
    const std::vector<Piece> tokens = tokens_of(text);
    const std::vector<Piece> parts = parts_of(text, below(2) ? ';' : '\n');
    if (tokens.empty() || below(8) == 0) return LLVMFuzzerMutate(data, size, most);
    const auto part = [&](const Piece& piece) {
        return text.substr(piece.begin, piece.end - piece.begin);
    };
    const auto put = [&](const Piece& piece, const std::string& what) {
        text.replace(piece.begin, piece.end - piece.begin, what);
    };
    const Piece& token = tokens[below(tokens.size())];
    const Piece& other = tokens[below(tokens.size())];
    const Piece& from = parts[below(parts.size())];
    const Piece& to = parts[below(parts.size())];
    switch (below(10)) {
        case 0:  // a number, wherever one stands
        case 1:
        case 2: {
            std::vector<Piece> numbers;
            for (const Piece& each : tokens)
                if (std::isdigit(static_cast<unsigned char>(text[each.begin])))
                    numbers.push_back(each);
            if (numbers.empty()) break;
            const Piece& number = numbers[below(numbers.size())];
            if (below(2)) {
                put(number, kNumbers[below(kNumbers.size())]);
            } else {  // or one near it
                const auto near =
                    static_cast<uint64_t>(std::strtoll(part(number).c_str(), nullptr, 10));
                put(number, std::to_string(static_cast<int64_t>(near + below(5) - 2)));
            }
            break;
        }
        case 3:  // one token for another
        case 4:
            put(token, part(other));
            break;
        case 5:
            put(token, part(token) + " " + part(other));
            break;
        case 6:
            put(token, "");
            break;
        case 7:
            put(from, "");
            break;
        case 8:
            put(from, part(from) + part(to));
            break;
        default:
            put(from, part(to));
    }
    text.resize(std::min(text.size(), most));
    std::memcpy(data, text.data(), text.size());
    return text.size();
}
