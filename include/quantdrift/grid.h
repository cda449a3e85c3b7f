/* Many recipes over the same checkpoints and images: what each of them costs, in one table. */
#ifndef QUANTDRIFT_GRID_H
#define QUANTDRIFT_GRID_H

#include <quantdrift/experiment.h>
#include <quantdrift/network.h>

/* A row as it is done. */
typedef struct qd_grid_row {
    int64_t index, count;            /* from 1 on, of all checkpoints' rows */
    const char *checkpoint, *recipe; /* "per channel, S8 affine, mse" */
    bool there_before;               /* in the file already; then nothing of what follows is known */
    double float_accuracy, accuracy; /* percent */
    double drop, low, high;          /* of the accuracy and its 95 % interval, points */
    double seconds;
} qd_grid_row;

typedef struct qd_grid_config {
    const char *file;                  /* recipes: experiments/README.md, "Grids of recipes" */
    const qd_network_config *networks; /* float networks, from files */
    int64_t network_count;
    const qd_dataset *training, *validation;
    const char *data_dir;                    /* the folder of both: recipes with "qat" train as a run does */
    const char *folder;                      /* grid.json and grid.md are written there */
    int64_t calibration_images, eval_images; /* 0: as the file says */
    void (*progress)(void *user, const qd_grid_row *row); /* NULL: none; called from the calling thread */
    void (*training_progress)(void *user, const qd_progress *progress); /* likewise */
    void *user;
} qd_grid_config;

/*
 * Quantizes every network by every recipe and evaluates it, in integers or, where a recipe has no integer form,
 * simulated, and writes a row after each: <folder>/grid.json ("format": "quantdrift-grid") and <folder>/grid.md. The
 * post's recipe is always there, first. A recipe with "qat" trains the network on before, as a run in a folder of its
 * own there does, <folder>/qat_<model>_<hash>: interrupted, it goes on after its last whole epoch. A row is not made
 * again when the folder has one of a checkpoint with the same SHA-256 by the same recipe. Errors: QD_ERR_USAGE (the
 * file; a folder made with other images or settings), QD_ERR_INPUT (a network or image), QD_ERR_NUMERIC, QD_ERR_IO
 * (another process works in the folder), QD_ERR_MEMORY.
 */
enum qd_status qd_grid_run(qd_context *ctx, const qd_grid_config *config);

#endif
