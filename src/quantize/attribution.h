/*
 * Who uses a tensor's codes: which channels set its range, what is left for the others, which codes never occur, and
 * a histogram of its values to lay the grid over.
 */
#ifndef QD_QUANTIZE_ATTRIBUTION_H
#define QD_QUANTIZE_ATTRIBUTION_H

#include "quantize/quantize.h"

#define QD_ATTRIBUTION_BINS 128

typedef struct qd_attribution qd_attribution;

/* One tensor over all images seen. */
typedef struct qd_tensor_attribution {
    int64_t channels, values;
    bool of_layer;                     /* a convolution or linear layer writes it */
    int64_t low_channel, high_channel; /* that hold the smallest and the largest value, the first of equals */
    double low, high;                  /* these two */
    double others_min, others_max;     /* of all other channels; NaN when there are none */
    int64_t others_codes;              /* codes from the one's to the other's; 0 when there are none */
    /* Codes that each channel's own range spans. */
    double channel_codes_min, channel_codes_median, channel_codes_mean, channel_codes_max;
    int64_t used_codes, all_codes;          /* that occur; that there are */
    int64_t low_count, high_count;          /* values with the lowest and with the highest code */
    int64_t zero_count;                     /* values with the zero point's code */
    const int64_t *histogram;               /* [QD_ATTRIBUTION_BINS] of equal width over the tensor's min to max */
    const float *channel_min, *channel_max; /* [channels] */
} qd_tensor_attribution;

/* For a finalized network with static ranges of at most 8 bits, which must outlive it; its tensors must not change
 * meanwhile. Freed with qd_attribution_destroy(). Errors: QD_ERR_USAGE (another network), QD_ERR_MEMORY. */
enum qd_status qd_attribution_create(qd_qgraph *qgraph, qd_attribution **out);
void qd_attribution_destroy(qd_attribution *attribution);

/* Runs the folded float network over float32 [n][h][w][3], any n, and adds what it shows; may be called repeatedly:
 * the order of images does not matter. Errors: QD_ERR_NUMERIC (a value that is not finite, its tensor named),
 * QD_ERR_MEMORY. */
enum qd_status qd_attribution_observe(qd_attribution *attribution, const float *images, int64_t n);

/* Of tensor `index`; borrowed arrays. Errors: QD_ERR_USAGE (nothing seen), QD_ERR_MEMORY. */
enum qd_status qd_attribution_get(const qd_attribution *attribution, int index, qd_tensor_attribution *out);

#endif
