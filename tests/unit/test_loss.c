/* Losses: closed forms, central differences, extreme and broken logits, float against double. */
#include "nn/loss.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

typedef struct outcome {
    double sum;
    int64_t correct;
    double d[32];
} outcome;

/* Runs a loss in one dtype on double logits; classes 0 asks for the binary loss. */
static outcome run(enum qd_dtype dtype, const double *logits, const int64_t *labels, int64_t n, int64_t classes)
{
    outcome o = {.sum = NAN, .correct = -1};
    const int64_t count = n * (classes ? classes : 1);
    float z32[32], d32[32];
    cr_assert_leq(count, 32);
    for (int64_t i = 0; i < count; i++) {
        z32[i] = (float)logits[i];
        d32[i] = NAN;
        o.d[i] = NAN;
    }
    const void *z = dtype == QD_F64 ? (const void *)logits : z32;
    void *d = dtype == QD_F64 ? (void *)o.d : d32;
    if (classes)
        qd_loss_cross_entropy(dtype, z, labels, n, classes, &o.sum, &o.correct, d);
    else
        qd_loss_bce_logits(dtype, z, labels, n, &o.sum, &o.correct, d);
    for (int64_t i = 0; dtype == QD_F32 && i < count; i++)
        o.d[i] = (double)d32[i];
    return o;
}

static const enum qd_dtype dtypes[] = {QD_F32, QD_F64};

static double epsilon_of(enum qd_dtype dtype)
{
    return dtype == QD_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
}

/* The gradient of the mean against (sum(z + eps) - sum(z - eps)) / (2·eps·n): the truncation of eps = 1e-6 is 1e-13,
 * its rounding 1e-9 for sums of order 10. */
static void check_differences(const double *logits, const int64_t *labels, int64_t n, int64_t classes)
{
    const int64_t count = n * (classes ? classes : 1);
    const double eps = 1e-6;
    const outcome o = run(QD_F64, logits, labels, n, classes);
    for (int64_t i = 0; i < count; i++) {
        double moved[32];
        for (int64_t j = 0; j < count; j++)
            moved[j] = logits[j];
        moved[i] = logits[i] + eps;
        const double plus = run(QD_F64, moved, labels, n, classes).sum;
        moved[i] = logits[i] - eps;
        const double minus = run(QD_F64, moved, labels, n, classes).sum;
        cr_expect_float_eq(o.d[i], (plus - minus) / (2 * eps) / (double)n, 5e-9, "gradient %lld: %.12g against %.12g",
                           (long long)i, o.d[i], (plus - minus) / (2 * eps) / (double)n);
    }
}

Test(loss, cross_entropy_gradient_by_differences)
{
    const double logits[] = {0.5, -1.2, 3.0, 0.1, 2.0, -0.7, 0.0, 4.5, -3.0, 1.1, 1.2, 1.3};
    const int64_t labels[] = {2, 0, 3};
    check_differences(logits, labels, 3, 4);
    check_differences(logits, labels, 1, 12);
}

Test(loss, bce_gradient_by_differences)
{
    const double logits[] = {0.5, -1.2, 3.0, -4.0};
    const int64_t labels[] = {1, 0, 0, 1};
    check_differences(logits, labels, 4, 0);
}

Test(loss, cross_entropy_of_equal_logits_is_log_classes)
{
    const double logits[] = {7, 7, 7, 7, 7, 7, 7, 7, 7, 7};
    for (int d = 0; d < 2; d++) {
        for (int64_t label = 0; label < 5; label += 4) {
            const int64_t labels[] = {label, label};
            const outcome o = run(dtypes[d], logits, labels, 2, 5);
            cr_expect_float_eq(o.sum, 2 * log(5.0), 4 * epsilon_of(dtypes[d]));
            cr_expect_eq(o.correct, label == 0 ? 2 : 0, "of equal logits the first counts as the answer");
            for (int64_t c = 0; c < 5; c++)
                cr_expect_float_eq(o.d[c], (0.2 - (c == label)) / 2, epsilon_of(dtypes[d]));
        }
    }
}

