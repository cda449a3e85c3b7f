/*
 * Freshly constructed blocks against PyTorch, for several seeds. Fixture: tests/fixtures/models/init_study.txt by
 * scripts/fixtures/make_init_study.py.
 */
#include "support/fixture.h"
#include "support/test_context.h"
#include <math.h>
#include <quantdrift/init_study.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a parity of the study means: the numbers are of order one and sums of up to 576 products of float32. */
#define TOLERANCE 1e-4

/* The study of `seed`, of which a stack is wanted; studies of the same seed are run once. */
static const qd_init_study_stack *find_stack(qd_context *ctx, qd_init_study **study, uint64_t *seed,
                                             uint64_t wanted_seed, const char *name)
{
    if (!*study || *seed != wanted_seed) {
        qd_init_study_destroy(*study);
        TEST_OK(ctx, qd_init_study_run(ctx, wanted_seed, study));
        *seed = wanted_seed;
    }
    const qd_init_study_stack *stack;
    for (int i = 0; (stack = qd_init_study_get(*study, i)) != NULL; i++)
        if (strcmp(stack->name, name) == 0)
            return stack;
    cr_assert_fail("no stack '%s'", name);
    return NULL;
}

static void expect_module(const qd_module_report *report, const char *line, uint64_t seed)
{
    char name[64], class_name[64], shape[64], found_shape[64];
    double expected[5];
    cr_assert_eq(sscanf(line, "%63s %63s %63s %lf %lf %lf %lf %lf", name, class_name, shape, &expected[0],
                        &expected[1], &expected[2], &expected[3], &expected[4]),
                 8, "%s", line);
    cr_expect_str_eq(report->path, name);
    cr_expect_str_eq(report->class_name, class_name, "%s", name);
    cr_assert_eq(report->rank, 4);
    snprintf(found_shape, sizeof found_shape, "%dx%dx%dx%d", (int)report->shape[0], (int)report->shape[1],
             (int)report->shape[2], (int)report->shape[3]);
    cr_expect_str_eq(found_shape, shape, "%s", name);
    const double found[5] = {report->min, report->max, report->mean, report->std, report->zeros_pct};
    for (int i = 0; i < 5; i++)
        cr_expect(fabs(found[i] - expected[i]) <= TOLERANCE, "seed %llu, %s, number %d: expected %.9g, got %.9g",
                  (unsigned long long)seed, name, i, expected[i], found[i]);
}

Test(init_study, numbers_are_pytorchs)
{
    qd_context *ctx = test_context_create(2);
    char *text = fixture_read("models/init_study.txt", NULL), *save = NULL;
    qd_init_study *study = NULL;
    const qd_init_study_stack *stack = NULL;
    uint64_t seed = 0;
    int next = 0, stacks = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[64];
        unsigned long long wanted;
        if (sscanf(line, "stack %63s %llu", name, &wanted) == 2) {
            cr_expect(!stack || next == stack->module_count, "modules of %s", name);
            stack = find_stack(ctx, &study, &seed, wanted, name);
            next = 0;
            stacks++;
            continue;
        }
        cr_assert(stack && next < stack->module_count, "%s", line);
        expect_module(&stack->modules[next++], line, seed);
    }
    cr_expect_eq(stacks, 8);
    cr_expect_eq(next, 26);
    qd_init_study_destroy(study);
    free(text);
    qd_context_destroy(ctx);
}

Test(init_study, threads_change_nothing)
{
    qd_init_study *studies[2];
    qd_context *contexts[2];
    for (int i = 0; i < 2; i++) {
        contexts[i] = test_context_create(1 + 2 * i);
        TEST_OK(contexts[i], qd_init_study_run(contexts[i], 5, &studies[i]));
    }
    for (int s = 0; s < 2; s++) {
        const qd_init_study_stack *a = qd_init_study_get(studies[0], s), *b = qd_init_study_get(studies[1], s);
        for (int m = 0; m < a->module_count; m++) {
            cr_expect_eq(a->modules[m].min, b->modules[m].min, "%s", a->modules[m].path);
            cr_expect_eq(a->modules[m].mean, b->modules[m].mean, "%s", a->modules[m].path);
            cr_expect_eq(a->modules[m].std, b->modules[m].std, "%s", a->modules[m].path);
        }
    }
    cr_expect_null(qd_init_study_get(studies[0], 2));
    cr_expect_null(qd_init_study_get(studies[0], -1));
    qd_init_study_destroy(NULL);
    for (int i = 0; i < 2; i++) {
        qd_init_study_destroy(studies[i]);
        qd_context_destroy(contexts[i]);
    }
}
