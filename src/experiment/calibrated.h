/* A network quantized as a logged epoch quantizes it, by itself: for exports and quantized models. */
#ifndef QD_EXPERIMENT_CALIBRATED_H
#define QD_EXPERIMENT_CALIBRATED_H

#include "models/models.h"
#include "quantize/quantize_recipe.h"
#include <quantdrift/dataset.h>

typedef struct qd_calibration {
    const qd_dataset *images; /* NULL: none, where the encodings name every tensor */
    int64_t count;            /* at most; drawn with `seed` from a generator of their own */
    uint64_t seed;
    int64_t batch; /* images at a time */
    int loader_threads;
    const qd_quant_recipe *recipe;
    const char *encodings; /* file that overrides scheme and ranges; NULL: none */
} qd_calibration;

/* A finalized qgraph, freed with qd_qgraph_destroy(). Errors: those of qd_recipe_quantize(), QD_ERR_USAGE (images
 * needed), QD_ERR_INPUT (an image; encodings that do not fit). */
enum qd_status qd_calibrate(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                            const qd_calibration *calibration, qd_qgraph **out);

#endif