/* exp(1e4) overflows either dtype: only the subtraction of the largest logit saves it. */
Test(loss, cross_entropy_of_extreme_logits_is_exact)
{
    const double logits[] = {1e4, -1e4, 0, 1e4, -1e4, 0};
    const int64_t labels[] = {0, 1};
    const double gradient[] = {0, 0, 0, 0.5, -0.5, 0};
    for (int d = 0; d < 2; d++) {
        const outcome o = run(dtypes[d], logits, labels, 2, 3);
        cr_expect_eq(o.sum, 2e4);
        cr_expect_eq(o.correct, 1);
        for (int i = 0; i < 6; i++)
            cr_expect_eq(o.d[i], gradient[i], "gradient %d is %g", i, o.d[i]);
    }
}

Test(loss, cross_entropy_does_not_change_when_all_logits_move)
{
    const double logits[] = {0.5, -1.25, 3.0, 4096.5, 4094.75, 4099.0};
    const int64_t labels[] = {1, 1};
    const outcome o = run(QD_F32, logits, labels, 2, 3);
    for (int i = 0; i < 3; i++) /* the differences are exact, so everything after them is equal */
        cr_expect_eq(o.d[i], o.d[3 + i]);
}

Test(loss, float_agrees_with_double)
{
    double logits[30];
    int64_t labels[10];
    for (int i = 0; i < 30; i++)
        logits[i] = (double)(float)(8 * sin(1.7 * i));
    for (int i = 0; i < 10; i++)
        labels[i] = i * 7 % 3;
    const outcome a = run(QD_F32, logits, labels, 10, 3), b = run(QD_F64, logits, labels, 10, 3);
    cr_expect_eq(a.correct, b.correct);
    /* Ten losses of up to 16, each with a few roundings of 6e-8 relative to the logits. */
    cr_expect_float_eq(a.sum, b.sum, 1e-5);
    for (int i = 0; i < 30; i++)
        cr_expect_float_eq(a.d[i], b.d[i], 1e-7);
}

Test(loss, gradient_is_optional)
{
    const double logits[] = {1, 2, 3, 4};
    const int64_t labels[] = {1, 0};
    double sum = NAN;
    int64_t correct = -1;
    qd_loss_cross_entropy(QD_F64, logits, labels, 2, 2, &sum, &correct, NULL);
    cr_expect_eq(sum, run(QD_F64, logits, labels, 2, 2).sum);
    cr_expect_eq(correct, 1);
    qd_loss_bce_logits(QD_F64, logits, labels, 2, &sum, &correct, NULL);
    cr_expect_eq(sum, run(QD_F64, logits, labels, 2, 0).sum);
    cr_expect_eq(correct, 1);
}

Test(loss, a_broken_logit_makes_the_loss_nan)
{
    const double broken[] = {NAN, INFINITY};
    const int64_t labels[] = {0};
    for (int d = 0; d < 2; d++) {
        for (int i = 0; i < 2; i++) {
            const double logits[] = {1, broken[i], 2};
            const outcome o = run(dtypes[d], logits, labels, 1, 3);
            cr_expect_not(isfinite(o.sum), "a logit of %g gives a loss of %g", broken[i], o.sum);
            cr_expect_eq(o.correct, 0);
        }
        cr_expect(isnan(run(dtypes[d], broken, labels, 1, 0).sum));
    }
}

Test(loss, bce_closed_forms)
{
    const double logits[] = {0, 0, 1e4, 1e4, -1e4, -1e4};
    const int64_t labels[] = {0, 1, 1, 0, 0, 1};
    const double expected[] = {log(2), log(2), 0, 1e4, 0, 1e4};
    const double gradient[] = {0.5, -0.5, 0, 1, 0, -1};
    const int64_t correct[] = {1, 0, 1, 0, 1, 0}; /* a probability of exactly 0.5 counts as class 0 */
    for (int d = 0; d < 2; d++) {
        for (int i = 0; i < 6; i++) {
            const outcome o = run(dtypes[d], &logits[i], &labels[i], 1, 0);
            cr_expect_float_eq(o.sum, expected[i], epsilon_of(dtypes[d]));
            cr_expect_eq(o.d[0], gradient[i], "case %d: gradient %g", i, o.d[0]);
            cr_expect_eq(o.correct, correct[i], "case %d", i);
        }
        const outcome all = run(dtypes[d], logits, labels, 6, 0);
        cr_expect_eq(all.correct, 3);
        cr_expect_float_eq(all.d[0], 0.5 / 6, epsilon_of(dtypes[d]));
    }
}
