/* What the float run does at once, in which order, and where its values lie. */
#include "quantize/fused.h"

#include "base/error.h"
#include "graph/plan_memory.h"
#include <stdlib.h>

typedef struct fusing {
    qd_fused *f;
    bool *done; /* steps that belong to an op */
    bool *made; /* values that exist by now */
    int *gate;  /* convolution step -> the product its input is, -1: none */
} fusing;

/* The only step that reads `value`, once; -1 when there are several or the network returns it. */
static int sole_reader(const qd_qgraph *q, int value)
{
    int found = -1, reads = value == q->output;

    for (int i = 0; i < q->step_count; i++)
        for (int k = 0; k < 2; k++)
            if (q->steps[i].input[k] == value) {
                found = i;
                reads++;
            }
    return reads == 1 ? found : -1;
}

/* The step of a kind that reads `value`; -1: none. */
static int reader(const qd_qgraph *q, int value, enum qd_qstep_kind kind)
{
    for (int i = 0; i < q->step_count; i++)
        if (q->steps[i].kind == kind && q->steps[i].input[0] == value)
            return i;
    return -1;
}

static qd_conv_shape conv_shape(const qd_qgraph *q, const qd_qstep *step)
{
    return qd_conv2d_shape(&q->convs[step->conv].config, &q->values[step->input[0]].dims,
                           &q->values[step->output].dims, q->max_batch);
}

/* Whether the product of step `index` can be made where a convolution reads it. */
static bool absorb_gate(fusing *s, int index)
{
    const qd_qgraph *q = s->f->q;
    int conv = sole_reader(q, q->steps[index].output);

    if (conv < 0 || q->steps[conv].kind != QD_QSTEP_CONV)
        return false;
    const qd_conv_shape shape = conv_shape(q, &q->steps[conv]);
    if (!qd_fixed_conv_takes_gate(&shape))
        return false;
    s->gate[conv] = index;
    return true;
}

static void absorb_activation(fusing *s, qd_fused_op *op)
{
    const qd_qgraph *q = s->f->q;
    int next = sole_reader(q, op->output);

    if (op->activation != QD_ACTIVATION_NONE || next < 0 ||
        (q->steps[next].kind != QD_QSTEP_SILU && q->steps[next].kind != QD_QSTEP_TABLE))
        return;
    op->activation = q->steps[next].activation;
    op->output = q->steps[next].output;
    s->done[next] = true;
}

static void absorb_sum(fusing *s, qd_fused_op *op)
{
    const qd_qgraph *q = s->f->q;
    int next = sole_reader(q, op->output);

    if (op->activation != QD_ACTIVATION_NONE || next < 0 || q->steps[next].kind != QD_QSTEP_ADD)
        return;
    const qd_qstep *sum = &q->steps[next];
    int other = sum->input[0] == op->output ? sum->input[1] : sum->input[0];
    if (!s->made[other])
        return;
    op->residual = other;
    op->activation = sum->activation;
    op->output = sum->output;
    s->done[next] = true;
}

static void absorb_mean(fusing *s, qd_fused_op *op)
{
    int mean = reader(s->f->q, op->output, QD_QSTEP_MEAN);

    if (mean < 0 || !qd_fixed_conv_takes_pooled(&op->conv.shape))
        return;
    op->pooled = s->f->q->steps[mean].output;
    s->made[op->pooled] = s->done[mean] = true;
}

static void add_op(fusing *s, int index)
{
    const qd_qgraph *q = s->f->q;
    const qd_qstep *step = &q->steps[index];
    qd_fused_op *op = &s->f->ops[s->f->op_count++];

    *op = (qd_fused_op){.step = step,
                        .input = step->input[0],
                        .gate = -1,
                        .residual = -1,
                        .activation = step->activation,
                        .output = step->output,
                        .pooled = -1};
    if (step->kind == QD_QSTEP_CONV) {
        op->conv.shape = conv_shape(q, step);
        if (s->gate[index] >= 0) {
            op->input = q->steps[s->gate[index]].input[0];
            op->gate = q->steps[s->gate[index]].input[1];
        }
        absorb_activation(s, op);
        absorb_sum(s, op);
        absorb_mean(s, op);
    } else if (step->kind == QD_QSTEP_ADD) {
        op->residual = step->input[1];
    } else if (step->kind == QD_QSTEP_GATE) {
        op->gate = step->input[1];
    }
    s->made[op->output] = true;
}

