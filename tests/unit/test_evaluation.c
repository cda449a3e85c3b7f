/* Scores, paired intervals and groups against what they are by definition. */
#include "base/file.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <math.h>
#include <quantdrift/evaluation.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;

static void set_up(void)
{
    ctx = test_context_create(1);
}

static void tear_down(void)
{
    qd_context_destroy(ctx);
}

TestSuite(evaluation, .init = set_up, .fini = tear_down);

/* Worked by hand: classes 0 to 3, of which 3 has an image and is never predicted, and class 4 appears nowhere. */
Test(evaluation, scores_by_hand)
{
    static const int64_t labels[] = {0, 0, 0, 0, 1, 1, 1, 2, 2, 3};
    static const int64_t predicted[] = {0, 0, 0, 1, 1, 1, 2, 2, 0, 2};
    qd_scores s;
    TEST_OK(ctx, qd_scores_compute(ctx, labels, predicted, NULL, 10, 5, &s));
    cr_assert_eq(s.count, 10);
    cr_assert_eq(s.correct, 6);
    cr_assert_float_eq(s.accuracy_percent, 60.0, 1e-12);
    const double precision[5] = {3.0 / 4, 2.0 / 3, 1.0 / 3, 0.0, 0.0},
                 recall[5] = {3.0 / 4, 2.0 / 3, 1.0 / 2, 0.0, 0.0};
    const double f1[5] = {3.0 / 4, 2.0 / 3, 2.0 / 5, 0.0, 0.0};
    const int64_t images[5] = {4, 3, 2, 1, 0}, taken[5] = {4, 3, 3, 0, 0};
    for (int c = 0; c < 5; c++) {
        cr_assert_eq(s.classes[c].images, images[c]);
        cr_assert_eq(s.classes[c].predicted, taken[c]);
        cr_assert_float_eq(s.classes[c].precision, precision[c], 1e-12);
        cr_assert_float_eq(s.classes[c].recall, recall[c], 1e-12);
        cr_assert_float_eq(s.classes[c].f1, f1[c], 1e-12);
    }
    /* The mean over the four classes that occur: scikit-learn's macro average of the same lists. */
    cr_assert_float_eq(s.precision, (3.0 / 4 + 2.0 / 3 + 1.0 / 3) / 4, 1e-12);
    cr_assert_float_eq(s.recall, (3.0 / 4 + 2.0 / 3 + 1.0 / 2) / 4, 1e-12);
    cr_assert_float_eq(s.f1, (3.0 / 4 + 2.0 / 3 + 2.0 / 5) / 4, 1e-12);
    static const int64_t confusion[25] = {3, 1, 0, 0, 0, 0, 2, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    cr_assert_arr_eq(s.confusion, confusion, sizeof confusion);
    qd_scores_free(&s);

    static const int64_t chosen[] = {3, 9};
    TEST_OK(ctx, qd_scores_compute(ctx, labels, predicted, chosen, 2, 5, &s));
    cr_assert(s.count == 2 && s.correct == 0 && s.f1 == 0.0 && s.confusion[1] == 1 && s.confusion[3 * 5 + 2] == 1);
    qd_scores_free(&s);
    TEST_OK(ctx, qd_scores_compute(ctx, labels, predicted, NULL, 0, 5, &s));
    cr_assert(s.accuracy_percent == 0.0 && s.precision == 0.0 && s.recall == 0.0 && s.f1 == 0.0);
    qd_scores_free(&s);
}

/* ---- the interval ---- */

enum { MOST = 400 };

/* Lists of n = both + only_first + only_second + neither images of class 0. */
static qd_comparison compare_counts(int both, int only_first, int only_second, int neither)
{
    static const int64_t labels[MOST] = {0};
    int64_t first[MOST], second[MOST];
    const int n = both + only_first + only_second + neither;
    cr_assert_leq(n, MOST);
    for (int i = 0; i < n; i++) {
        first[i] = i < both + only_first ? 0 : 1;
        second[i] = i < both || (i >= both + only_first && i < both + only_first + only_second) ? 0 : 1;
    }
    return qd_comparison_compute(labels, first, second, NULL, n);
}

/* The score interval as it is defined: the proportions that z = 1.96 standard errors of their own reach from p, by
 * bisection. */
static double score_end(double p, double n, double direction)
{
    double near = p, far = direction > 0 ? 1.0 : 0.0;
    for (int i = 0; i < 200; i++) {
        const double middle = (near + far) / 2;
        const bool inside = fabs(p - middle) <= 1.959963984540054 * sqrt(middle * (1 - middle) / n);
        *(inside ? &near : &far) = middle;
    }
    return near;
}

/* Pearson's correlation of the two lists of right and wrong, with the cell counts corrected as method 10 says. */
static double expected_correlation(double a, double b, double c, double d)
{
    const double n = a + b + c + d, mean_first = (a + b) / n, mean_second = (a + c) / n;
    const double deviations = n * sqrt(mean_first * (1 - mean_first) * mean_second * (1 - mean_second));
    if (deviations == 0)
        return 0;
    double covariance = a * (1 - mean_first) * (1 - mean_second) + b * (1 - mean_first) * -mean_second +
                        c * -mean_first * (1 - mean_second) + d * mean_first * mean_second;
    if (covariance > 0)
        covariance = fmax(covariance - 0.5, 0); /* n/2 of n times it */
    return covariance / deviations;
}

Test(evaluation, interval_against_its_definition)
{
    static const int counts[][4] = {{40, 5, 3, 2}, {225, 0, 0, 25}, {10, 9, 0, 1},   {0, 10, 10, 0}, {20, 0, 0, 0},
                                    {0, 30, 0, 0}, {1, 0, 0, 0},    {90, 4, 11, 45}, {3, 1, 1, 3}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const double a = counts[i][0], b = counts[i][1], c = counts[i][2], d = counts[i][3], n = a + b + c + d;
        const qd_comparison found = compare_counts(counts[i][0], counts[i][1], counts[i][2], counts[i][3]);
        const double p = (a + b) / n, q = (a + c) / n, phi = expected_correlation(a, b, c, d);
        const double below = p - score_end(p, n, -1), above = score_end(p, n, 1) - p;
        const double below2 = q - score_end(q, n, -1), above2 = score_end(q, n, 1) - q;
        const double low = p - q - sqrt(fmax(below * below - 2 * phi * below * above2 + above2 * above2, 0));
        const double high = p - q + sqrt(fmax(above * above - 2 * phi * above * below2 + below2 * below2, 0));
        cr_assert_float_eq(found.drop, 100 * (p - q), 1e-9);
        cr_assert_float_eq(found.low, 100 * low, 1e-6, "%zu: %g, expected %g", i, found.low, 100 * low);
        cr_assert_float_eq(found.high, 100 * high, 1e-6, "%zu: %g, expected %g", i, found.high, 100 * high);
        cr_assert(found.low >= -100.0 && found.high <= 100.0);
        cr_assert_eq(found.agree, counts[i][0] + counts[i][3]);
        /* Exchanged networks have the mirrored interval. */
        const qd_comparison mirrored = compare_counts(counts[i][0], counts[i][2], counts[i][1], counts[i][3]);
        cr_assert_float_eq(mirrored.low, -found.high, 1e-9);
    }
}

static double log_multinomial(const int *counts, const double *p, int n)
{
    double sum = lgamma(n + 1.0);
    for (int k = 0; k < 4; k++)
        sum += counts[k] * log(p[k]) - lgamma(counts[k] + 1.0);
    return sum;
}

/* Coverage without any sampling: the probabilities of all outcomes whose interval holds the true drop. */
Test(evaluation, interval_covers_as_often_as_it_says)
{
    static const double shares[][4] = {
        {0.70, 0.15, 0.10, 0.05}, {0.90, 0.02, 0.02, 0.06}, {0.40, 0.30, 0.10, 0.20}, {0.60, 0.05, 0.25, 0.10}};
    enum { N = 40 };
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        const double drop = 100 * (shares[i][1] - shares[i][2]);
        double covered = 0, all = 0;
        for (int a = 0; a <= N; a++)
            for (int b = 0; a + b <= N; b++)
                for (int c = 0; a + b + c <= N; c++) {
                    const int counts[4] = {a, b, c, N - a - b - c};
                    const double p = exp(log_multinomial(counts, shares[i], N));
                    const qd_comparison found = compare_counts(a, b, c, counts[3]);
                    all += p;
                    if (found.low <= drop && drop <= found.high)
                        covered += p;
                }
        cr_assert_float_eq(all, 1.0, 1e-9);
        /* Counts come in steps, so that no interval covers 95 % exactly, and where the networks differ on one or two
         * images (the second case) it must cover nearly always. */
        cr_assert(covered > 0.93 && (i == 1 || covered < 0.98), "%zu: the interval covers %g", i, covered);
    }
}

