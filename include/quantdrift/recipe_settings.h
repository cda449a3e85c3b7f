/* A recipe as people write it: the keys that experiment files have in their section "quantization", one by one.
 * Command lines take the same names, experiments/README.md documents them. */
#ifndef QUANTDRIFT_RECIPE_SETTINGS_H
#define QUANTDRIFT_RECIPE_SETTINGS_H

#include <quantdrift/context.h>
#include <quantdrift/recipe.h>

typedef struct qd_recipe_key {
    const char *name;        /* "per_channel" */
    const char *placeholder; /* of its value: "N"; NULL: a switch, which is off by default */
    const char *doc;         /* a line, without the default */
    bool is_list;            /* each setting adds to it */
} qd_recipe_key;

/* Key `index` in the order of experiments/README.md; false beyond the last. Strings are static. */
bool qd_recipe_key_get(int index, qd_recipe_key *out);

typedef struct qd_recipe_settings qd_recipe_settings;

/* The defaults. Errors: QD_ERR_MEMORY. */
enum qd_status qd_recipe_settings_create(qd_context *ctx, qd_recipe_settings **out);
void qd_recipe_settings_destroy(qd_recipe_settings *settings);

/* Sets a key from a text: JSON, or a string as it stands; NULL turns a switch on. `place` begins the sentence of an
 * error: "--per-channel". Errors: QD_ERR_USAGE (no such key, a value that it does not take), QD_ERR_MEMORY. */
enum qd_status qd_recipe_settings_set(qd_recipe_settings *settings, const char *place, const char *name,
                                      const char *text);

/* The value of a key as JSON in one line, freed with free(); NULL when there is no such key or memory is short. */
char *qd_recipe_settings_print(const qd_recipe_settings *settings, const char *name);

/* Valid until the next setting. */
const qd_quant_recipe *qd_recipe_settings_get(const qd_recipe_settings *settings);

#endif
