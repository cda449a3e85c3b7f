/* Failing one allocation after the other. */
#include "each_allocation.h"
#include "failing_memory.h"
#include <criterion/criterion.h>
#include <string.h>

int test_fail_each_allocation(qd_context *ctx, enum qd_status (*operation)(void), void (*prepare)(void),
                              void (*check)(void))
{
    for (int nth = 1; nth < 10000; nth++) {
        long leaked;
        if (prepare)
            prepare();
        failing_memory_arm(nth);
        const enum qd_status status = operation();
        const bool reached = failing_memory_disarm(&leaked);
        cr_assert_eq(leaked, 0, "allocation %d: %ld blocks were not freed", nth, leaked);
        if (!reached) {
            cr_assert_eq(status, QD_OK, "%s", qd_context_error(ctx));
            return nth - 1;
        }
        if (status == QD_OK)
            continue; /* the C library found another way: an unbuffered stream */
        cr_assert(status == QD_ERR_MEMORY ||
                      (status == QD_ERR_IO && strstr(qd_context_error(ctx), "Cannot allocate memory") != NULL),
                  "allocation %d: %s: %s", nth, qd_status_name(status), qd_context_error(ctx));
        if (check)
            check();
    }
    cr_assert_fail("no end of allocations");
    return 0;
}