/* ---- groups ---- */

static void add_image(const char *folder, const char *relative)
{
    /* The smallest PNG there is: one grey pixel. */
    static const unsigned char png[] = {
        0x89, 'P',  'N',  'G',  0x0d, 0x0a, 0x1a, 0x0a, 0,    0,    0,    13,  'I',  'H',  'D',  'R',  0,
        0,    0,    1,    0,    0,    0,    1,    8,    0,    0,    0,    0,   0x3a, 0x7e, 0x9b, 0x55, 0,
        0,    0,    10,   'I',  'D',  'A',  'T',  0x78, 0x9c, 0x63, 0x68, 0,   0,    0,    0x82, 0,    0x81,
        0x77, 0xcd, 0x72, 0xb6, 0,    0,    0,    0,    'I',  'E',  'N',  'D', 0xae, 0x42, 0x60, 0x82};
    char *path = qd_format("%s/%s", folder, relative), *parent = strdup(path);
    *strrchr(parent, '/') = '\0';
    TEST_OK(ctx, qd_folder_create(ctx, parent));
    test_file_write(path, png, sizeof png);
    free(parent);
    free(path);
}

Test(evaluation, groups_are_the_folders_below_the_classes)
{
    char *folder = test_folder_create();
    qd_dataset *dataset = NULL;
    qd_grouping g;
    static const char *const images[] = {"cat/video2/1.png", "cat/video10/1.png", "cat/video10/deep/er/2.png",
                                         "cat/loose.png",    "dog/video2/1.png",  "dog/video2/2.png",
                                         "dog/another.png",  "dog/dog/3.png"};
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++)
        add_image(folder, images[i]);
    char *slashed = qd_format("%s//", folder);
    TEST_OK(ctx, qd_dataset_open(ctx, slashed, QD_BAD_IMAGE_ERROR, &dataset));
    TEST_OK(ctx, qd_grouping_by_folder(ctx, dataset, &g));
    static const char *const names[] = {"cat", "dog", "video10", "video2"};
    static const int64_t sizes[] = {1, 2, 2, 3};
    int64_t seen = 0;
    cr_assert_eq(g.count, 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_str_eq(g.names[i], names[i]);
        cr_assert_eq(g.first[i + 1] - g.first[i], sizes[i], "'%s'", names[i]);
        for (int64_t k = g.first[i]; k < g.first[i + 1]; k++) {
            const char *path = qd_dataset_get(dataset, g.indices[k])->path;
            cr_assert(strstr(path, names[i]), "'%s' is in '%s'", path, names[i]);
            cr_assert(k == g.first[i] || g.indices[k] > g.indices[k - 1]);
            seen++;
        }
    }
    cr_assert_eq(seen, qd_dataset_count(dataset));
    qd_grouping_free(&g);
    qd_dataset_destroy(dataset);
    free(slashed);
    test_folder_remove(folder);
}
