// SPDX-License-Identifier: MIT
// Classes by Unicode's newer properties, less what has come since. See hf_characters.h.
#include "importer/hf_characters.h"

#include <fmt/format.h>

#include <string_view>

namespace llmsql {
namespace {

constexpr std::string_view kNewPunctuation =
    R"(\x{61d}\x{9fd}\x{a76}\x{c77}\x{c84}\x{1b7d}-\x{1b7e}\x{2e43}-\x{2e4f})"
    R"(\x{2e52}-\x{2e5d}\x{10ead}\x{10f55}-\x{10f59}\x{10f86}-\x{10f89}\x{1144b}-\x{1144f})"
    R"(\x{1145a}-\x{1145b}\x{1145d}\x{11660}-\x{1166c}\x{116b9}\x{1183b}\x{11944}-\x{11946})"
    R"(\x{119e2}\x{11a3f}-\x{11a46}\x{11a9a}-\x{11a9c}\x{11a9e}-\x{11aa2})"
    R"(\x{11c41}-\x{11c45}\x{11c70}-\x{11c71}\x{11ef7}-\x{11ef8}\x{11fff})"
    R"(\x{12ff1}-\x{12ff2}\x{16e97}-\x{16e9a}\x{16fe2}\x{1e95e}-\x{1e95f})";

constexpr std::string_view kNewMarks =
    R"(\x{7fd}\x{898}-\x{89f}\x{8ca}-\x{8d3}\x{9fe}\x{afa}-\x{aff}\x{b55}\x{c04}\x{c3c})"
    R"(\x{d00}\x{d3b}-\x{d3c}\x{d81}\x{eba}\x{1715}\x{180f}\x{1abf}-\x{1ace}\x{1cf7})"
    R"(\x{1df6}-\x{1dfa}\x{a82c}\x{a8ff}\x{10d24}-\x{10d27}\x{10eab}-\x{10eac})"
    R"(\x{10f46}-\x{10f50}\x{10f82}-\x{10f85}\x{11070}\x{11073}-\x{11074}\x{110c2})"
    R"(\x{11145}-\x{11146}\x{111c9}\x{111ce}-\x{111cf}\x{1133b}\x{1145e}\x{1182c}-\x{1183a})"
    R"(\x{11930}-\x{11935}\x{11937}-\x{11938}\x{1193b}-\x{1193e}\x{11940})"
    R"(\x{11942}-\x{11943}\x{119d1}-\x{119d7}\x{119da}-\x{119e0}\x{119e4})"
    R"(\x{11a01}-\x{11a0a}\x{11a33}-\x{11a39}\x{11a3b}-\x{11a3e}\x{11a47})"
    R"(\x{11a51}-\x{11a5b}\x{11a8a}-\x{11a99}\x{11d31}-\x{11d36}\x{11d3a})"
    R"(\x{11d3c}-\x{11d3d}\x{11d3f}-\x{11d45}\x{11d47}\x{11d8a}-\x{11d8e})"
    R"(\x{11d90}-\x{11d91}\x{11d93}-\x{11d97}\x{11ef3}-\x{11ef6}\x{16f4f})"
    R"(\x{16f7f}-\x{16f87}\x{16fe4}\x{16ff0}-\x{16ff1}\x{1cf00}-\x{1cf2d})"
    R"(\x{1cf30}-\x{1cf46}\x{1e130}-\x{1e136}\x{1e2ae}\x{1e2ec}-\x{1e2ef})";

constexpr std::string_view kNewNonspacingMarks =
    R"(\x{7fd}\x{898}-\x{89f}\x{8ca}-\x{8e1}\x{9fe}\x{afa}-\x{aff}\x{b55}\x{c04}\x{c3c})"
    R"(\x{d00}\x{d3b}-\x{d3c}\x{d81}\x{eba}\x{180f}\x{1885}-\x{1886}\x{1abf}-\x{1ace})"
    R"(\x{1df6}-\x{1dfb}\x{a82c}\x{a8c5}\x{a8ff}\x{a9bd}\x{10d24}-\x{10d27})"
    R"(\x{10eab}-\x{10eac}\x{10f46}-\x{10f50}\x{10f82}-\x{10f85}\x{11070})"
    R"(\x{11073}-\x{11074}\x{110c2}\x{111c9}\x{111cf}\x{1123e}\x{1133b}\x{11438}-\x{1143f})"
    R"(\x{11442}-\x{11444}\x{11446}\x{1145e}\x{1182f}-\x{11837}\x{11839}-\x{1183a})"
    R"(\x{1193b}-\x{1193c}\x{1193e}\x{11943}\x{119d4}-\x{119d7}\x{119da}-\x{119db}\x{119e0})"
    R"(\x{11a01}-\x{11a0a}\x{11a33}-\x{11a38}\x{11a3b}-\x{11a3e}\x{11a47})"
    R"(\x{11a51}-\x{11a56}\x{11a59}-\x{11a5b}\x{11a8a}-\x{11a96}\x{11a98}-\x{11a99})"
    R"(\x{11c30}-\x{11c36}\x{11c38}-\x{11c3d}\x{11c3f}\x{11c92}-\x{11ca7})"
    R"(\x{11caa}-\x{11cb0}\x{11cb2}-\x{11cb3}\x{11cb5}-\x{11cb6}\x{11d31}-\x{11d36})"
    R"(\x{11d3a}\x{11d3c}-\x{11d3d}\x{11d3f}-\x{11d45}\x{11d47}\x{11d90}-\x{11d91}\x{11d95})"
    R"(\x{11d97}\x{11ef3}-\x{11ef4}\x{16f4f}\x{16fe4}\x{1cf00}-\x{1cf2d}\x{1cf30}-\x{1cf46})"
    R"(\x{1e000}-\x{1e006}\x{1e008}-\x{1e018}\x{1e01b}-\x{1e021}\x{1e023}-\x{1e024})"
    R"(\x{1e026}-\x{1e02a}\x{1e130}-\x{1e136}\x{1e2ae}\x{1e2ec}-\x{1e2ef})"
    R"(\x{1e944}-\x{1e94a})";

/// The members of a class that are not among those others: looked at behind the match, so that it
/// costs nothing where there is none.
std::string without(std::string_view members, std::string_view others) {
    return fmt::format("[{}](?<![{}])", members, others);
}

}  // namespace

std::string hf_word() {
    return R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])";
}

std::string hf_punctuation() {
    return without(R"(\p{P}$+<=>^`|~\x{166d}\x{111c9})", kNewPunctuation);
}

std::string hf_numeric() {
    return R"([\p{N}\x{11de0}-\x{11de9}\x{16ff4}-\x{16ff6}])";
}

std::string hf_mark() {
    return without(R"(\p{M}\x{1cf2}\x{1cf3})", kNewMarks);
}

std::string hf_nonspacing_mark() {
    return without(R"(\p{Mn}\x{1734})", kNewNonspacingMarks);
}

}  // namespace llmsql
