/*
 * Numbers by rule: u(text, i) = splitmix64(fnv1a(text) + i) as a double in [0, 1). scripts/fixtures/make_models.py
 * computes the same, so that whole networks can be compared without committing their parameters.
 */
#ifndef TESTS_SUPPORT_MODEL_RULES_H
#define TESTS_SUPPORT_MODEL_RULES_H

#include "models/models.h"

/* fnv1a(text), and the i-th number of the stream that it starts. */
uint64_t rule_stream(const char *text);
double rule_uniform(uint64_t stream, int64_t index);

/* Every parameter and buffer from its name, weights scaled by their fan-in. */
void rule_fill_state(qd_state *state);

/* Images of a step in [-2, 2], memory NHWC, and their labels below `classes`. */
void rule_fill_images(enum qd_dtype dtype, int step, int64_t n, int64_t size, void *x);
void rule_fill_labels(int step, int64_t n, int64_t classes, int64_t *labels);

/* Masks of a step, from the names of the layers that ask; *step is read at each draw. */
qd_draws rule_draws(const int *step);

#endif
