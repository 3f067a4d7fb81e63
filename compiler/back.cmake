# SPDX-License-Identifier: MIT
# The back half of the compiler: statements, memory, SQL text; and the llmsqlc program.
target_sources(llmsql_compiler PRIVATE
  ir/op_graph.cpp ir/plan.cpp ir/plan_text.cpp ir/text.cpp
  passes/passes.cpp
  fuse/split.cpp fuse/storage.cpp fuse/fuse.cpp
  memory/arena.cpp memory/verify.cpp
  memory/schedule.cpp memory/residency.cpp memory/verify_residency.cpp
  memory/budget.cpp
  emit/compile.cpp emit/comments.cpp emit/explain_page.cpp emit/memory_page.cpp
  emit/operators_page.cpp emit/sql_text.cpp
  emit/statements.cpp
  page/compiled_json.cpp)

add_executable(llmsqlc main.cpp install/install.cpp)
set_source_files_properties(main.cpp PROPERTIES COMPILE_OPTIONS
                            "$<$<CONFIG:Release>:-O1>")  # CLI11 takes its time
target_link_libraries(llmsqlc PRIVATE llmsql_compiler llmsql_sqlite llmsql_linked_sqlite CLI11::CLI11)
target_compile_definitions(llmsqlc PRIVATE
  LLMSQL_VERSION="${PROJECT_VERSION}"
  LLMSQL_GRAPHS="${CMAKE_INSTALL_FULL_DATADIR}/llmsql/graphs")
install(TARGETS llmsqlc RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
