/*
 * What a layer is: shape inference, parameters, forward and backward, in one constant table. A layer keeps
 * no state of its own: everything it needs arrives in a qd_layer_call, everything it must remember between
 * forward and backward goes into call->saved. A layer parallelises itself (OpenMP, static schedule, work cut
 * by the problem and never by the thread count) and calls single-threaded kernels.
 */
#ifndef QD_NN_LAYER_H
#define QD_NN_LAYER_H

#include "base/communicator.h"
#include "kernels/kernels.h"

#define QD_MAX_INPUTS  2
#define QD_MAX_PARAMS  2
#define QD_MAX_BUFFERS 2

/* Shape of one sample. rank 4: N,C,H,W; rank 2: N,C with h = w = 1. Memory is n,h,w,c. */
typedef struct qd_dims {
    int rank;
    int64_t c, h, w;
} qd_dims;

static inline int64_t qd_dims_count(const qd_dims *dims)
{
    return dims->c * dims->h * dims->w;
}

/* How a parameter of PyTorch shape O,I,H,W lies in memory. */
enum qd_param_order {
    QD_ORDER_CONTIGUOUS, /* as PyTorch; vectors and linear weights [out][in] */
    QD_ORDER_OHWI,       /* dense convolutions: a row of im2col's column order per output channel */
    QD_ORDER_HWO         /* depthwise convolutions (I = 1): kh, kw, channel */
};

typedef struct qd_param_decl {
    const char *suffix; /* "weight", "bias", "running_mean" … */
    int rank;
    int64_t shape[QD_MAX_RANK];
    enum qd_param_order order;
    double initial; /* buffers: running_mean 0, running_var 1; parameters: ignored by loaders */
} qd_param_decl;

/* Filled by infer(): what the layer makes of its input. */
typedef struct qd_layer_decl {
    qd_dims out;
    int param_count;
    qd_param_decl params[QD_MAX_PARAMS];
    int buffer_count;
    qd_param_decl buffers[QD_MAX_BUFFERS];
    bool counts_batches; /* has num_batches_tracked */
} qd_layer_decl;

/* Source of random decisions in the forward pass, in PyTorch's order. Tests give masks of their own. */
typedef struct qd_draws {
    /* Writes `count` results (true = keep) of bernoulli(p_keep) for the node called `name`. */
    void (*bernoulli)(void *user, const char *name, double p_keep, int64_t count, bool *keep);
    void *user;
} qd_draws;

/* What backward() reads again: the planner keeps these alive. */
enum qd_backward_needs { QD_NEEDS_NOTHING = 0, QD_NEEDS_INPUT0 = 1, QD_NEEDS_INPUT1 = 2, QD_NEEDS_OUTPUT = 4 };

/* An input that a fused plan never makes: what the layer is given as x[0] becomes activation(x·scale[c] + shift[c])
 * where it is read. */
typedef struct qd_deferred {
    bool present;
    const void *scale, *shift; /* [C] of the layer's dtype */
    enum qd_activation activation;
} qd_deferred;

typedef struct qd_layer_call {
    qd_context *ctx;
    const qd_kernels *k;
    enum qd_dtype dtype;
    int threads;
    bool training; /* batch statistics, masks; running statistics are updated */
    bool exact;    /* the way with the fewest rounding errors, however slow (conv_dense.c); as in the call that asked
                    * for workspace */
    const char *name; /* module path, for errors */
    const void *config;
    enum qd_activation fused; /* BatchNorm only: activation applied to its output by a fused plan */
    int64_t n;                /* samples in this call */
    qd_dims in[QD_MAX_INPUTS];
    qd_dims out;
    const void *x[QD_MAX_INPUTS];
    qd_deferred deferred; /* of x[0] */
    void *y;              /* NULL: left to its readers (defer()) */
    const void *dy;
    void *dx[QD_MAX_INPUTS];        /* NULL: nobody needs it */
    bool accumulate[QD_MAX_INPUTS]; /* dx += instead of dx = */
    void *param[QD_MAX_PARAMS];
    void *grad[QD_MAX_PARAMS]; /* overwritten; NULL: not needed */
    void *buffer[QD_MAX_BUFFERS];
    int64_t *batches_tracked; /* incremented in training mode by layers that count */
    void *saved;              /* saved_bytes(): from forward to backward */
    void *workspace;          /* workspace_bytes(): during one call */
    const qd_draws *draws;
    const qd_communicator
        *statistics_over; /* batch statistics are taken over these processes; NULL: over this call */
} qd_layer_call;

