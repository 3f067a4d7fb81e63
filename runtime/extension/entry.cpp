// SPDX-License-Identifier: MIT
// libllmsql: the entry point that SQLite calls when the library is loaded.
#include <cstring>

#include "runtime/extension/call.h"
#include "runtime/extension/sqlite_library.h"

namespace llmsql {
namespace {

int start(sqlite3* db, char** message) {
    return guard_method(message, [&] {
        const auto host = std::make_shared<Host>(db);
        register_functions(host);
        register_stream(host);
        register_batch(host);
        register_tool_calls(host);
        register_by_hand(host);
        register_reference(host);
        // Files that are open stay so to the end of the process (model_file.h), and their registry
        // with them: unloaded with one connection and loaded with another, it would open them anew.
        return SQLITE_OK_LOAD_PERMANENTLY;
    });
}

// In memory of the library that reads it, which may lack one function or the other.
char* message_of(const sqlite3_api_routines* api, const std::string& text) {
    if (!api) return nullptr;
    if (api->mprintf) return api->mprintf("%s", text.c_str());
    auto* copy =
        api->malloc ? static_cast<char*>(api->malloc(static_cast<int>(text.size()) + 1)) : nullptr;
    if (copy) std::memcpy(copy, text.c_str(), text.size() + 1);
    return copy;
}

int refuse(char** message, const sqlite3_api_routines* api, const std::string& text) {
    if (message) *message = message_of(api, text);
    return SQLITE_ERROR;
}

}  // namespace
}  // namespace llmsql

extern "C" __attribute__((visibility("default"))) int sqlite3_llmsql_init(
    sqlite3* db, char** message, const sqlite3_api_routines* api) {
    try {
        if (const std::string fault = llmsql::adopt_sqlite(api); !fault.empty())
            return llmsql::refuse(message, api, fault);
    } catch (const std::exception& error) {
        return llmsql::refuse(message, api, error.what());
    }
    return llmsql::start(db, message);
}
