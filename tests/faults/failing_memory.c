/* An allocator that fails on demand, in front of glibc's. */
#include "failing_memory.h"
#include "support/slow_build.h"
#include <errno.h>
#include <stddef.h>

static _Thread_local bool armed;
static _Thread_local long until_failure, live_blocks;

bool failing_memory_available(void)
{
    return !TESTS_SANITIZED;
}

void failing_memory_arm(long nth)
{
    until_failure = nth;
    live_blocks = 0;
    armed = true;
}

bool failing_memory_disarm(long *leaked)
{
    armed = false;
    *leaked = live_blocks;
    return until_failure <= 0;
}

#if !TESTS_SANITIZED

/* glibc's allocator under its internal names, exported for replacements such as this one. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);
void *aligned_alloc(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);
int posix_memalign(void **out, size_t alignment, size_t size);
void free(void *block);

/* True when the allocation at hand is the one that fails. */
static bool fails_now(void)
{
    if (!armed || --until_failure != 0)
        return false;
    errno = ENOMEM;
    return true;
}

static void *count_block(void *block)
{
    if (armed && block)
        live_blocks++;
    return block;
}

void *malloc(size_t size)
{
    return fails_now() ? NULL : count_block(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : count_block(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    if (fails_now())
        return NULL;
    void *moved = __libc_realloc(block, size);
    return block ? moved : count_block(moved);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails_now() ? NULL : count_block(__libc_memalign(alignment, size));
}

/* OpenMP's runtime takes its teams here and ends the program without memory: counted, because free() is, but never
 * refused. */
void *memalign(size_t alignment, size_t size)
{
    return count_block(__libc_memalign(alignment, size));
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    if (fails_now())
        return ENOMEM;
    void *block = count_block(__libc_memalign(alignment, size));
    if (!block)
        return ENOMEM;
    *out = block;
    return 0;
}

void free(void *block)
{
    if (armed && block)
        live_blocks--;
    __libc_free(block);
}

#endif
