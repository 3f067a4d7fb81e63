/* SPDX-License-Identifier: MIT */
/* A library to preload into a program, whose main() then meets a fault: LLMSQL_FAULT says which
   kind, "memory" or "files", LLMSQL_FAULT_POINT which point of it, LLMSQL_FAULT_LASTS whether all
   after it fail too. LLMSQL_FAULT_REPORT names a file for the call that failed ("-" if there were
   fewer points). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "points.h"

typedef int Main(int, char**, char**);
static Main* program;

static int run(int count, char** arguments, char** environment) {
    const char* kind = getenv("LLMSQL_FAULT");
    const char* point = getenv("LLMSQL_FAULT_POINT");
    const char* report = getenv("LLMSQL_FAULT_REPORT");
    if (kind && point)
        fault_arm(strcmp(kind, "memory") == 0 ? FAULT_MEMORY : FAULT_FILES, atol(point),
                  getenv("LLMSQL_FAULT_LASTS") != NULL);
    const int status = program(count, arguments, environment);
    fault_disarm();
    FILE* file = report ? fopen(report, "w") : NULL;
    if (file) {
        fprintf(file, "%s\n", fault_fired() ? fault_fired() : "-");
        fclose(file);
    }
    return status;
}

int __libc_start_main(Main* main, int count, char** arguments, void (*begin)(void),
                      void (*end)(void), void (*last)(void), void* stack) {
    program = main;
    __typeof__(&__libc_start_main) next =
        __extension__(__typeof__(&__libc_start_main)) dlsym(RTLD_NEXT, "__libc_start_main");
    return next(run, count, arguments, begin, end, last, stack);
}
