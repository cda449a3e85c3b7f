/*
 * One harness for every layer's gradients. A case names a layer, its configuration and its input; the harness
 *   - runs it in double with reference kernels and holds backward() against central differences,
 *   - runs it in float with the best kernels of the machine and holds it against the double run,
 *   - repeats the float run with 1, 2 and 3 threads and asks for the same bits,
 *   - gives each pass exactly the memory the layer asks for, filled with NaN and fenced by canaries, hides what
 *     backward_needs() does not ask for, and checks that nothing but outputs is written,
 *   - checks overwriting and accumulating dx, and leaving out dx or the parameter gradients,
 *   - counts random decisions against draws_per_sample().
 * GRADCHECK_CASES() makes a Criterion test of a table of cases and registers it; a test of its own fails when a
 * layer of QD_LAYER_LIST has no table.
 */
#ifndef TESTS_SUPPORT_GRADCHECK_H
#define TESTS_SUPPORT_GRADCHECK_H

#include "nn/layer.h"

#include <criterion/criterion.h>

enum gradcheck_fill {
    GRADCHECK_UNIFORM,   /* inputs uniform in [-1, 1] */
    GRADCHECK_OFF_KINKS, /* in [-8, 8], 0.01 or more away from -3, 0, 3 and 6, where activations bend */
    GRADCHECK_DISTINCT   /* a shuffled arithmetic sequence in [-1, 1]: no ties, whatever the window */
};

typedef struct gradcheck_case {
    const char *name;
    const void *config; /* NULL for layers without one */
    qd_dims in[QD_MAX_INPUTS];
    int64_t n;
    bool training;
    enum qd_activation fused;
    enum gradcheck_fill fill;
    /* Changes the drawn values before they are used: for layers whose kinks depend on more than one value. The
     * arrays have the layer's memory order. Values are rounded to float afterwards. May be NULL. */
    void (*prepare)(const struct gradcheck_case *c, double *const x[], double *const param[], double *const buffer[]);
    /* For layers whose backward pass is by definition the derivative of another function: that function, of one value
     * of the first input. Differences are then taken of it. NULL: of the forward pass. */
    double (*surrogate)(const struct gradcheck_case *c, double x);
    /* Largest float error in units of the tensor's largest value; 0: 1e-5 (see gradcheck.c). */
    double f32_tolerance;
} gradcheck_case;

/* Runs one case; reports through Criterion with the layer's and the case's name. */
void gradcheck_run(enum qd_layer_kind kind, const gradcheck_case *c);

/* Used by GRADCHECK_CASES() before main(). */
void gradcheck_register(enum qd_layer_kind kind, int64_t case_count);

/* Number of cases registered for a layer. */
int64_t gradcheck_registered(enum qd_layer_kind kind);

/* Defines the test gradcheck::<layer>_<part>; several tables may serve one layer. `cases` is an array. */
#define GRADCHECK_CASES(layer, part, cases)                                                                          \
    __attribute__((constructor)) static void gradcheck_register_##layer##_##part(void)                               \
    {                                                                                                                \
        gradcheck_register(QD_LAYER_##layer, (int64_t)(sizeof(cases) / sizeof((cases)[0])));                         \
    }                                                                                                                \
    Test(gradcheck, layer##_##part)                                                                                  \
    {                                                                                                                \
        for (size_t i = 0; i < sizeof(cases) / sizeof((cases)[0]); i++)                                              \
            gradcheck_run(QD_LAYER_##layer, &(cases)[i]);                                                            \
    }

#endif
