# SPDX-License-Identifier: MIT
# The text side of the runtime, and the program llmsql-run.
target_sources(llmsql_runtime PRIVATE
  generate/batch.cpp
  generate/generator.cpp
  generate/options.cpp
  generate/prompt.cpp
  generate/score.cpp
  session/block_store.cpp
  session/session.cpp
  session/session_file.cpp
  session/session_rows.cpp
  text/merge.cpp
  text/pre_tokenizer.cpp
  text/sampler.cpp
  text/stop_filter.cpp
  text/tokenizer.cpp
  text/vocabulary.cpp)

add_executable(llmsql-run
  cli/chat.cpp
  cli/console.cpp
  cli/generate.cpp
  cli/logits.cpp
  cli/main.cpp
  cli/options.cpp
  cli/perplexity.cpp
  cli/profile.cpp
  cli/session.cpp
  cli/timing.cpp
  cli/verify.cpp
  cli/watch.cpp)
set_source_files_properties(cli/options.cpp PROPERTIES COMPILE_OPTIONS
                            "$<$<CONFIG:Release>:-O1>")  # CLI11 takes its time
target_link_libraries(llmsql-run PRIVATE llmsql_profile llmsql_page llmsql_runtime llmsql_linked_sqlite llmsql_database CLI11::CLI11)
target_compile_definitions(llmsql-run PRIVATE LLMSQL_VERSION="${PROJECT_VERSION}")
install(TARGETS llmsql-run RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
