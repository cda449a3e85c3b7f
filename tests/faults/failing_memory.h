/*
 * Makes one allocation of the calling thread fail, and counts what is not freed. The C library's allocator is
 * replaced in this test program only; under a sanitizer, which has an allocator of its own, nothing fails and nothing
 * is counted.
 */
#ifndef TESTS_FAULTS_FAILING_MEMORY_H
#define TESTS_FAULTS_FAILING_MEMORY_H

#include <stdbool.h>

/* False under a sanitizer: tests skip themselves. */
bool failing_memory_available(void);

/* From now on the nth allocation (1: the next) of this thread fails, the others succeed. */
void failing_memory_arm(long nth);

/* Ends it. True when the allocation that was to fail was reached; *leaked is the number of blocks allocated since
 * failing_memory_arm() by this thread and not freed. */
bool failing_memory_disarm(long *leaked);

#endif
