// SPDX-License-Identifier: MIT
// The functions of SQLite that are called, by their names in sqlite3_api_routines: a list
// for macros. FUNCTION(name) cannot be done without; OMITTED(name, option) neither, but a SQLite
// that was built with the option lacks it; DISPENSABLE(name, option) has a substitute
// (runtime/extension/sqlite_library.h); its option is null where none is known.
#pragma once

// clang-format off
#define LLMSQL_SQLITE_FUNCTIONS(FUNCTION, OMITTED, DISPENSABLE) \
    FUNCTION(aggregate_context) \
    FUNCTION(bind_blob) \
    FUNCTION(bind_blob64) \
    FUNCTION(bind_double) \
    FUNCTION(bind_int64) \
    FUNCTION(bind_parameter_count) \
    FUNCTION(bind_parameter_name) \
    FUNCTION(bind_text64) \
    DISPENSABLE(blob_bytes, "SQLITE_OMIT_INCRBLOB") \
    DISPENSABLE(blob_close, "SQLITE_OMIT_INCRBLOB") \
    DISPENSABLE(blob_open, "SQLITE_OMIT_INCRBLOB") \
    DISPENSABLE(blob_read, "SQLITE_OMIT_INCRBLOB") \
    DISPENSABLE(blob_reopen, "SQLITE_OMIT_INCRBLOB") \
    DISPENSABLE(blob_write, "SQLITE_OMIT_INCRBLOB") \
    FUNCTION(busy_timeout) \
    FUNCTION(changes) \
    FUNCTION(clear_bindings) \
    FUNCTION(close_v2) \
    FUNCTION(column_blob) \
    FUNCTION(column_bytes) \
    FUNCTION(column_count) \
    FUNCTION(column_double) \
    FUNCTION(column_int64) \
    FUNCTION(column_name) \
    FUNCTION(column_text) \
    FUNCTION(column_type) \
    FUNCTION(column_value) \
    FUNCTION(context_db_handle) \
    FUNCTION(create_function_v2) \
    OMITTED(create_module_v2, "SQLITE_OMIT_VIRTUALTABLE") \
    FUNCTION(db_config) \
    FUNCTION(db_handle) \
    FUNCTION(db_readonly) \
    OMITTED(declare_vtab, "SQLITE_OMIT_VIRTUALTABLE") \
    FUNCTION(errmsg) \
    FUNCTION(errstr) \
    FUNCTION(exec) \
    FUNCTION(extended_result_codes) \
    FUNCTION(file_control) \
    FUNCTION(finalize) \
    FUNCTION(free) \
    FUNCTION(get_autocommit) \
    FUNCTION(interruptx) \
    FUNCTION(last_insert_rowid) \
    FUNCTION(libversion) \
    FUNCTION(libversion_number) \
    FUNCTION(limit) \
    DISPENSABLE(memory_used, nullptr) \
    FUNCTION(mprintf) \
    DISPENSABLE(mutex_alloc, "SQLITE_MUTEX_OMIT") \
    DISPENSABLE(mutex_leave, "SQLITE_MUTEX_OMIT") \
    DISPENSABLE(mutex_try, "SQLITE_MUTEX_OMIT") \
    FUNCTION(next_stmt) \
    FUNCTION(open_v2) \
    FUNCTION(prepare_v2) \
    FUNCTION(prepare_v3) \
    DISPENSABLE(progress_handler, "SQLITE_OMIT_PROGRESS_CALLBACK") \
    FUNCTION(reset) \
    FUNCTION(result_double) \
    FUNCTION(result_error) \
    FUNCTION(result_error_code) \
    FUNCTION(result_error_nomem) \
    FUNCTION(result_error_toobig) \
    FUNCTION(result_int) \
    FUNCTION(result_int64) \
    FUNCTION(result_pointer) \
    FUNCTION(result_text) \
    FUNCTION(result_text64) \
    FUNCTION(result_value) \
    OMITTED(set_authorizer, "SQLITE_OMIT_AUTHORIZATION") \
    FUNCTION(step) \
    FUNCTION(stmt_busy) \
    FUNCTION(stmt_isexplain) \
    FUNCTION(stmt_readonly) \
    FUNCTION(stmt_status) \
    FUNCTION(system_errno) \
    FUNCTION(table_column_metadata) \
    FUNCTION(user_data) \
    FUNCTION(value_blob) \
    FUNCTION(value_bytes) \
    FUNCTION(value_double) \
    FUNCTION(value_dup) \
    FUNCTION(value_free) \
    FUNCTION(value_int64) \
    FUNCTION(value_numeric_type) \
    FUNCTION(value_pointer) \
    FUNCTION(value_text) \
    FUNCTION(value_type) \
    OMITTED(vtab_config, "SQLITE_OMIT_VIRTUALTABLE") \
    FUNCTION(xthreadsafe)
// clang-format on
