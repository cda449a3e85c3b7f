/*
 * The quantized network in integers: docs/quantization.md section 3. One team of threads goes through all steps
 * together; each thread does its share of a step and waits for the others. A network has a hundred steps and more,
 * and at a batch of one many of them take a few microseconds: as much as starting a team takes.
 */
#include "quantize/integer_steps.h"
#include <omp.h>

/* A step of so little work is done by one thread, without waiting before the next such step: about what waiting for
 * each other costs. Work counts codes, and multiply-adds by 16. */
#define SMALL_WORK 4096

/* Codes that threads share out: whole cache lines. */
#define LINE_CODES 64

qd_code_range qd_integer_range(const qd_qgraph *q, const qd_qstep *step)
{
    const qd_quant_params *params = qd_integer_params(q, step->output);
    qd_code_range range = params->range;

    if (step->activation == QD_ACTIVATION_RELU || step->activation == QD_ACTIVATION_RELU6)
        range.low = range.zero; /* a zero point is never below `low` */
    if (step->activation == QD_ACTIVATION_RELU6)
        range.high = qd_code_of(6.0f / params->scale, params->range);
    return (qd_code_range){range.zero + QD_STORED_OFFSET, range.low + QD_STORED_OFFSET,
                           range.high + QD_STORED_OFFSET};
}

qd_conv_shape qd_integer_shape(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    const qd_dims *in = &q->values[step->input[0]].dims, *out = &q->values[step->output].dims;
    qd_conv_shape s = {.n = n, .ih = in->h, .iw = in->w, .ic = in->c, .oh = out->h, .ow = out->w, .oc = out->c};

    if (step->kind == QD_QSTEP_MAXPOOL) {
        s.kh = s.kw = step->pool.kernel;
        s.stride = step->pool.stride;
        s.pad = step->pool.padding;
        s.groups = in->c;
    } else {
        const qd_conv2d_config *config = &q->convs[step->conv].config;
        s.kh = s.kw = config->kernel;
        s.stride = config->stride;
        s.pad = config->padding;
        s.groups = config->groups;
    }
    return s;
}

size_t qd_qgraph_integer_scratch_bytes(const qd_qgraph *q)
{
    size_t most = 0;

    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        size_t bytes = 0;
        if (step->kind == QD_QSTEP_CONV)
            bytes = qd_integer_conv_scratch_bytes(q, step);
        else if (step->kind == QD_QSTEP_MEAN)
            bytes = (size_t)(q->max_batch * q->values[step->output].dims.c) * sizeof(int32_t);
        most = bytes > most ? bytes : most;
    }
    return qd_align_bytes(most);
}

static void run_lookup(const qd_qgraph *q, int input, const uint8_t table[256], int output, int64_t n, qd_share share)
{
    const qd_piece piece = qd_share_of(share, n * qd_dims_count(&q->values[output].dims), LINE_CODES);
    const uint8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, input);
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, output);

    q->int8.lookup(x + piece.first, piece.count, table, y + piece.first);
}

static void run_add(const qd_qgraph *q, const qd_qstep *step, int64_t n, qd_share share)
{
    const qd_piece piece = qd_share_of(share, n * qd_dims_count(&q->values[step->output].dims), LINE_CODES);
    const uint8_t *a = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    const uint8_t *b = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[1]);
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

    q->int8.add(a + piece.first, qd_integer_zero(q, step->input[0]), step->multiplier[0], b + piece.first,
                qd_integer_zero(q, step->input[1]), step->multiplier[1], piece.count, qd_integer_range(q, step),
                y + piece.first);
}

static void run_gate(const qd_qgraph *q, const qd_qstep *step, int64_t n, qd_share share)
{
    const qd_dims *dims = &q->values[step->output].dims;
    const qd_piece rows = qd_share_of(share, dims->h * dims->w, 1);
    const uint8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    const uint8_t *gate = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[1]);
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

    for (int64_t i = 0; i < n; i++) {
        const int64_t first = (i * dims->h * dims->w + rows.first) * dims->c;
        q->int8.channel_multiply(x + first, qd_integer_zero(q, step->input[0]), gate + i * dims->c,
                                 qd_integer_zero(q, step->input[1]), rows.count, dims->c, step->multiplier[0],
                                 qd_integer_range(q, step), y + first);
    }
}

static void run_maxpool(const qd_qgraph *q, const qd_qstep *step, int64_t n, qd_share share)
{
    const qd_conv_shape s = qd_integer_shape(q, step, n);
    const qd_piece lines = qd_share_of(share, n * s.oh, 1);
    const uint8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

    q->int8.maxpool(&s, x, lines.first, lines.count, y + lines.first * s.ow * s.oc);
}

