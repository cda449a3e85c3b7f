/* From a float network and a recipe to a network ready to run: every choice of include/quantdrift/recipe.h in its
 * order. */
#ifndef QD_QUANTIZE_QUANTIZE_RECIPE_H
#define QD_QUANTIZE_QUANTIZE_RECIPE_H

#include "quantize/quantize.h"
#include <quantdrift/recipe.h>

/* Writes calibration images first … first + n - 1, float32 [n][h][w][3]. Called again for the same ones where a
 * remedy needs a pass of its own. A status other than QD_OK ends the work. */
typedef enum qd_status qd_image_source(void *user, int64_t first, int64_t n, float *images);

typedef struct qd_recipe_images {
    qd_image_source *source;
    void *user;
    int64_t count;
} qd_recipe_images;

/*
 * A finalized network: BatchNorm re-estimated (on a copy: `state` is not changed), folded, overrides and exclusions
 * set, equalized, ranges chosen, roundings learnt, biases corrected, each as the recipe says. AdaRound and bias
 * correction work on the first max_batch images. The same recipe and images give the same network. Freed with
 * qd_qgraph_destroy(). Errors: QD_ERR_USAGE (a name that is not in the network, a setting out of range, no images),
 * QD_ERR_NUMERIC, QD_ERR_MEMORY, the source's.
 */
enum qd_status qd_recipe_quantize(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                                  const qd_quant_recipe *recipe, const qd_recipe_images *images, int64_t max_batch,
                                  qd_qgraph **out);

#endif
