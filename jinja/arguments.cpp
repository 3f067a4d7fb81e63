// SPDX-License-Identifier: MIT
// Arguments of calls, bound to parameters. See builtins.h.
#include <algorithm>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {

Bound::Bound(std::string_view function, std::string_view names, size_t required,
             Arguments& arguments)
    : function_(function) {
    std::vector<std::string_view> parameters;
    while (!names.empty()) {
        const size_t end = std::min(names.find(' '), names.size());
        parameters.push_back(names.substr(0, end));
        names.remove_prefix(std::min(end + 1, names.size()));
    }
    if (arguments.by_place.size() > parameters.size())
        fail("{}() takes at most {}, {} given", function, counted(parameters.size(), "argument"),
             arguments.by_place.size());
    values_ = std::move(arguments.by_place);
    values_.resize(parameters.size());
    for (auto& [name, value] : arguments.by_name) {
        const auto at = std::ranges::find(parameters, name);
        if (at == parameters.end())
            fail("{}() got an unexpected keyword argument '{}'", function, printable(name));
        Value& place = values_[static_cast<size_t>(at - parameters.begin())];
        if (!place.missing())
            fail("{}() got multiple values for argument '{}'", function, printable(name));
        place = std::move(value);
    }
    for (size_t i = 0; i < required; ++i)
        if (!given(i)) fail("{}() misses the argument '{}'", function, parameters[i]);
}

int64_t Bound::integer(size_t i, int64_t otherwise) const {
    if (!given(i)) return otherwise;
    require_defined(values_[i]);
    const auto value = values_[i].integer();
    if (!value)
        fail("{}(): '{}' object cannot be interpreted as an integer", function_,
             values_[i].type_name());
    return *value;
}

bool Bound::truth(size_t i, bool otherwise) const {
    return given(i) ? jinja::truth(values_[i]) : otherwise;
}

const Chars& Bound::text(size_t i) const {
    if (!values_[i].text())
        fail("{}(): an argument must be a text, not '{}'", function_, values_[i].type_name());
    return values_[i].text()->chars;
}

}  // namespace llmsql::jinja
