// SPDX-License-Identifier: MIT
// JSON that nobody vouches for: parsed in bounded memory, with errors of one line.
//
// Beyond what a JSON parser refuses anyway, a name that an object has twice, nesting deeper than
// any real file's and more values than the caller allows are errors. Large tables need not be kept:
// `take` sees each value as it is complete and may take it for itself.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

using Json = nlohmann::json;

/// Where a value stands: names from the outermost object inwards, "" for an array's element.
using JsonPath = std::vector<std::string>;

/// Called with every value once it is complete; true if it need not be kept.
using JsonTake = std::function<bool(const JsonPath& path, Json& value)>;

struct JsonLimits {
    size_t bytes = 4 << 20;
    size_t values = 1 << 18;  // kept at one time
    JsonTake take = {};
};

/// `where` names the text in errors.
Json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits = {});

/// Parses the text of a file; errors name the file.
Json parse_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

/// A member of an object; null if `value` is no object, lacks it, or has it as null.
const Json* member(const Json& value, std::string_view name);

/// A value as messages show it: the beginning of its text; NaN and the infinities by their names.
std::string shown(const Json& value);

/// A member that must be text, or a truth value, if it is there; fails, naming `where`, if it is
/// something else.
std::optional<std::string> text_member(const Json& value, std::string_view name,
                                       const std::string& where);
std::optional<bool> flag_member(const Json& value, std::string_view name, const std::string& where);

}  // namespace llmsql
