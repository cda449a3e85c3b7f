#include "support/conv_oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

oracle_sums oracle_sums_create(int64_t count)
{
    oracle_sums sums = {.count = count,
                        .value = calloc((size_t)count, sizeof(double)),
                        .magnitude = calloc((size_t)count, sizeof(double))};

    cr_assert(sums.value && sums.magnitude);
    return sums;
}

void oracle_sums_destroy(oracle_sums *sums)
{
    free(sums->value);
    free(sums->magnitude);
    *sums = (oracle_sums){0};
}

void oracle_add(oracle_sums *sums, int64_t index, double a, double b)
{
    sums->value[index] += a * b;
    sums->magnitude[index] += fabs(a * b);
}

void oracle_check(const kernel_array *found, const oracle_sums *expected, int64_t terms, const char *what)
{
    cr_assert_eq(found->count, expected->count, "%s: %lld values, expected %lld", what, (long long)found->count,
                 (long long)expected->count);
    for (int64_t i = 0; i < expected->count; i++)
        kernel_array_check(found, i, expected->value[i], (double)terms, expected->magnitude[i], what);
}

enum direction { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS };

/* Visits every (output, tap) pair inside the image and adds its product where `direction` wants it. */
static void visit(const qd_conv_shape *s, bool hwo, enum direction direction, const kernel_array *x,
                  const kernel_array *w, const kernel_array *dy, oracle_sums *sums)
{
    int64_t ic = s->ic / s->groups, oc = s->oc / s->groups;

    for (int64_t n = 0; n < s->n; n++)
        for (int64_t oh = 0; oh < s->oh; oh++)
            for (int64_t ow = 0; ow < s->ow; ow++)
                for (int64_t o = 0; o < s->oc; o++)
                    for (int64_t kh = 0; kh < s->kh; kh++)
                        for (int64_t kw = 0; kw < s->kw; kw++)
                            for (int64_t i = 0; i < ic; i++) {
                                int64_t ih = oh * s->stride + kh - s->pad, iw = ow * s->stride + kw - s->pad;
                                int64_t at_x = ((n * s->ih + ih) * s->iw + iw) * s->ic + o / oc * ic + i;
                                int64_t at_w =
                                    hwo ? (kh * s->kw + kw) * s->oc + o : ((o * s->kh + kh) * s->kw + kw) * ic + i;
                                int64_t at_y = ((n * s->oh + oh) * s->ow + ow) * s->oc + o;

                                if (ih < 0 || ih >= s->ih || iw < 0 || iw >= s->iw)
                                    continue;
                                if (direction == FORWARD)
                                    oracle_add(sums, at_y, kernel_array_get(x, at_x), kernel_array_get(w, at_w));
                                else if (direction == BACKWARD_DATA)
                                    oracle_add(sums, at_x, kernel_array_get(dy, at_y), kernel_array_get(w, at_w));
                                else
                                    oracle_add(sums, at_w, kernel_array_get(dy, at_y), kernel_array_get(x, at_x));
                            }
}

oracle_sums oracle_conv_forward(const qd_conv_shape *s, bool hwo, const kernel_array *x, const kernel_array *w)
{
    oracle_sums sums = oracle_sums_create(s->n * s->oh * s->ow * s->oc);

    visit(s, hwo, FORWARD, x, w, NULL, &sums);
    return sums;
}

oracle_sums oracle_conv_backward_data(const qd_conv_shape *s, bool hwo, const kernel_array *dy, const kernel_array *w)
{
    oracle_sums sums = oracle_sums_create(s->n * s->ih * s->iw * s->ic);

    visit(s, hwo, BACKWARD_DATA, NULL, w, dy, &sums);
    return sums;
}

oracle_sums oracle_conv_backward_weights(const qd_conv_shape *s, bool hwo, const kernel_array *x,
                                         const kernel_array *dy)
{
    oracle_sums sums = oracle_sums_create(s->oc * s->kh * s->kw * (s->ic / s->groups));

    visit(s, hwo, BACKWARD_WEIGHTS, x, NULL, dy, &sums);
    return sums;
}

oracle_sums oracle_gemm(const qd_gemm_args *args, const kernel_array *a, const kernel_array *b,
                        const kernel_array *c_before)
{
    oracle_sums sums = oracle_sums_create(args->m * args->n);

    for (int64_t i = 0; i < args->m; i++)
        for (int64_t j = 0; j < args->n; j++) {
            if (c_before)
                oracle_add(&sums, i * args->n + j, args->beta, kernel_array_get(c_before, i * args->ldc + j));
            for (int64_t l = 0; l < args->k; l++)
                oracle_add(&sums, i * args->n + j,
                           kernel_array_get(a, args->transpose_a ? l * args->lda + i : i * args->lda + l),
                           kernel_array_get(b, args->transpose_b ? j * args->ldb + l : l * args->ldb + j));
        }
    return sums;
}
