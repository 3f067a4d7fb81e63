// SPDX-License-Identifier: MIT
// Installing a plan in the database of its model, so that one file is the whole of it.
#pragma once

#include <filesystem>
#include <string>

namespace llmsql::compiler {

/// What a plan must have in common with the database.
struct PlanIdentity {
    std::string model;            // the model's name
    std::string catalogue;        // its catalogue's checksum
    std::string renumbered = {};  // a parameter whose tiles the plan numbers as they have been cut
                                  // only since model format 4; empty if there is none
};

/// Puts the plan's text in the table llm_plan of a model database, in one transaction, in place of
/// the one of that name if there is one. Fails, the file being as it was, if the database holds
/// another model, is in use, or cannot be written.
void install_plan(const std::filesystem::path& db, const std::string& name, const std::string& sql,
                  const PlanIdentity& identity);

}  // namespace llmsql::compiler
