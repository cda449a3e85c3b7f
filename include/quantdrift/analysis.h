/* Why a network's ranges are wide, from its checkpoint alone: what modules put out, what BatchNorm makes of
 * convolutions, which channels set a tensor's range, and which values share a code. */
#ifndef QUANTDRIFT_ANALYSIS_H
#define QUANTDRIFT_ANALYSIS_H

#include <quantdrift/network.h>

/* Mean, unbiased standard deviation, ends. */
typedef struct qd_spread {
    double mean, std, min, max;
} qd_spread;

typedef struct qd_channel_view {
    double min, max, mean, std;
} qd_channel_view;

/* A called module's output over one image. */
typedef struct qd_module_view {
    qd_module_report report;
    bool repeats; /* a container: what it returned is a module's within it */
    double scale; /* that its range gives under the scheme, as is the next */
    int64_t zero_point;
    int64_t channel_count; /* 0: one value a channel, no positions */
    qd_spread channel_std; /* of the channels' standard deviations */
    bool detailed;         /* chosen, of the post's list, or among the widest */
    const qd_channel_view *channels;
} qd_module_view;

typedef struct qd_batchnorm_view {
    const char *name;
    int64_t channels;
    qd_spread gamma;
    int64_t largest_channel; /* of the largest gamma, the first of equals */
    double largest_gamma, largest_beta;
} qd_batchnorm_view;

/* A convolution and the BatchNorm behind it, as indexes into the modules. */
typedef struct qd_batchnorm_ratio {
    int convolution, batchnorm;
    bool post;    /* one of the layers that the post lists */
    double ratio; /* of ranges; NaN when the convolution's is 0 */
} qd_batchnorm_ratio;

#define QD_ANALYSIS_MAX_VALUES 16

/* Where a value falls on a tensor's grid. */
typedef struct qd_placed_value {
    int64_t code;
    double value_back; /* scale · (code − zero point) */
    double distance;   /* to the nearest border at which the code changes */
    bool saturated;
} qd_placed_value;

enum qd_collapse_side { QD_COLLAPSE_AFTER, QD_COLLAPSE_BEFORE, QD_COLLAPSE_SIDE_COUNT };

/* "after" an activation, "before" it. */
const char *qd_collapse_side_name(enum qd_collapse_side side);

/* The widest module of one side, and the codes of the values under its scale. */
typedef struct qd_collapse_row {
    int module; /* -1: the network has none */
    qd_placed_value places[QD_ANALYSIS_MAX_VALUES];
} qd_collapse_row;

#define QD_EXAMPLE_VALUES    10
#define QD_EXAMPLE_MAX_CASES 3

/* BatchNorm of ten values, with one pair of gamma and beta. */
typedef struct qd_example_case {
    const char *batchnorm; /* NULL: the post's numbers */
    int64_t channel;
    double gamma, beta;
    double y[QD_EXAMPLE_VALUES];
    double min, max;
} qd_example_case;

typedef struct qd_batchnorm_example {
    double x[QD_EXAMPLE_VALUES], normalized[QD_EXAMPLE_VALUES];
    double eps, mean, variance; /* biased */
    qd_example_case cases[QD_EXAMPLE_MAX_CASES];
    int case_count;
} qd_batchnorm_example;

#define QD_HISTOGRAM_BINS 128

/* One quantized tensor over the calibration images. */
typedef struct qd_tensor_view {
    const char *name;
    double min, max; /* 0 included */
    double scale;
    int64_t zero_point;
    int64_t channels, values;
    int64_t low_channel, high_channel; /* that hold the smallest and the largest value */
    double low, high;                  /* these two */
    double others_min, others_max;     /* of the other channels; NaN: none */
    int64_t others_codes;              /* from the one's code to the other's */
    double channel_codes_min, channel_codes_median, channel_codes_mean, channel_codes_max; /* a channel spans */
    int64_t used_codes, all_codes;
    double low_pct, high_pct, zero_pct;     /* of the values, at the lowest, the highest, and the zero point's code */
    const int64_t *histogram;               /* [QD_HISTOGRAM_BINS] of equal width from min to max */
    const float *channel_min, *channel_max; /* [channels] */
    bool detailed; /* a convolution's or linear layer's, or chosen: its channels are written */
} qd_tensor_view;

typedef struct qd_analysis_options {
    const char *checkpoint;                  /* as named by the user; for the record */
    const char *data;                        /* likewise; NULL: none */
    const char *image;                       /* file whose values are told */
    const qd_quantize_options *quantization; /* without calibration images `image` alone chooses the ranges */
    const char *const *layers;               /* modules or tensors to show in detail besides */
    int layer_count;
    double values[QD_ANALYSIS_MAX_VALUES]; /* whose codes are asked for */
    int value_count;
    bool modules_only; /* no tensors, and nothing of them is computed */
} qd_analysis_options;

/* Names and arrays are the analysis's or the network's, which must outlive it. */
typedef struct qd_analysis {
    qd_module_view *modules; /* in hook order */
    int module_count;
    int *by_range; /* [range_count] modules from the widest range to the narrowest, repeated values left out */
    int range_count;
    qd_batchnorm_view *batchnorms;
    int batchnorm_count;
    qd_batchnorm_ratio *ratios;
    int ratio_count;
    qd_collapse_row collapse[QD_COLLAPSE_SIDE_COUNT];
    qd_batchnorm_example example;
    qd_tensor_view *tensors; /* in the order of computation */
    int tensor_count;
    int64_t calibration_images;
    struct qd_analysis_memory *memory; /* the library's */
} qd_analysis;

/* How many of the widest modules are the worst ones. */
#define QD_ANALYSIS_WORST 5

/*
 * Computes all of it; *out is freed with qd_analysis_destroy(). Errors: QD_ERR_USAGE (a layer that is neither a
 * module nor a tensor, too many values), QD_ERR_INPUT (an image; a quantized network), QD_ERR_NUMERIC (a value that
 * is not finite), QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_network_analyze(qd_network *network, const qd_analysis_options *options, qd_analysis **out);
void qd_analysis_destroy(qd_analysis *analysis);

/* An analysis and what it was made of and with. */
typedef struct qd_analyzed {
    const qd_network *network;
    const qd_analysis_options *options;
    const qd_analysis *analysis;
} qd_analyzed;

/* Writes docs/results-format.md's JSON, `compared` (NULL: none) beside it. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_analysis_write(qd_context *ctx, const char *path, const qd_analyzed *analyzed,
                                 const qd_analyzed *compared);

#endif
