# SPDX-License-Identifier: MIT
# What llmsql-run shows of a run: profile/ (but the profiler, which counts) and trace/.
add_library(llmsql_profile STATIC
  profile/profile_db.cpp
  profile/profile_page.cpp
  profile/profile_text.cpp
  profile/result_file.cpp
  trace/printer.cpp
  trace/recorded.cpp
  trace/trace_db.cpp
  trace/values.cpp)
target_link_libraries(llmsql_profile PUBLIC llmsql_options llmsql_runtime llmsql_database PRIVATE llmsql_page)
