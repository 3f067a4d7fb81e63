# SPDX-License-Identifier: MIT
# A toolchain for programs that run on every Linux from glibc 2.28 on, of either processor: Zig's C++ compiler, which
# is Clang with the C libraries of all versions and a C++ library that is linked in. LLMSQL_ZIG names it (it comes
# in the Python package ziglang), LLMSQL_TARGET the processor: x86_64 or aarch64.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LLMSQL_ZIG LLMSQL_TARGET LLMSQL_BUNDLED)
if(NOT LLMSQL_ZIG OR NOT LLMSQL_TARGET MATCHES "^(x86_64|aarch64)$")
  message(FATAL_ERROR "packaging/zig.cmake: say -DLLMSQL_ZIG=…/zig and -DLLMSQL_TARGET=x86_64 or aarch64")
endif()
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR ${LLMSQL_TARGET})

# CMake wants one word for each program.
set(llmsql_programs ${CMAKE_BINARY_DIR}/zig)
if(CMAKE_BINARY_DIR MATCHES "CMakeFiles/")  # of a trial
  set(llmsql_programs ${CMAKE_BINARY_DIR}/../../../zig)
endif()
foreach(program cc c++)
  set(content "#!/bin/sh\nexec '${LLMSQL_ZIG}' ${program} -target ${LLMSQL_TARGET}-linux-gnu.2.28 \"$@\"\n")
  set(file ${llmsql_programs}/${program})
  set(there "")
  if(EXISTS ${file})
    file(READ ${file} there)
  endif()
  if(NOT there STREQUAL content)
    file(WRITE ${file} "${content}")
    file(CHMOD ${file} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  endif()
endforeach()
set(CMAKE_C_COMPILER ${llmsql_programs}/cc)
set(CMAKE_CXX_COMPILER ${llmsql_programs}/c++)
if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL LLMSQL_TARGET)
  find_program(CMAKE_STRIP NAMES ${LLMSQL_TARGET}-linux-gnu-strip llvm-strip)
  find_program(CMAKE_OBJCOPY NAMES ${LLMSQL_TARGET}-linux-gnu-objcopy llvm-objcopy)
endif()

# Lines for debuggers, which stripping takes off; the same bytes wherever it is built.
get_filename_component(llmsql_source ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
get_filename_component(llmsql_zig_folder ${LLMSQL_ZIG} DIRECTORY)
string(CONCAT flags "-g1 -ffunction-sections -fdata-sections -ffile-prefix-map=${llmsql_source}=. "
       "-ffile-prefix-map=${LLMSQL_BUNDLED}=bundled -ffile-prefix-map=${llmsql_zig_folder}=zig "
       "-ffile-prefix-map=${CMAKE_BINARY_DIR}=build")
set(CMAKE_C_FLAGS_INIT "${flags}")
set(CMAKE_CXX_FLAGS_INIT "${flags}")
foreach(kind EXE SHARED MODULE)
  set(CMAKE_${kind}_LINKER_FLAGS_INIT "-Wl,--gc-sections -Wl,--build-id=sha1")
endforeach()
string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -pie")  # as a Debian's own compiler does; Zig's doesn't unless it is told

# Nothing of the machine that builds is looked at, but its programs.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_FIND_ROOT_PATH ${CMAKE_BINARY_DIR}/nothing)