static enum qd_status fuse_steps(qd_fused *f)
{
    const qd_qgraph *q = f->q;
    const size_t steps = (size_t)q->step_count;
    enum qd_status status = QD_OK;
    fusing s = {.f = f};

    f->ops = qd_calloc(steps, sizeof *f->ops);
    s.done = qd_calloc(steps, sizeof *s.done);
    s.gate = qd_calloc(steps, sizeof *s.gate);
    s.made = qd_calloc((size_t)q->value_count, sizeof *s.made);
    if (f->ops == NULL || s.done == NULL || s.gate == NULL || s.made == NULL) {
        status =
            qd_fail(q->ctx, QD_ERR_MEMORY, "folded network: no memory for the list of its %d steps", q->step_count);
        goto fail;
    }
    for (int i = 0; i < q->step_count; i++)
        s.gate[i] = -1;
    s.made[q->input] = true;
    for (int i = 0; i < q->step_count; i++)
        if (!s.done[i] && !(q->steps[i].kind == QD_QSTEP_GATE && absorb_gate(&s, i)))
            add_op(&s, i);
fail:
    free(s.done);
    free(s.gate);
    free(s.made);
    return status;
}

static void extend(qd_block_life *lives, int value, int op)
{
    if (value >= 0)
        lives[value].last = op;
}

/* A place for every value that an op writes; the others take none. */
static enum qd_status place_values(qd_fused *f)
{
    const qd_qgraph *q = f->q;
    enum qd_status status = QD_OK;
    qd_block_life *lives = qd_calloc((size_t)q->value_count, sizeof *lives);

    f->offset = qd_calloc((size_t)q->value_count, sizeof *f->offset);
    if (lives == NULL || f->offset == NULL) {
        status = qd_fail(q->ctx, QD_ERR_MEMORY, "folded network: no memory to place its %d values", q->value_count);
        goto fail;
    }
    for (int i = 0; i < f->op_count; i++) {
        const qd_fused_op *op = &f->ops[i];
        const int written[2] = {op->output, op->pooled};
        for (int k = 0; k < 2; k++)
            if (written[k] >= 0)
                lives[written[k]] = (qd_block_life){
                    .bytes = (size_t)(q->max_batch * qd_dims_count(&q->values[written[k]].dims)) * sizeof(float),
                    .first = i,
                    .last = i};
        extend(lives, op->input, i);
        extend(lives, op->gate, i);
        extend(lives, op->residual, i);
    }
    extend(lives, q->output, f->op_count);
    lives[q->input] = (qd_block_life){0};
    QD_TRY_GOTO(qd_plan_memory_place(q->ctx, lives, q->value_count, &f->values_bytes));
    for (int v = 0; v < q->value_count; v++)
        f->offset[v] = lives[v].offset;
fail:
    free(lives);
    return status;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void measure(qd_fused *f)
{
    const qd_qgraph *q = f->q;

    for (int i = 0; i < f->op_count; i++) {
        const qd_fused_op *op = &f->ops[i];
        if (op->step->kind != QD_QSTEP_CONV)
            continue;
        f->packed_bytes += qd_align_bytes(qd_fixed_conv_packed_bytes(&q->kernels, &op->conv));
        f->workspace_bytes = larger(
            f->workspace_bytes, qd_fixed_conv_workspace_bytes(&q->kernels, qd_context_threads(q->ctx), &op->conv));
    }
}

enum qd_status qd_fused_create(const qd_qgraph *q, qd_fused **out)
{
    enum qd_status status = QD_OK;
    qd_fused *f = qd_calloc(1, sizeof *f);

    if (f == NULL)
        return qd_fail(q->ctx, QD_ERR_MEMORY, "folded network: out of memory");
    f->q = q;
    QD_TRY_GOTO(fuse_steps(f));
    QD_TRY_GOTO(place_values(f));
    measure(f);
    *out = f;
    return QD_OK;
fail:
    qd_fused_destroy(f);
    return status;
}

void qd_fused_destroy(qd_fused *fused)
{
    if (fused == NULL)
        return;
    free(fused->ops);
    free(fused->offset);
    qd_arena_destroy(&fused->values);
    qd_arena_destroy(&fused->packed);
    qd_arena_destroy(&fused->workspace);
    free(fused);
}

size_t qd_fused_bytes(const qd_fused *fused)
{
    return fused->values_bytes + fused->packed_bytes + fused->workspace_bytes;
}
