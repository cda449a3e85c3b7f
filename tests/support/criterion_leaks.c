/* Criterion's own process ends with a little of its memory in use when tests took long, and the leak check would call
 * a run failed in which every test passed. Tests, and what they start, are processes of their own: those are checked.
 */
#include "support/slow_build.h"

#if TESTS_SANITIZED
#include <errno.h>
#include <sanitizer/lsan_interface.h>
#include <string.h>

/* As Criterion calls the processes of tests. */
#define TEST_PROCESS "boxfort-worker"

/* The name is the sanitizer's. */
int __lsan_is_turned_off(void)
{
    return strcmp(program_invocation_name, TEST_PROCESS) != 0;
}
#endif
