/* SPDX-License-Identifier: MIT */
/* The calls of the C library that can be made to fail. They stand before those of the library
   itself, for SQLite and the C++ library too. Allocations: see memory.cpp for what the sanitizers
   allow. */
#define _GNU_SOURCE
#include "points.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_uint armed;
static atomic_long passed, chosen;
static atomic_bool lasts, kept_files;
static _Atomic(const char*) fired;

void fault_arm(unsigned kinds, long point, int lasting) {
    atomic_store(&passed, 0);
    atomic_store(&chosen, point);
    atomic_store(&lasts, lasting);
    atomic_store(&fired, NULL);
    atomic_store(&kept_files, 0);
    atomic_store(&armed, kinds);
}

long fault_disarm(void) {
    atomic_store(&armed, 0);
    return atomic_load(&passed);
}

const char* fault_fired(void) {
    return atomic_load(&fired);
}

int fault_kept_files(void) {
    return atomic_load(&kept_files);
}

int fault_here(unsigned kind, const char* call) {
    if (!(atomic_load(&armed) & kind)) return 0;
    const long here = atomic_fetch_add(&passed, 1) + 1, point = atomic_load(&chosen);
    if (here != point && !(here > point && atomic_load(&lasts))) return 0;
    const char* none = NULL;
    atomic_compare_exchange_strong(&fired, &none, call);
    if (strncmp(call, "unlink", 6) == 0) atomic_store(&kept_files, 1);
    return 1;
}

static int fails_at(const char* call, int error) {
    if (!fault_here(FAULT_FILES, call)) return 0;
    errno = error;
    return 1;
}

/* The library's own function. */
#define NEXT(name)                                                    \
    __extension__({                                                   \
        static __typeof__(&name) next;                                \
        if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        next;                                                         \
    })

