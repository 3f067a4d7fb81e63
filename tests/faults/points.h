/* SPDX-License-Identifier: MIT */
/* Points at which a program can be made to fail: each allocation, and each call that opens, reads,
   writes or looks at a file, maps one, or starts a thread. Linked into a program, or preloaded
   (preload.c). */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

#define FAULT_MEMORY 1u
#define FAULT_FILES 2u

/* The point of that number (from 1) fails, of those kinds; what comes after it too, if it lasts. */
void fault_arm(unsigned kinds, long point, int lasting);

/* Nothing fails any more. How many points there were since fault_arm(). */
long fault_disarm(void);

/* The call that failed, the first if several did; null if none has. */
const char* fault_fired(void);

/* Whether files could not be removed. */
int fault_kept_files(void);

/* Whether this call is to fail. */
int fault_here(unsigned kind, const char* call);

#ifdef __cplusplus
}
#endif
