# SPDX-License-Identifier: MIT
# The front: from a graph file and a model file to an OpGraph.
find_program(ANTLR4 antlr4 REQUIRED)
find_path(ANTLR4_INCLUDE antlr4-runtime.h PATH_SUFFIXES antlr4-runtime REQUIRED)
find_library(ANTLR4_RUNTIME antlr4-runtime REQUIRED)

set(GRAMMAR ${PROJECT_SOURCE_DIR}/grammar/Graph.g4)
set(GENERATED ${CMAKE_CURRENT_BINARY_DIR}/grammar)
set(GENERATED_FILES ${GENERATED}/GraphLexer.cpp ${GENERATED}/GraphLexer.h
                    ${GENERATED}/GraphParser.cpp ${GENERATED}/GraphParser.h)
add_custom_command(
  OUTPUT ${GENERATED_FILES}
  COMMAND ${ANTLR4} -Dlanguage=Cpp -no-visitor -no-listener -Xexact-output-dir -o ${GENERATED} ${GRAMMAR}
  DEPENDS ${GRAMMAR}
  COMMENT "Generating the graph parser"
  VERBATIM)

# The ANTLR runtime's headers are C++17: they put char8_t literals into std::string. Only the
# generated files and parser.cpp see them.
add_library(llmsql_grammar OBJECT ${GENERATED_FILES} parse/parser.cpp)
target_link_libraries(llmsql_grammar PRIVATE llmsql_options llmsql_common)
target_include_directories(llmsql_grammar SYSTEM PRIVATE ${ANTLR4_INCLUDE} ${GENERATED})
target_compile_options(llmsql_grammar PRIVATE -fno-char8_t)
set_source_files_properties(${GENERATED}/GraphLexer.cpp ${GENERATED}/GraphParser.cpp
                            PROPERTIES COMPILE_OPTIONS -w)

target_sources(llmsql_compiler PRIVATE
  $<TARGET_OBJECTS:llmsql_grammar>
  parse/ast_text.cpp parse/source.cpp
  check/check.cpp check/declarations.cpp check/dimension.cpp check/expressions.cpp
  check/forward.cpp check/scalar.cpp check/signature.cpp
  model/instance.cpp model/model_file.cpp
  lower/lower.cpp load/load.cpp load/to_toml.cpp)
target_link_libraries(llmsql_compiler PRIVATE ${ANTLR4_RUNTIME} tomlplusplus::tomlplusplus)
