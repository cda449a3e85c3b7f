/* The rows of a grid: in its JSON file, which is written again after each of them, and as a table. */
#ifndef QD_EXPERIMENT_GRID_ROWS_H
#define QD_EXPERIMENT_GRID_ROWS_H

#include "experiment/config.h"
#include <quantdrift/evaluation.h>
#include <quantdrift/grid.h>

/* What all rows of a file have in common; a file with other values is not gone on with. */
typedef struct qd_grid_header {
    char train_fingerprint[QD_FINGERPRINT_BYTES], val_fingerprint[QD_FINGERPRINT_BYTES];
    int64_t calibration_images, calibration_seed, eval_images, batch_size; /* images: as many as there are of them */
} qd_grid_header;

/* One measured row. */
typedef struct qd_grid_record {
    const char *model; /* "resnet18" */
    const char *checkpoint, *checkpoint_sha256;
    int64_t image_size;
    const qd_config *recipe;
    bool simulated;
    double float_accuracy, accuracy; /* percent */
    qd_comparison comparison;        /* of the float network with the quantized one */
    double seconds;
} qd_grid_record;

typedef struct qd_grid_rows {
    qd_context *ctx;
    char *path, *table_path; /* owned */
    cJSON *root;             /* the whole file, owned */
    cJSON *rows;             /* its list */
} qd_grid_rows;

/* Opens <folder>/grid.json: what is there, or nothing yet. Errors: QD_ERR_USAGE (made with other images or settings;
 * the key is named), QD_ERR_INPUT (damaged), QD_ERR_IO, QD_ERR_MEMORY. The caller closes *out in any case. */
enum qd_status qd_grid_rows_open(qd_context *ctx, const char *folder, const qd_grid_header *header,
                                 qd_grid_rows *out);
void qd_grid_rows_close(qd_grid_rows *rows);

/* Whether the checkpoint's row of a recipe is there; its accuracy then (*accuracy may be NULL). */
bool qd_grid_rows_find(const qd_grid_rows *rows, const char *checkpoint_sha256, const qd_config *recipe,
                       double *accuracy);

/* Adds a row and writes both files. The row of the post's recipe of a checkpoint comes before its others, whose
 * recovered points refer to it. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_grid_rows_add(qd_grid_rows *rows, const qd_grid_record *record);

/* Writes <folder>/grid.md again. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_grid_rows_write_table(const qd_grid_rows *rows);

/* "per channel, S8 symmetric, mse, adaround": what a recipe is, in a line. Freed with free(); NULL when memory is
 * short. */
char *qd_grid_recipe_text(const qd_config *recipe);

#endif
