/* A data set of a few small PNG files, and experiments on it that take seconds. */
#ifndef TESTS_SUPPORT_TINY_DATA_H
#define TESTS_SUPPORT_TINY_DATA_H

#include <quantdrift/experiment.h>

/* Writes <folder>/data/{train,val}/{a,b}: 11 training and 6 validation images of two classes, 40 pixels or so, told
 * apart by the direction of their stripes. */
void tiny_data_write(const char *folder);

/* Adds one training image, so that the data is no longer what it was. */
void tiny_data_change(const char *folder);

/* An experiment on that data: 32 px, batches of 4, one epoch, output in <folder>/<out>, one thread. Both models. */
qd_experiment *tiny_experiment_create(qd_context *ctx, const char *folder, const char *out);

/* qd_experiment_set() with a formatted assignment; a failure ends the test. */
void tiny_experiment_set(qd_context *ctx, qd_experiment *experiment, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
