/* A recipe's lists as JSON, and who owns them: those that are set here belong to the recipe's owner. */
#ifndef QD_EXPERIMENT_RECIPE_LISTS_H
#define QD_EXPERIMENT_RECIPE_LISTS_H

#include "base/json.h"
#include <quantdrift/recipe.h>

/* What qd_recipe_set_overrides() accepts, for sentences. */
#define QD_OVERRIDES_EXPECTED                                                                                        \
    "an object of tensors and weights (\"fc.weight\"), each \"float\" or an object of \"bits\" (2 to 16) and "       \
    "\"symmetric\" (tensors) or \"per_channel\" (weights)"

/* Replaces the list by the value's: module paths; names of tensors or, where they end in ".weight", of weights.
 * Errors: QD_ERR_USAGE without a sentence (the value is of another form), QD_ERR_MEMORY. */
enum qd_status qd_recipe_set_excluded(qd_context *ctx, qd_quant_recipe *recipe, const cJSON *value);
enum qd_status qd_recipe_set_overrides(qd_context *ctx, qd_quant_recipe *recipe, const cJSON *value);

/* The same as JSON again, tensors before weights; NULL when memory is short. */
cJSON *qd_recipe_excluded_json(const qd_quant_recipe *recipe);
cJSON *qd_recipe_overrides_json(const qd_quant_recipe *recipe);

/* Frees the lists that were set and leaves empty ones. */
void qd_recipe_free_lists(qd_quant_recipe *recipe);

#endif
