# SPDX-License-Identifier: MIT
# libllmsql, the loadable extension: the same runtime, calling the SQLite that has loaded it.
add_library(llmsql MODULE
  extension/batch_table.cpp
  extension/by_hand.cpp
  extension/call.cpp
  extension/entry.cpp
  extension/functions.cpp
  extension/host.cpp
  extension/reference.cpp
  extension/sqlite_library.cpp
  extension/stream_table.cpp
  extension/table_function.cpp)
target_link_libraries(llmsql PRIVATE llmsql_runtime nlohmann_json::nlohmann_json)
target_compile_definitions(llmsql PRIVATE LLMSQL_VERSION="${PROJECT_VERSION}")
set_target_properties(llmsql PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
                                        LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
# Nothing but the entry point is seen from outside, and nothing of the host is taken by its name.
target_link_options(llmsql PRIVATE -Wl,--exclude-libs,ALL -Wl,-Bsymbolic)
if(NOT LLMSQL_SANITIZE AND NOT LLMSQL_TSAN)
  target_link_options(llmsql PRIVATE -Wl,--no-undefined -static-libgcc)
endif()
install(TARGETS llmsql LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