#define POINT(type, name, parameters, arguments, error, failure)        \
    type name parameters {                                              \
        return fails_at(#name, error) ? failure : NEXT(name) arguments; \
    }

/* A full disk takes a part. */
#define WRITE(name, parameters, arguments, part)                          \
    ssize_t name parameters {                                             \
        if (!fault_here(FAULT_FILES, #name)) return NEXT(name) arguments; \
        if (NEXT(name) part < 0) { /* as if */                            \
        }                                                                 \
        errno = ENOSPC;                                                   \
        return -1;                                                        \
    }

#define OPEN(name, before, names)                                                  \
    int name(before const char* path, int flags, ...) {                            \
        mode_t mode = 0;                                                           \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                     \
            va_list more;                                                          \
            va_start(more, flags);                                                 \
            mode = va_arg(more, mode_t);                                           \
            va_end(more);                                                          \
        }                                                                          \
        return fails_at(#name, EMFILE) ? -1 : NEXT(name)(names path, flags, mode); \
    }
#define COMMA ,

/* Locks can fail; the rest of what fcntl() does cannot, in earnest. */
#define FCNTL(name)                                                                    \
    int name(int fd, int command, ...) {                                               \
        va_list more;                                                                  \
        va_start(more, command);                                                       \
        void* argument = va_arg(more, void*);                                          \
        va_end(more);                                                                  \
        const int locks = command == F_SETLK || command == F_SETLKW;                   \
        return locks && fails_at(#name, EIO) ? -1 : NEXT(name)(fd, command, argument); \
    }

OPEN(open, , )
OPEN(open64, , )
OPEN(openat, int folder COMMA, folder COMMA)
OPEN(openat64, int folder COMMA, folder COMMA)
FCNTL(fcntl)
FCNTL(fcntl64)
POINT(FILE*, fopen, (const char* path, const char* mode), (path, mode), EMFILE, NULL)
POINT(FILE*, fopen64, (const char* path, const char* mode), (path, mode), EMFILE, NULL)
POINT(DIR*, opendir, (const char* path), (path), EMFILE, NULL)
POINT(DIR*, fdopendir, (int fd), (fd), ENOMEM, NULL)
POINT(struct dirent*, readdir, (DIR * folder), (folder), EIO, NULL)
POINT(struct dirent64*, readdir64, (DIR * folder), (folder), EIO, NULL)
POINT(ssize_t, read, (int fd, void* out, size_t bytes), (fd, out, bytes), EIO, -1)
POINT(ssize_t, pread, (int fd, void* out, size_t bytes, off_t at), (fd, out, bytes, at), EIO, -1)
POINT(ssize_t, pread64, (int fd, void* out, size_t bytes, off64_t at), (fd, out, bytes, at), EIO,
      -1)
POINT(ssize_t, preadv, (int fd, const struct iovec* parts, int count, off_t at),
      (fd, parts, count, at), EIO, -1)
POINT(ssize_t, preadv64, (int fd, const struct iovec* parts, int count, off64_t at),
      (fd, parts, count, at), EIO, -1)
WRITE(write, (int fd, const void* data, size_t bytes), (fd, data, bytes), (fd, data, bytes / 2))
WRITE(pwrite, (int fd, const void* data, size_t bytes, off_t at), (fd, data, bytes, at),
      (fd, data, bytes / 2, at))
WRITE(pwrite64, (int fd, const void* data, size_t bytes, off64_t at), (fd, data, bytes, at),
      (fd, data, bytes / 2, at))
WRITE(writev, (int fd, const struct iovec* parts, int count), (fd, parts, count),
      (fd, parts, count / 2))
POINT(int, fsync, (int fd), (fd), EIO, -1)
POINT(int, fdatasync, (int fd), (fd), EIO, -1)
POINT(int, ftruncate, (int fd, off_t bytes), (fd, bytes), EIO, -1)
POINT(int, ftruncate64, (int fd, off64_t bytes), (fd, bytes), EIO, -1)
POINT(int, rename, (const char* from, const char* to), (from, to), EIO, -1)
POINT(int, unlink, (const char* path), (path), EIO, -1)
POINT(int, unlinkat, (int folder, const char* path, int flags), (folder, path, flags), EIO, -1)
POINT(int, mkdir, (const char* path, mode_t mode), (path, mode), EIO, -1)
POINT(int, access, (const char* path, int mode), (path, mode), EIO, -1)
POINT(int, faccessat, (int folder, const char* path, int mode, int flags),
      (folder, path, mode, flags), EIO, -1)
POINT(int, stat, (const char* path, struct stat* info), (path, info), EIO, -1)
POINT(int, stat64, (const char* path, struct stat64* info), (path, info), EIO, -1)
POINT(int, lstat, (const char* path, struct stat* info), (path, info), EIO, -1)
POINT(int, lstat64, (const char* path, struct stat64* info), (path, info), EIO, -1)
POINT(int, fstat, (int fd, struct stat* info), (fd, info), EIO, -1)
POINT(int, fstat64, (int fd, struct stat64* info), (fd, info), EIO, -1)
POINT(ssize_t, readlink, (const char* path, char* out, size_t bytes), (path, out, bytes), EIO, -1)
POINT(char*, getcwd, (char* out, size_t bytes), (out, bytes), EIO, NULL)
POINT(char*, realpath, (const char* path, char* out), (path, out), EIO, NULL)
POINT(void*, mmap, (void* at, size_t bytes, int access, int flags, int fd, off_t offset),
      (at, bytes, access, flags, fd, offset), ENOMEM, MAP_FAILED)
POINT(void*, mmap64, (void* at, size_t bytes, int access, int flags, int fd, off64_t offset),
      (at, bytes, access, flags, fd, offset), ENOMEM, MAP_FAILED)
POINT(int, madvise, (void* at, size_t bytes, int advice), (at, bytes, advice), ENOMEM, -1)
POINT(int, mincore, (void* at, size_t bytes, unsigned char* out), (at, bytes, out), EAGAIN, -1)
int pthread_create(pthread_t* thread, const pthread_attr_t* how, void* (*body)(void*),
                   void* argument) {
    return fault_here(FAULT_FILES, "pthread_create")
               ? EAGAIN
               : NEXT(pthread_create)(thread, how, body, argument);
}

/* Once something has failed nobody waits for it to get better, as SQLite does for a lock, ten
 * seconds long. */
int usleep(useconds_t time) {
    return atomic_load(&armed) && atomic_load(&fired) ? 0 : NEXT(usleep)(time);
}

/* AddressSanitizer's allocator cannot be stood before. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static int no_memory(const char* call) {
    if (!fault_here(FAULT_MEMORY, call)) return 0;
    errno = ENOMEM;
    return 1;
}
void* malloc(size_t bytes) {
    return no_memory("malloc") ? NULL : __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
    return no_memory("calloc") ? NULL : __libc_calloc(count, bytes);
}
void* realloc(void* memory, size_t bytes) {
    return bytes > 0 && no_memory("realloc") ? NULL : __libc_realloc(memory, bytes);
}
void* memalign(size_t alignment, size_t bytes) {
    return no_memory("memalign") ? NULL : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(size_t alignment, size_t bytes) {
    return no_memory("aligned_alloc") ? NULL : __libc_memalign(alignment, bytes);
}
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
    if (no_memory("posix_memalign")) return ENOMEM;
    *memory = __libc_memalign(alignment, bytes);
    return *memory ? 0 : ENOMEM;
}
#endif
