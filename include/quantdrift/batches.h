/* The training batches that a run sees, without training: for looking at them, and for comparing them elsewhere. */
#ifndef QUANTDRIFT_BATCHES_H
#define QUANTDRIFT_BATCHES_H

#include <quantdrift/experiment.h>

typedef struct qd_batches_request {
    const char *model;    /* one of the experiment's; those listed before it are replayed as trained before it */
    int64_t epoch;        /* 1 for the first */
    int64_t first_batch;  /* of the epoch, from 0 */
    int64_t count;        /* at least 1; fewer are written when the epoch ends before */
    const char *path;     /* safetensors file to write */
    const char *png_path; /* contact sheet of the same images, row by row; NULL: none */
} qd_batches_request;

typedef struct qd_batches_summary {
    int64_t batches, images; /* written */
} qd_batches_summary;

/*
 * Writes batches as the experiment's run would see them: order, crops and flips follow from the seed, the models
 * before, and the draws of each forward pass, none of which depends on a value. For batch b of the epoch the file
 * holds "batch_<b>.images" float32 [n][3][size][size], "batch_<b>.bytes" uint8 of the same shape before
 * normalisation, "batch_<b>.labels" and "batch_<b>.indices" int64 [n]; its metadata "files" lists the file names
 * below train/. Only train/ of the data folder is read. Memory: 15 bytes a pixel of all these images, and about 10
 * more while a sheet is made. Errors: QD_ERR_USAGE (a model that is not in the experiment, an epoch or batch that
 * does not exist, a sheet too large for image readers), QD_ERR_INPUT, QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_batches_write(qd_experiment *experiment, const qd_batches_request *request,
                                qd_batches_summary *out);

#endif
