/* From a float network and a recipe to a network ready to run: every choice of include/quantdrift/recipe.h in its
 * order. */
#ifndef QD_QUANTIZE_QUANTIZE_RECIPE_H
#define QD_QUANTIZE_QUANTIZE_RECIPE_H

#include "quantize/quantize.h"
#include "quantize/ranges.h"
#include <quantdrift/recipe.h>

/* Writes calibration images first … first + n - 1, float32 [n][h][w][3], n at most the job's batch. Called again for
 * the same ones where a remedy needs a pass of its own. A status other than QD_OK ends the work. */
typedef enum qd_status qd_image_source(void *user, int64_t first, int64_t n, float *images);

typedef struct qd_recipe_images {
    qd_image_source *source;
    void *user;
    int64_t count;
} qd_recipe_images;

/* Everything is borrowed; `state` is not changed. */
typedef struct qd_recipe_job {
    qd_context *ctx;
    const qd_graph *graph;
    const qd_state *state;
    const qd_quant_recipe *recipe;
    qd_recipe_images images;
    int64_t batch; /* images shown at a time */
} qd_recipe_job;

/*
 * A finalized network: BatchNorm re-estimated, folded, overrides and exclusions set, equalized, ranges chosen,
 * roundings learnt, biases corrected, each as the recipe says. The same recipe and images give the same network.
 * Freed with qd_qgraph_destroy(). Errors: QD_ERR_USAGE (a name that is not in the network, a setting out of range, no
 * images), QD_ERR_NUMERIC, QD_ERR_MEMORY, the source's.
 */
enum qd_status qd_recipe_quantize(const qd_recipe_job *job, qd_qgraph **out);

/*
 * The same in its stages, for who has ranges from elsewhere or tries several recipes on one network: the network
 * without ranges, then ranges, then their scales and what is mended afterwards. Errors as above.
 */
enum qd_status qd_recipe_fold(const qd_recipe_job *job, qd_qgraph **out);
enum qd_status qd_recipe_choose_ranges(const qd_recipe_job *job, qd_qgraph *qgraph);
enum qd_status qd_recipe_finish(const qd_recipe_job *job, qd_qgraph *qgraph);

/* What the images show of a folded network, which must outlive it: ranges for every recipe that folds to the same
 * float network with the same tensors (qd_ranges_choose()). Freed with qd_ranges_destroy(). */
enum qd_status qd_recipe_observe(const qd_recipe_job *job, bool histograms, qd_qgraph *qgraph, qd_ranges **out);

/* Samples that a network of this recipe holds at a time, for batches of `batch`. */
int64_t qd_recipe_max_batch(const qd_quant_recipe *recipe, int64_t batch);

/* Sets what of the recipe differs from its scheme: overrides and exclusions. Errors: QD_ERR_USAGE. */
enum qd_status qd_recipe_apply_differences(const qd_quant_recipe *recipe, qd_qgraph *qgraph);

#endif
