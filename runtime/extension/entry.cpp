// libllmsql: the entry point that SQLite calls when the library is loaded.
#include "runtime/extension/call.h"

extern "C" {
SQLITE_EXTENSION_INIT1
}

namespace llmsql {
namespace {

// SQLite 3.31 brought SQLITE_DIRECTONLY; a library older than this one's headers lacks later calls,
// of which none is made.
constexpr int kOldestSqlite = 3031000;

int start(sqlite3* db, char** message) {
    return guard_method(message, [&] {
        if (sqlite3_libversion_number() < kOldestSqlite)
            throw std::runtime_error(std::string("llmsql needs SQLite 3.31 or later, this is ") +
                                     sqlite3_libversion());
        const auto host = std::make_shared<Host>(db);
        register_functions(host);
        register_stream(host);
        register_batch(host);
        register_by_hand(host);
        register_reference(host);
        // Files that are open stay so to the end of the process (model_file.h), and their registry
        // with them: unloaded with one connection and loaded with another, it would open them anew.
        return SQLITE_OK_LOAD_PERMANENTLY;
    });
}

}  // namespace
}  // namespace llmsql

extern "C" __attribute__((visibility("default"))) int sqlite3_llmsql_init(
    sqlite3* db, char** message, const sqlite3_api_routines* api) {
    SQLITE_EXTENSION_INIT2(api);
    return llmsql::start(db, message);
}
