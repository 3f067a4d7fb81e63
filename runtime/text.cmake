# The text side of the runtime, and the program llmsql-run.
target_sources(llmsql_runtime PRIVATE
  text/merge.cpp
  text/pre_tokenizer.cpp
  text/tokenizer.cpp
  text/utf8.cpp
  text/vocabulary.cpp)
