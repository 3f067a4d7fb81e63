# SPDX-License-Identifier: MIT
# Read by cpack before it packages anything. A package of an earlier run is removed first, so that what lies there
# afterwards is of this run or not at all; then what CPack's DEB generator needs must be there.
if(CPACK_GENERATOR STREQUAL "DEB")
  set(folder "${CPACK_PACKAGE_DIRECTORY}")
  if(NOT folder)
    set(folder "${CPACK_TOPLEVEL_DIRECTORY}")
  endif()
  file(GLOB earlier "${folder}/${CPACK_PACKAGE_NAME}_*.deb")
  if(earlier)
    file(REMOVE ${earlier})
  endif()
  find_program(LLMSQL_SHLIBDEPS dpkg-shlibdeps)
  find_program(LLMSQL_FILE file)
  if(NOT LLMSQL_SHLIBDEPS OR NOT LLMSQL_FILE)
    message(FATAL_ERROR "no package is made: it needs 'apt-get install dpkg-dev file'")
  endif()
endif()
