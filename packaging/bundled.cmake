# SPDX-License-Identifier: MIT
# The libraries of others, compiled from their sources (packaging/fetch-sources) and linked in: in place of
# find_package and pkg-config, under the names that these give. For packages that are to run everywhere.
set(sources ${LLMSQL_BUNDLED})
if(NOT EXISTS ${sources}/versions)
  message(FATAL_ERROR "LLMSQL_BUNDLED: ${sources} is not what packaging/fetch-sources makes: run it with that folder")
endif()

# Nothing of them is seen from outside of what they are linked into, nor a warning of theirs here. Packages have most of
# them several times: -Os, where nothing else is named behind it.
function(bundle name)
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${ARGN})
  target_compile_options(${name} PRIVATE -w $<$<CONFIG:Release>:-Os>)
  set_target_properties(${name} PROPERTIES C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden
                                           VISIBILITY_INLINES_HIDDEN ON)
endfunction()

function(bundle_headers name)
  add_library(${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${name} INTERFACE ${sources}/include)
endfunction()
bundle_headers(CLI11::CLI11)
bundle_headers(nlohmann_json::nlohmann_json)
bundle_headers(tomlplusplus::tomlplusplus)

bundle(bundled_fmt ${sources}/fmtlib/src/format.cc ${sources}/fmtlib/src/os.cc)
target_include_directories(bundled_fmt SYSTEM PUBLIC ${sources}/fmtlib/include)
add_library(fmt::fmt ALIAS bundled_fmt)

bundle(bundled_xxhash ${sources}/xxhash/xxhash.c)
target_compile_options(bundled_xxhash PRIVATE -O3)
target_include_directories(bundled_xxhash SYSTEM PUBLIC ${sources}/xxhash)
add_library(PkgConfig::XXHASH ALIAS bundled_xxhash)

# Of what Debian chooses all that a plan may use: no virtual tables of SQLite's own are among that.
bundle(bundled_sqlite ${sources}/sqlite3/sqlite3.c)
target_compile_options(bundled_sqlite PRIVATE -O2)
target_compile_definitions(bundled_sqlite PRIVATE
  SQLITE_THREADSAFE=1 SQLITE_ENABLE_COLUMN_METADATA SQLITE_ENABLE_MATH_FUNCTIONS SQLITE_USE_URI=1
  SQLITE_DEFAULT_WAL_SYNCHRONOUS=1 HAVE_USLEEP=1 HAVE_FDATASYNC=1 HAVE_LOCALTIME_R=1 HAVE_PREAD=1 HAVE_PWRITE=1)
target_include_directories(bundled_sqlite SYSTEM PUBLIC ${sources}/sqlite3)
target_link_libraries(bundled_sqlite PUBLIC Threads::Threads m ${CMAKE_DL_LIBS})
add_library(PkgConfig::SQLITE3 ALIAS bundled_sqlite)
set(SQLITE3_INCLUDE_DIRS ${sources}/sqlite3)

# PCRE2 of bytes with Unicode, interpreted.
set(pcre2 ${CMAKE_BINARY_DIR}/bundled/pcre2)
file(MAKE_DIRECTORY ${pcre2})
configure_file(${sources}/pcre2/src/pcre2.h.generic ${pcre2}/pcre2.h COPYONLY)
configure_file(${sources}/pcre2/src/config.h.generic ${pcre2}/config.h COPYONLY)
configure_file(${sources}/pcre2/src/pcre2_chartables.c.dist ${pcre2}/pcre2_chartables.c COPYONLY)
set(parts auto_possess compile config context convert dfa_match error extuni find_bracket maketables match match_data
          newline ord2utf pattern_info script_run serialize string_utils study substitute substring tables ucd valid_utf
          xclass jit_compile)
list(TRANSFORM parts REPLACE "(.+)" "${sources}/pcre2/src/pcre2_\\1.c")
bundle(bundled_pcre2 ${parts} ${pcre2}/pcre2_chartables.c)
target_compile_options(bundled_pcre2 PRIVATE -O2)
target_compile_definitions(bundled_pcre2 PRIVATE HAVE_CONFIG_H SUPPORT_PCRE2_8 SUPPORT_UNICODE PUBLIC PCRE2_STATIC
                                                 PCRE2_CODE_UNIT_WIDTH=8)
target_include_directories(bundled_pcre2 SYSTEM PUBLIC ${pcre2} PRIVATE ${sources}/pcre2/src)
add_library(PkgConfig::PCRE2 ALIAS bundled_pcre2)

bundle(bundled_utf8proc ${sources}/utf8proc/utf8proc.c)
target_compile_definitions(bundled_utf8proc PUBLIC UTF8PROC_STATIC)
target_include_directories(bundled_utf8proc SYSTEM PUBLIC ${sources}/utf8proc)
add_library(PkgConfig::UTF8PROC ALIAS bundled_utf8proc)

# What compiler/front.cmake looks for.
set(antlr ${sources}/antlr4-cpp-runtime/runtime/src)
file(GLOB_RECURSE parts CONFIGURE_DEPENDS ${antlr}/*.cpp)
bundle(bundled_antlr ${parts})
set_target_properties(bundled_antlr PROPERTIES CXX_STANDARD 14)  # its sources are not C++17 throughout
target_include_directories(bundled_antlr SYSTEM PRIVATE ${antlr} ${antlr}/atn ${antlr}/dfa ${antlr}/misc ${antlr}/support
                           ${antlr}/tree ${antlr}/tree/pattern ${antlr}/tree/xpath ${sources}/include
                           ${sources}/include/utf8)
set(ANTLR4_INCLUDE ${antlr} CACHE PATH "" FORCE)
set(ANTLR4_RUNTIME bundled_antlr CACHE STRING "" FORCE)
