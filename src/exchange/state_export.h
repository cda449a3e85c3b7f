/* A network's state for PyTorch: the tensors of its state_dict under torchvision's names. */
#ifndef QD_EXCHANGE_STATE_EXPORT_H
#define QD_EXCHANGE_STATE_EXPORT_H

#include "models/models.h"

typedef struct qd_state_export {
    bool pth;              /* else safetensors */
    bool torchvision_head; /* the Linear under the name it has in torchvision's own network: "classifier.1" */
} qd_state_export;

/* Writes atomically. load_state_dict(strict=True) takes it: of a model whose head was replaced by one Linear (or the
 * binary head), or of torchvision's own. Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE. */
enum qd_status qd_state_write(qd_context *ctx, const char *path, const qd_model_info *model, const qd_state *state,
                              const qd_state_export *options);

#endif
