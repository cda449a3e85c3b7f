/*
 * Weights of files from elsewhere: which network's they are, under which prefix, with which head. formats/ knows
 * bytes only, graph/ and models/ our names only; this is where the two meet.
 */
#ifndef QD_EXCHANGE_WEIGHTS_H
#define QD_EXCHANGE_WEIGHTS_H

#include "formats/pth.h"
#include "formats/safetensors.h"
#include "models/models.h"

typedef struct qd_weights {
    const char *path;   /* borrowed */
    qd_tensor *tensors; /* views into the file; names change in qd_weights_recognise() */
    const char **types; /* in the file: "bfloat16" */
    int count;
    qd_pth *pth; /* one of the two holds the data */
    qd_safetensors *safetensors;
    char (*head_names)[QD_NAME_BYTES]; /* weight and bias, when the file calls them otherwise */
} qd_weights;

/* True for what is read as a .pth file: by its first bytes, else by its name. */
bool qd_weights_is_pth(const char *path);

/* Opens a .pth or safetensors file. Errors: as qd_pth_open() and qd_safetensors_open(). */
enum qd_status qd_weights_open(qd_context *ctx, const char *path, qd_weights *out);
void qd_weights_close(qd_weights *weights);

/*
 * Renames the tensors to our names of `model`: strips what stands before all of them ("module."), and finds the head.
 * One Linear, under the head's name or below it ("classifier.1", torchvision's), is the linear head with as many
 * classes as it has rows; the post's two are the binary head. Fills config->head and, where it is 0, num_classes. A
 * file of another network keeps its names: filling the state says what does not fit. Errors: QD_ERR_MEMORY,
 * QD_ERR_INPUT (a head of several Linear layers that is not the post's).
 */
enum qd_status qd_weights_recognise(qd_context *ctx, qd_weights *weights, const qd_model_info *model,
                                    qd_model_config *config);

/* Copies recognised weights into a state of that model. Errors: QD_ERR_INPUT listing what does not fit. */
enum qd_status qd_weights_fill(qd_context *ctx, const qd_weights *weights, qd_state *state);

#endif
