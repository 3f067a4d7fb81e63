// SPDX-License-Identifier: MIT
// The plans that are installed in a model database which is about to be replaced.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace llmsql {

struct InstalledPlans {
    std::string catalogue;                     // of the model that they are for
    std::map<std::string, std::string> texts;  // by name
    std::optional<std::string> unreadable;     // why it cannot be told which there are
    bool operator==(const InstalledPlans&) const = default;
};

/// Those in the model database at `path`, read as it lies there (as_it_is.h); none if there is no
/// file or an empty one. What is damaged does not fail but is told.
InstalledPlans plans_installed_in(const std::filesystem::path& path);

/// As long as it lives, nobody writes to the database at a path, so that none of its plans is lost
/// between looking and replacing. Fails if somebody is writing to it. Holds nothing where there is
/// no database, or one with a write-ahead log (which no plan of ours is installed by).
class NoWriters {
  public:
    explicit NoWriters(const std::filesystem::path& path);

  private:
    struct Closer {
        void operator()(sqlite3* db) const { sqlite3_close(db); }
    };
    std::unique_ptr<sqlite3, Closer> reader_;
};

}  // namespace llmsql
