/* Checkpoints: a safetensors file with torchvision's names, the momentum, and what resuming needs. */
#ifndef QD_TRAIN_CHECKPOINT_H
#define QD_TRAIN_CHECKPOINT_H

#include "models/models.h"
#include "train/epoch_state.h"

typedef struct qd_checkpoint_info {
    bool quantized; /* no checkpoint but a quantized model file: nothing else is filled */
    char model[32];
    qd_model_config config;
    int64_t epoch;        /* epochs completed: 0 is the network as initialised */
    int64_t step;         /* optimizer steps completed in all */
    qd_epoch_state begun; /* the epoch under way; batches 0: none is */
    qd_rng rng;           /* consumed generator state */
    char config_hash[65]; /* of the effective configuration that decides the training */
    char data_fingerprint[65];
    char *history_json; /* training_history so far, JSON text; owned; NULL when absent */
} qd_checkpoint_info;

/* Writes parameters, buffers, momentum (when the state has it) as "momentum.<name>" and the info. Atomic. */
enum qd_status qd_checkpoint_write(qd_context *ctx, const char *path, const qd_state *state,
                                   const qd_checkpoint_info *info);

/* Reads the info only. A file of plain weights (no metadata) leaves model empty. */
enum qd_status qd_checkpoint_read_info(qd_context *ctx, const char *path, qd_checkpoint_info *info);

/* Fills the state; momentum when the state has it and the file too. Errors: QD_ERR_INPUT listing missing, extra
 * and misshapen tensors (a checkpoint of another model). */
enum qd_status qd_checkpoint_read(qd_context *ctx, const char *path, qd_state *state);

void qd_checkpoint_info_free(qd_checkpoint_info *info);

#endif
