#include "support/test_context.h"
#include <stdlib.h>
#include <string.h>

qd_context *test_context_create(int threads)
{
    qd_context_config config = {.threads = threads};
    qd_context *ctx = NULL;
    const char *set = getenv("QD_TEST_CPU");
    if (set && *set) {
        config.limit_isa = true;
        cr_assert(qd_isa_parse(set, &config.max_isa), "QD_TEST_CPU=%s: no such instruction set", set);
    }
    cr_assert_eq(qd_context_create(&config, &ctx), QD_OK, "no context with %d threads", threads);
    return ctx;
}

void test_expect_failure(const qd_context *ctx, enum qd_status found, enum qd_status expected, const char *piece,
                         const char *expression)
{
    cr_assert_eq(found, expected, "%s: expected %s, got %s (\"%s\")", expression, qd_status_name(expected),
                 qd_status_name(found), qd_context_error(ctx));
    cr_assert_not_null(strstr(qd_context_error(ctx), piece), "%s: expected \"%s\" in \"%s\"", expression, piece,
                       qd_context_error(ctx));
}
