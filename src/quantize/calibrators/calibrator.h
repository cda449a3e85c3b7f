/* What a calibrator is: a range from what the calibration images showed of one tensor. Pure functions: the order of
 * images, their batches and the number of threads cannot show, but for moving averages, which are of batches. */
#ifndef QD_QUANTIZE_CALIBRATORS_CALIBRATOR_H
#define QD_QUANTIZE_CALIBRATORS_CALIBRATOR_H

#include "quantize/calibrators/calibrator_list.h"
#include "quantize/histogram.h"
#include <quantdrift/recipe.h>

/* Minimum and maximum of some values, both finite. */
typedef struct qd_extremes {
    double min, max;
} qd_extremes;

/* One tensor as the images showed it; at least one value. */
typedef struct qd_calibrator_input {
    qd_context *ctx;
    const qd_calibrator_settings *settings;
    int bits;
    bool symmetric;
    qd_extremes all;            /* of every value; 0 need not lie between them */
    const qd_extremes *batches; /* of each batch, in order */
    int64_t batch_count;
    const qd_bin *bins; /* ascending; NULL where the calibrator needs none */
    int64_t bin_count;
    int64_t value_count; /* in the bins */
} qd_calibrator_input;

typedef struct qd_calibrator_ops {
    const char *name;
    bool needs_histogram;
    /* The settings it reads; NULL: none. Errors: QD_ERR_USAGE. */
    enum qd_status (*check)(qd_context *ctx, const qd_calibrator_settings *settings);
    /* Errors: QD_ERR_MEMORY. */
    enum qd_status (*choose)(const qd_calibrator_input *input, qd_extremes *range);
} qd_calibrator_ops;

#define QD_CALIBRATOR_EXTERN(name) extern const qd_calibrator_ops qd_calibrator_##name;
QD_CALIBRATOR_LIST(QD_CALIBRATOR_EXTERN)
#undef QD_CALIBRATOR_EXTERN

/* The calibrator the settings name, its settings checked. Errors: QD_ERR_USAGE (there is none of this name, a setting
 * out of range). */
enum qd_status qd_calibrator_find(qd_context *ctx, const qd_calibrator_settings *settings,
                                  const qd_calibrator_ops **out);

#endif
