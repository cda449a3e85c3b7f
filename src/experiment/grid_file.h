/*
 * The recipes of a grid's file: a JSON object of keys of the section "quantization" and the list "recipes", whose
 * entries are objects of such keys again. A list in place of a key's value spreads it: one recipe for each
 * combination of an entry's lists; the key "qat" holds an object of the section of that name.
 */
#ifndef QD_EXPERIMENT_GRID_FILE_H
#define QD_EXPERIMENT_GRID_FILE_H

#include "experiment/config.h"

/* The key of a recipe that holds the section "qat" of its experiment: the network is trained on before. */
#define QD_GRID_QAT "qat"

typedef struct qd_grid_file {
    qd_config settings; /* what holds for all: its numbers of images, its batch */
    qd_config *recipes; /* [count], each once; the first is the post's whatever the file says */
    int count;
} qd_grid_file;

/* Errors: QD_ERR_USAGE (no such file, no JSON, unknown keys, values out of range, too many recipes), QD_ERR_IO,
 * QD_ERR_MEMORY. The caller frees *out in any case. */
enum qd_status qd_grid_file_read(qd_context *ctx, const char *path, qd_grid_file *out);
void qd_grid_file_free(qd_grid_file *file);

/* Every key of a configuration's recipe, as an object, or as one line that is the same for equal recipes (freed with
 * free()). NULL when memory is short. */
cJSON *qd_grid_recipe_json(const qd_config *config);
char *qd_grid_recipe_line(const qd_config *config);

/* Applies such an object to a configuration. Errors: qd_config_apply()'s, with `source` for the file. */
enum qd_status qd_grid_recipe_apply(qd_context *ctx, qd_config *config, const char *source, const cJSON *object);

#endif
