/* A state's tensors under the names of PyTorch's state_dict, and filling them from what a file holds. */
#ifndef QD_GRAPH_STATE_TENSORS_H
#define QD_GRAPH_STATE_TENSORS_H

#include "graph/graph.h"

/* Of a momentum tensor: "momentum.conv1.weight". */
#define QD_MOMENTUM_PREFIX "momentum."

typedef struct qd_state_tensors {
    qd_tensor *tensors; /* views into the state, names set */
    int count;
    int weight_count; /* the state_dict's; momentum, when the state has it, follows */
    char *names;
} qd_state_tensors;

/* Parameters, buffers and num_batches_tracked in the order of the state_dict, then the momentum of every parameter.
 * Errors: QD_ERR_MEMORY. Freed with qd_state_tensors_free(). */
enum qd_status qd_state_tensors_list(qd_context *ctx, const qd_state *state, qd_state_tensors *out);
void qd_state_tensors_free(qd_state_tensors *list);

typedef struct qd_fill_options {
    const char *source;        /* "checkpoint 'x'": begins the sentence of a refusal */
    const char *model;         /* name of the network */
    bool counters_may_miss;    /* no num_batches_tracked leaves it as it is: files of PyTorch before 0.4.1 */
    bool log_every_difference; /* as warnings, when there are more than the sentence names */
} qd_fill_options;

/*
 * Copies have[count] into the first `needed` tensors of the list by name; float32 and float64 convert. Names must
 * match both ways, shapes and kinds too, or nothing is copied. Errors: QD_ERR_INPUT, one sentence with the first
 * missing, unknown and misshapen tensors of each kind.
 */
enum qd_status qd_state_tensors_fill(qd_context *ctx, const qd_state_tensors *list, int needed, const qd_tensor *have,
                                     int count, const qd_fill_options *options);

#endif
