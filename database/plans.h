// SPDX-License-Identifier: MIT
// The plans that are installed in a model database which is about to be replaced.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "sqlite/connection.h"

namespace llmsql {

struct InstalledPlans {
    std::string catalogue;                     // of the model that they are for
    std::map<std::string, std::string> texts;  // by name
    std::optional<std::string> unreadable;     // why it cannot be told which there are
    bool operator==(const InstalledPlans&) const = default;
};

/// The plans in the model database at `path`, read as it lies there (Access::as_it_is); none if
/// there is no file or an empty one. What is damaged does not fail but is told.
InstalledPlans plans_installed_in(const std::filesystem::path& path);

/// As long as it lives, nobody writes to the database at a path, so that none of its plans is lost
/// between looking and replacing. Fails if somebody is writing to it. Holds nothing where there is
/// no database, or one with a write-ahead log (which no plan of ours is installed by).
class NoWriters {
  public:
    explicit NoWriters(const std::filesystem::path& path);

  private:
    Connection reader_;
};

}  // namespace llmsql
