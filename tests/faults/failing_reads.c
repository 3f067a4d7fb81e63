// SPDX-License-Identifier: MIT
/* A library to preload: reads of files whose names end in ".db" are counted, and the one whose
   number LLMSQL_FAIL_READ says fails with EIO; LLMSQL_COUNT_READS names a file to write the count
   to. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long reads;

static int fails(int fd) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, name, sizeof name);
    if (length < 3 || memcmp(name + length - 3, ".db", 3) != 0) return 0;
    const char* chosen = getenv("LLMSQL_FAIL_READ");
    if (atomic_fetch_add(&reads, 1) + 1 != (chosen ? atol(chosen) : 0)) return 0;
    errno = EIO;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t read(int fd, void* out, size_t bytes) {
    return fails(fd) ? -1 : NEXT(read)(fd, out, bytes);
}
ssize_t pread(int fd, void* out, size_t bytes, off_t offset) {
    return fails(fd) ? -1 : NEXT(pread)(fd, out, bytes, offset);
}
ssize_t pread64(int fd, void* out, size_t bytes, off64_t offset) {
    return fails(fd) ? -1 : NEXT(pread64)(fd, out, bytes, offset);
}
ssize_t preadv(int fd, const struct iovec* parts, int count, off_t offset) {
    return fails(fd) ? -1 : NEXT(preadv)(fd, parts, count, offset);
}
ssize_t preadv64(int fd, const struct iovec* parts, int count, off64_t offset) {
    return fails(fd) ? -1 : NEXT(preadv64)(fd, parts, count, offset);
}

__attribute__((destructor)) static void report(void) {
    const char* name = getenv("LLMSQL_COUNT_READS");
    FILE* file = name ? fopen(name, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", atomic_load(&reads));
    fclose(file);
}
