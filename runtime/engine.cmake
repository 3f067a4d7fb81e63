# SPDX-License-Identifier: MIT
# What runs a plan: program/ storage/ tables/ ops/ kernels/ workers/
target_sources(llmsql_runtime PRIVATE
  kernels/avx2/exponentials.cpp
  kernels/avx2/kernels.cpp
  kernels/avx512/exponentials.cpp
  kernels/avx512/kernels.cpp
  kernels/dispatch.cpp
  kernels/neon/kernels.cpp
  kernels/portable/exponentials.cpp
  kernels/portable/kernels.cpp
  ops/arguments.cpp
  ops/attention.cpp
  ops/choice.cpp
  ops/element.cpp
  ops/evaluate.cpp
  ops/expr.cpp
  ops/functions.cpp
  ops/head.cpp
  ops/inspect.cpp
  ops/matrix.cpp
  ops/place.cpp
  ops/shares.cpp
  profile/profiler.cpp
  program/engine.cpp
  program/installed_plans.cpp
  program/program.cpp
  program/sandbox.cpp
  program/text_functions.cpp
  storage/arena.cpp
  storage/blob_pages.cpp
  storage/direct_reader.cpp
  storage/io_choice.cpp
  storage/kv_cache.cpp
  storage/map_reader.cpp
  storage/model_db.cpp
  storage/model_file.cpp
  storage/page_reader.cpp
  storage/strided.cpp
  storage/tile_reader.cpp
  storage/tiles.cpp
  storage/weights.cpp
  tables/chosen.cpp
  tables/kv.cpp
  tables/param.cpp
  tables/residency.cpp
  tables/table.cpp
  tables/tensor.cpp
  workers/workers.cpp)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # Only reached after the processor has been asked; see kernels/dispatch.cpp.
  set_source_files_properties(kernels/avx2/kernels.cpp PROPERTIES
                              COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-O3")
  # GCC 12 finds its own intrinsics' undefined operands uninitialised (its bug 105593).
  set_source_files_properties(
    kernels/avx512/kernels.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mfma;-mf16c;-O3;$<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized;-Wno-maybe-uninitialized>")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set_source_files_properties(kernels/neon/kernels.cpp PROPERTIES
                              COMPILE_OPTIONS "-march=armv8.2-a+dotprod;-O3")
endif()
# A product and a sum rounded as one would make them other numbers than on other processors.
set(exponentials "-O3;-ffp-contract=off;-fno-trapping-math")
set_source_files_properties(kernels/portable/exponentials.cpp
                            PROPERTIES COMPILE_OPTIONS "${exponentials}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(kernels/avx2/exponentials.cpp
                              PROPERTIES COMPILE_OPTIONS "-mavx2;${exponentials}")
  set_source_files_properties(
    kernels/avx512/exponentials.cpp PROPERTIES COMPILE_OPTIONS
    "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;${exponentials}")
endif()
# The arithmetic is worth its optimisation in every build type.
set_source_files_properties(kernels/portable/kernels.cpp ops/element.cpp text/sampler.cpp
                            PROPERTIES COMPILE_OPTIONS "-O3")
