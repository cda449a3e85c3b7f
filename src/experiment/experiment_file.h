/* Experiment files as written: keys over the files they are based on, and a grid that makes several runs of one. */
#ifndef QD_EXPERIMENT_EXPERIMENT_FILE_H
#define QD_EXPERIMENT_EXPERIMENT_FILE_H

#include "experiment/config.h"

/* Files that stand on one another; more is a mistake. */
#define QD_MAX_FILE_LAYERS 8

typedef struct qd_file_layer {
    char *path;  /* owned */
    cJSON *json; /* its configuration keys alone, owned */
} qd_file_layer;

typedef struct qd_experiment_file {
    qd_file_layer layers[QD_MAX_FILE_LAYERS]; /* the file itself first, then what it is based on */
    int layer_count;
    cJSON *grid;             /* owned; NULL: none */
    const char *grid_source; /* path of the file whose grid it is, borrowed from the layer */
    int64_t point_count;     /* 1 without a grid */
} qd_experiment_file;

/* Reads a file and its bases and checks its grid. Errors: QD_ERR_USAGE (no such file, no JSON, a cycle, a grid that
 * is none), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_experiment_file_open(qd_context *ctx, const char *path, qd_experiment_file *out);
void qd_experiment_file_close(qd_experiment_file *file);

/* Applies the keys of all layers, the deepest base first. Errors: QD_ERR_USAGE, QD_ERR_MEMORY. */
enum qd_status qd_experiment_file_apply(qd_context *ctx, const qd_experiment_file *file, qd_config *config);

/* Applies one point of the grid, the last list going round fastest; nothing without a grid. Errors: QD_ERR_USAGE,
 * QD_ERR_MEMORY. */
enum qd_status qd_experiment_file_apply_point(qd_context *ctx, const qd_experiment_file *file, int64_t point,
                                              qd_config *config);

/* Refuses a configuration in which a key that the grid spreads has another value than the point's: the folder's name
 * would not tell the truth. Errors: QD_ERR_USAGE, QD_ERR_MEMORY. */
enum qd_status qd_experiment_file_check_point(qd_context *ctx, const qd_experiment_file *file, int64_t point,
                                              const qd_config *config);

/* The point's name, such as "seed_1-relu"; harmless as a folder's. Freed with free(); NULL when memory is short. */
char *qd_experiment_file_point_name(const qd_experiment_file *file, int64_t point);

#endif