/* Every thread sums its rows of each image in its scratch; then they share out the channels. */
static void run_mean(const qd_qgraph *q, const qd_qstep *step, int64_t n, qd_share share)
{
    const qd_dims *in = &q->values[step->input[0]].dims;
    const qd_piece rows = qd_share_of(share, in->h * in->w, 1), own = qd_share_of(share, n * in->c, LINE_CODES);
    const uint8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);
    int32_t *sums = (int32_t *)(void *)qd_integer_scratch(q, share.index);
    const qd_code_range range = qd_integer_range(q, step);

    for (int64_t i = 0; i < n; i++)
        q->int8.sum_rows(x + (i * in->h * in->w + rows.first) * in->c, qd_integer_zero(q, step->input[0]), rows.count,
                         in->c, in->c, sums + i * in->c);
    if (share.count > 1) {
#pragma omp barrier
    }
    for (int64_t i = own.first; i < own.first + own.count; i++) {
        int32_t sum = 0;
        for (int64_t part = 0; part < share.count; part++)
            sum += ((const int32_t *)(const void *)qd_integer_scratch(q, part))[i];
        y[i] = (uint8_t)qd_requantize_value(sum, step->multiplier[0], range);
    }
}

/* One share of a step, and of the step behind it if that is merged. */
static void run_step(const qd_qgraph *q, const qd_qstep *step, const qd_qstep *merged, int64_t n, bool inner,
                     qd_share share)
{
    switch (step->kind) {
    case QD_QSTEP_CONV:
        qd_integer_conv(q, step, merged, n, share);
        break;
    case QD_QSTEP_TABLE:
        run_lookup(q, step->input[0], step->table, step->output, n, share);
        break;
    case QD_QSTEP_SILU:
        if (inner)
            run_lookup(q, step->input[0], step->inner_table, step->inner, n, share);
        run_lookup(q, step->input[0], step->table, step->output, n, share);
        break;
    case QD_QSTEP_ADD:
        run_add(q, step, n, share);
        break;
    case QD_QSTEP_GATE:
        run_gate(q, step, n, share);
        break;
    case QD_QSTEP_MAXPOOL:
        run_maxpool(q, step, n, share);
        break;
    case QD_QSTEP_MEAN:
        run_mean(q, step, n, share);
        break;
    }
}

void qd_qgraph_load_integer(qd_qgraph *q, const float *images, int64_t n)
{
    const int64_t count = n * qd_dims_count(&q->values[q->input].dims);
    const qd_quant_params *params = qd_integer_params(q, q->input);
    const qd_code_range range = {params->range.zero + QD_STORED_OFFSET, params->range.low + QD_STORED_OFFSET,
                                 params->range.high + QD_STORED_OFFSET};
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, q->input);

#pragma omp parallel num_threads(qd_context_threads(q->ctx))
    {
        const qd_share share = {omp_get_thread_num(), omp_get_num_threads()};
        const qd_piece piece = qd_share_of(share, count, LINE_CODES);
        q->int8.quantize(images + piece.first, piece.count, params->scale, range, y + piece.first);
    }
}

void qd_qgraph_step_integer(qd_qgraph *q, const qd_qstep *step, int64_t n, bool inner)
{
#pragma omp parallel num_threads(qd_context_threads(q->ctx))
    {
        const qd_share share = {omp_get_thread_num(), omp_get_num_threads()};
        run_step(q, step, NULL, n, inner, share);
    }
}

static bool is_small(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    int64_t work =
        n * (qd_dims_count(&q->values[step->input[0]].dims) + qd_dims_count(&q->values[step->output].dims));

    if (step->kind == QD_QSTEP_CONV)
        work += n * qd_dims_count(&q->values[step->output].dims) * q->convs[step->conv].filter / 16;
    return work <= SMALL_WORK;
}

void qd_qgraph_steps_integer(qd_qgraph *q, int64_t n)
{
#pragma omp parallel num_threads(qd_context_threads(q->ctx))
    {
        const qd_share all = {omp_get_thread_num(), omp_get_num_threads()}, alone = {0, 1};
        bool waiting = false; /* for the first thread, which is alone with some steps */

        for (int i = 0; i < q->step_count; i++) {
            const qd_qstep *step = &q->steps[i], *merged = step->merges ? &q->steps[i + 1] : NULL;
            i += step->merges;
            if (is_small(q, step, n)) {
                if (all.index == 0)
                    run_step(q, step, merged, n, false, alone);
                waiting = true;
                continue;
            }
            if (waiting) {
#pragma omp barrier
            }
            waiting = false;
            run_step(q, step, merged, n, false, all);
#pragma omp barrier
        }
    }
}
