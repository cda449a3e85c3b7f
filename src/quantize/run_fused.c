/* Running the folded network in float32: see fused.h. */
#include "quantize/fused.h"

#include <string.h>

/* Memory of a value. */
static float *value_at(const qd_fused *f, int value)
{
    return (float *)(void *)(f->values.data + f->offset[value]);
}

/* The same of a value that is read and may be the network's input; NULL for none. */
static const float *input_at(const qd_fused *f, int value, const float *images)
{
    if (value < 0)
        return NULL;
    return value == f->q->input ? images : value_at(f, value);
}

/* Allocates what a run needs and lays the weights out, once. */
static enum qd_status prepare(qd_fused *f)
{
    const qd_qgraph *q = f->q;

    if (f->packed.data == NULL)
        QD_TRY(qd_arena_create(q->ctx, f->packed_bytes, "the folded network's weights", &f->packed));
    if (f->values.data == NULL)
        QD_TRY(qd_arena_create(q->ctx, f->values_bytes, "the folded network's values", &f->values));
    if (f->workspace.data != NULL)
        return QD_OK;
    QD_TRY(qd_arena_create(q->ctx, f->workspace_bytes, "the folded network's workspace", &f->workspace));
    for (int i = 0; i < f->op_count; i++) {
        qd_fused_op *op = &f->ops[i];
        if (op->step->kind != QD_QSTEP_CONV)
            continue;
        op->conv.weight = q->convs[op->step->conv].weight;
        op->conv.bias = q->convs[op->step->conv].bias;
        float *packed = qd_arena_take(&f->packed, qd_fixed_conv_packed_bytes(&q->kernels, &op->conv));
        qd_fixed_conv_pack(&q->kernels, qd_context_threads(q->ctx), &op->conv, f->workspace.data, packed);
        op->conv.packed = packed;
    }
    return QD_OK;
}

void qd_fused_forget_weights(qd_fused *fused)
{
    qd_arena_destroy(&fused->packed);
    qd_arena_destroy(&fused->workspace); /* whose absence is what prepare() goes by */
}

static void run_conv(const qd_fused *f, const qd_fused_op *op, const float *images, int64_t n)
{
    const qd_fixed_conv_run run = {.k = &f->q->kernels,
                                   .threads = qd_context_threads(f->q->ctx),
                                   .n = n,
                                   .x = input_at(f, op->input, images),
                                   .gate = input_at(f, op->gate, images),
                                   .residual = input_at(f, op->residual, images),
                                   .activation = op->activation,
                                   .y = value_at(f, op->output),
                                   .pooled = op->pooled < 0 ? NULL : value_at(f, op->pooled),
                                   .workspace = f->workspace.data};

    qd_fixed_conv_forward(&op->conv, &run);
}

/* Line by line, and without the positions that the layer keeps for its backward pass. */
static void run_maxpool(const qd_fused *f, const qd_fused_op *op, const float *images, int64_t n)
{
    const qd_dims *in = &f->q->values[op->input].dims, *out = &f->q->values[op->output].dims;
    const qd_maxpool2d_config *pool = &op->step->pool;
    const qd_conv_shape s = {.n = n,
                             .ih = in->h,
                             .iw = in->w,
                             .ic = in->c,
                             .oh = out->h,
                             .ow = out->w,
                             .oc = out->c,
                             .kh = pool->kernel,
                             .kw = pool->kernel,
                             .stride = pool->stride,
                             .pad = pool->padding,
                             .groups = in->c};
    const float *x = input_at(f, op->input, images);
    float *y = value_at(f, op->output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(f->q->ctx))
    for (int64_t line = 0; line < n * s.oh; line++)
        f->q->kernels.maxpool_forward(&s, x, line, 1, y, NULL);
}

/* The layer of a step that no convolution has absorbed, its second input and its configuration. */
static const qd_layer_ops *layer_of(const qd_fused_op *op, const qd_activation_config *activation, int *second,
                                    const void **config)
{
    switch (op->step->kind) {
    case QD_QSTEP_TABLE:
    case QD_QSTEP_SILU:
        *config = activation;
        return &qd_layer_activation;
    case QD_QSTEP_ADD:
        *second = op->residual;
        return &qd_layer_add;
    case QD_QSTEP_GATE:
        *second = op->gate;
        return &qd_layer_channel_multiply;
    case QD_QSTEP_MEAN:
        return &qd_layer_global_avgpool;
    case QD_QSTEP_MAXPOOL:
    case QD_QSTEP_CONV:
        break;
    }
    return NULL;
}

static enum qd_status run_layer(const qd_fused *f, const qd_fused_op *op, const float *images, int64_t n)
{
    const qd_qgraph *q = f->q;
    const qd_activation_config activation = {op->activation};
    int second = -1;
    const void *config = NULL;
    const qd_layer_ops *ops = layer_of(op, &activation, &second, &config);
    qd_layer_call call = {.ctx = q->ctx,
                          .k = &q->kernels,
                          .dtype = QD_F32,
                          .threads = qd_context_threads(q->ctx),
                          .name = op->step->name,
                          .config = config,
                          .n = n,
                          .in = {q->values[op->input].dims},
                          .out = q->values[op->output].dims,
                          .x = {input_at(f, op->input, images), input_at(f, second, images)},
                          .y = value_at(f, op->output),
                          .workspace = f->workspace.data};

    if (second >= 0)
        call.in[1] = q->values[second].dims;
    QD_TRY(ops->forward(&call));
    if (op->step->kind != QD_QSTEP_ADD || op->activation == QD_ACTIVATION_NONE)
        return QD_OK;
    call.config = &activation;
    call.in[0] = call.out;
    call.x[0] = call.y;
    return qd_layer_activation.forward(&call);
}

enum qd_status qd_fused_run(qd_fused *fused, const float *images, int64_t n, float *logits)
{
    const int64_t classes = qd_dims_count(&fused->q->values[fused->q->output].dims);

    QD_TRY(prepare(fused));
    for (int i = 0; i < fused->op_count; i++) {
        const qd_fused_op *op = &fused->ops[i];
        if (op->step->kind == QD_QSTEP_CONV)
            run_conv(fused, op, images, n);
        else if (op->step->kind == QD_QSTEP_MAXPOOL)
            run_maxpool(fused, op, images, n);
        else
            QD_TRY(run_layer(fused, op, images, n));
    }
    memcpy(logits, value_at(fused, fused->q->output), (size_t)(n * classes) * sizeof *logits);
    return QD_OK;
}
