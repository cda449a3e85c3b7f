/* A context for tests: silent, and a failed call that was meant to succeed shows its sentence. */
#ifndef TESTS_SUPPORT_TEST_CONTEXT_H
#define TESTS_SUPPORT_TEST_CONTEXT_H

#include <criterion/criterion.h>
#include <quantdrift/context.h>

/* A context with `threads` compute threads (0: as many as the process may use) that logs nothing and uses no set
 * above QD_TEST_CPU where that is set; the test fails when there is none. Freed with qd_context_destroy(). */
qd_context *test_context_create(int threads);

/* Expects QD_OK of an expression. */
#define TEST_OK(ctx, expression)                                                                                     \
    do {                                                                                                             \
        enum qd_status test_status_ = (expression);                                                                  \
        cr_assert_eq(test_status_, QD_OK, "%s: %s", qd_status_name(test_status_), qd_context_error(ctx));            \
    } while (0)

/* Expects a status and a piece of the sentence that explains it. */
#define TEST_FAILS(ctx, expression, expected_status, piece)                                                          \
    test_expect_failure(ctx, (expression), (expected_status), (piece), #expression)

void test_expect_failure(const qd_context *ctx, enum qd_status found, enum qd_status expected, const char *piece,
                         const char *expression);

#endif