typedef struct qd_layer_ops {
    const char *name; /* "conv2d" */
    size_t config_size;
    int input_count;
    /* Checks config and input dims, fills `decl`. `name` is the module path for errors. QD_ERR_SHAPE. */
    enum qd_status (*infer)(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl);
    /* enum qd_backward_needs, given the config and the fused activation. */
    unsigned (*backward_needs)(const void *config, enum qd_activation fused);
    /* Bytes of call->saved for up to call->n samples; NULL: none. The call has no addresses yet. */
    size_t (*saved_bytes)(const qd_layer_call *call);
    /* Bytes of call->workspace for up to call->n samples, of forward (backward = false) or backward; NULL: none. The
     * call has no addresses yet. */
    size_t (*workspace_bytes)(const qd_layer_call *call, bool backward);
    /* Whether forward and backward can read x[0] deferred; NULL: no. The call has no addresses yet. */
    bool (*takes_deferred)(const qd_layer_call *call);
    /* After forward with y = NULL: how readers make the output from x[0]; NULL: the output must be made. */
    void (*defer)(const qd_layer_call *call, qd_deferred *out);
    /* Random decisions (of two words each) one sample costs in training mode; NULL: none. */
    int64_t (*draws_per_sample)(const void *config, const qd_dims *in);
    bool takes_statistics; /* of the batch, in training: it is called without images too where processes share them */
    /* Errors: QD_ERR_SHAPE (one value per channel in training BatchNorm), the communicator's. */
    enum qd_status (*forward)(const qd_layer_call *call);
    enum qd_status (*backward)(const qd_layer_call *call);
} qd_layer_ops;

#include "nn/layer_list.h"

enum qd_layer_kind {
#define QD_LAYER_ENUM(name) QD_LAYER_##name,
    QD_LAYER_LIST(QD_LAYER_ENUM)
#undef QD_LAYER_ENUM
        QD_LAYER_COUNT
};

#define QD_LAYER_EXTERN(name) extern const qd_layer_ops qd_layer_##name;
QD_LAYER_LIST(QD_LAYER_EXTERN)
#undef QD_LAYER_EXTERN

const qd_layer_ops *qd_layer_ops_of(enum qd_layer_kind kind);

/* Configurations, one struct a layer that has any. */

typedef struct qd_conv2d_config {
    int64_t in_channels, out_channels;
    int64_t kernel, stride, padding, groups;
    bool bias;
} qd_conv2d_config;

typedef struct qd_batchnorm2d_config {
    int64_t channels;
    double eps, momentum; /* PyTorch's defaults: 1e-5, 0.1 */
    bool frozen;          /* running statistics in training, too, and unchanged by it */
} qd_batchnorm2d_config;

typedef struct qd_activation_config {
    enum qd_activation kind;
} qd_activation_config;

typedef struct qd_maxpool2d_config {
    int64_t kernel, stride, padding;
} qd_maxpool2d_config;

typedef struct qd_linear_config {
    int64_t in_features, out_features;
} qd_linear_config; /* always with bias */

typedef struct qd_dropout_config {
    double p; /* probability of dropping */
} qd_dropout_config;

typedef struct qd_stochastic_depth_config {
    double p; /* probability of dropping a whole sample's branch ("row") */
} qd_stochastic_depth_config;

typedef struct qd_fake_quant_config {
    int bits; /* 2 to 16 */
    bool symmetric;
    double averaging; /* share of a new batch in the range, above 0 and at most 1; PyTorch: 0.01 */
} qd_fake_quant_config;

#endif
