/*
 * The quantized network in integers: docs/quantization.md section 3. Work is cut into blocks that depend on the
 * problem only; every block is exact or elementwise, so any number of threads gives the same bits.
 */
#include "nn/layer_work.h"
#include "quantize/qgraph.h"
#include <omp.h>

/* Rows of a dense convolution per block: their widened patches (32 · 4608 · 2 bytes at most here) fit a second-level
 * cache. */
#define BLOCK_ROWS 32

/* Scratch of one thread: the patches of a block, and accumulators of a block or of one line of a depthwise
 * convolution. */
static size_t conv_scratch_bytes(const qd_qgraph *q, const qd_qstep *step)
{
    const qd_qconv *conv = &q->convs[step->conv];
    size_t channels = (size_t)conv->config.out_channels;

    if (conv->depthwise)
        return (size_t)q->values[step->output].dims.w * channels * sizeof(int32_t);
    return qd_align_bytes(BLOCK_ROWS * (size_t)conv->depth * sizeof(int16_t)) +
           BLOCK_ROWS * channels * sizeof(int32_t);
}

size_t qd_qgraph_integer_scratch_bytes(const qd_qgraph *q)
{
    size_t most = 0;

    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        size_t bytes = 0;
        if (step->kind == QD_QSTEP_CONV)
            bytes = conv_scratch_bytes(q, step);
        else if (step->kind == QD_QSTEP_MEAN)
            bytes = (size_t)q->values[step->output].dims.c * sizeof(int32_t);
        most = bytes > most ? bytes : most;
    }
    return qd_align_bytes(most);
}

static void *thread_scratch(const qd_qgraph *q)
{
    return q->scratch.data + (size_t)omp_get_thread_num() * q->scratch_bytes;
}

static const qd_quant_params *params_of(const qd_qgraph *q, int value)
{
    return &q->quantizers[q->values[value].quantizer].params;
}

/* Codes a step may write: all of the tensor's, or those a fused ReLU or ReLU6 leaves. */
static qd_code_range output_range(const qd_qgraph *q, const qd_qstep *step)
{
    const qd_quant_params *params = params_of(q, step->output);
    qd_code_range range = params->range;

    if (step->activation == QD_ACTIVATION_RELU || step->activation == QD_ACTIVATION_RELU6)
        range.low = range.zero; /* a zero point is never below `low` */
    if (step->activation == QD_ACTIVATION_RELU6)
        range.high = qd_code_of(6.0f / params->scale, params->range);
    return range;
}

static qd_conv_shape conv_shape(const qd_qgraph *q, const qd_qstep *step, int64_t n)
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

/* Accumulators of `rows` positions from row `first` and channels `channel` … to codes or, in the last layer, logits.
 */
static void finish_rows(const qd_qgraph *q, const qd_qstep *step, const int32_t *acc, int64_t first, int64_t rows,
                        int64_t channel, int64_t channels)
{
    const qd_qconv *conv = &q->convs[step->conv];
    const int32_t *bias = conv->bias_codes + channel;
    const float *multiplier = conv->multiplier + channel;
    int64_t stride = conv->config.out_channels;
    void *out = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

    if (q->values[step->output].quantizer >= 0) {
        q->int8.requantize(acc, rows, channels, bias, multiplier, output_range(q, step), stride,
                           (int8_t *)out + first * stride + channel);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        q->int8.dequantize_rows(acc + r * channels, 1, channels, bias, multiplier,
                                (float *)out + (first + r) * stride + channel);
}

static void run_dense(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    const qd_qconv *conv = &q->convs[step->conv];
    qd_conv_shape s = conv_shape(q, step, n);
    int64_t rows = n * s.oh * s.ow, blocks = qd_piece_count(rows, BLOCK_ROWS), channels = s.oc / s.groups;
    int32_t zero = params_of(q, step->input[0])->range.zero;
    const int8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t block = 0; block < blocks; block++) {
        qd_piece piece = qd_piece_of(rows, BLOCK_ROWS, block);
        int16_t *col = thread_scratch(q);
        int32_t *acc = (int32_t *)((unsigned char *)thread_scratch(q) +
                                   qd_align_bytes(BLOCK_ROWS * (size_t)conv->depth * sizeof *col));
        for (int64_t group = 0; group < s.groups; group++) {
            q->int8.im2col(&s, group, x, zero, piece.first, piece.count, conv->depth, col);
            q->int8.gemm(col, conv->packed + group * channels * conv->depth, piece.count, channels, conv->depth, acc);
            finish_rows(q, step, acc, piece.first, piece.count, group * channels, channels);
        }
    }
}

static void run_depthwise(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    const qd_qconv *conv = &q->convs[step->conv];
    qd_conv_shape s = conv_shape(q, step, n);
    int64_t lines = n * s.oh;
    int32_t zero = params_of(q, step->input[0])->range.zero;
    const int8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t line = 0; line < lines; line++) {
        int32_t *acc = thread_scratch(q);
        q->int8.dwconv(&s, x, zero, conv->packed, line, 1, acc);
        finish_rows(q, step, acc, line * s.ow, s.ow, 0, s.oc);
    }
}

static void run_lookup(const qd_qgraph *q, int input, const int8_t table[256], int output, int64_t n)
{
    int64_t count = n * qd_dims_count(&q->values[output].dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    const int8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, input);
    int8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        q->int8.lookup(x + piece.first, piece.count, table, y + piece.first);
    }
}

static void run_add(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    int64_t count = n * qd_dims_count(&q->values[step->output].dims),
            pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    const int8_t *a = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    const int8_t *b = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[1]);
    int32_t zero_a = params_of(q, step->input[0])->range.zero, zero_b = params_of(q, step->input[1])->range.zero;
    qd_code_range range = output_range(q, step);
    int8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        q->int8.add(a + piece.first, zero_a, step->multiplier[0], b + piece.first, zero_b, step->multiplier[1],
                    piece.count, range, y + piece.first);
    }
}

static void run_gate(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    const qd_dims *dims = &q->values[step->output].dims;
    int64_t rows = dims->h * dims->w, channels = dims->c;
    const int8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    const int8_t *gate = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[1]);
    int32_t zero_x = params_of(q, step->input[0])->range.zero, zero_gate = params_of(q, step->input[1])->range.zero;
    qd_code_range range = output_range(q, step);
    int8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t i = 0; i < n * dims->h; i++) {
        int64_t first = i * dims->w * channels;
        q->int8.channel_multiply(x + first, zero_x, gate + i / dims->h * channels, zero_gate, rows / dims->h,
                                 channels, step->multiplier[0], range, y + first);
    }
}

static void run_maxpool(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    qd_conv_shape s = conv_shape(q, step, n);
    int64_t lines = n * s.oh;
    const int8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    int8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t line = 0; line < lines; line++)
        q->int8.maxpool(&s, x, line, 1, y + line * s.ow * s.oc);
}

static void run_mean(const qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    const qd_dims *in = &q->values[step->input[0]].dims;
    const int8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    int32_t zero = params_of(q, step->input[0])->range.zero;
    qd_code_range range = output_range(q, step);
    int8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t i = 0; i < n; i++) {
        int32_t *sum = thread_scratch(q);
        q->int8.sum_rows(x + i * qd_dims_count(in), zero, in->h * in->w, in->c, sum);
        for (int64_t c = 0; c < in->c; c++)
            y[i * in->c + c] = (int8_t)qd_requantize_value(sum[c], step->multiplier[0], range);
    }
}

void qd_qgraph_load_integer(qd_qgraph *q, const float *images, int64_t n)
{
    int64_t count = n * qd_dims_count(&q->values[q->input].dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    const qd_quant_params *params = params_of(q, q->input);
    int8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, q->input);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        q->int8.quantize(images + piece.first, piece.count, params->scale, params->range, y + piece.first);
    }
}

void qd_qgraph_step_integer(qd_qgraph *q, const qd_qstep *step, int64_t n, bool inner)
{
    switch (step->kind) {
    case QD_QSTEP_CONV:
        if (q->convs[step->conv].depthwise)
            run_depthwise(q, step, n);
        else
            run_dense(q, step, n);
        break;
    case QD_QSTEP_TABLE:
        run_lookup(q, step->input[0], step->table, step->output, n);
        break;
    case QD_QSTEP_SILU:
        if (inner)
            run_lookup(q, step->input[0], step->inner_table, step->inner, n);
        run_lookup(q, step->input[0], step->table, step->output, n);
        break;
    case QD_QSTEP_ADD:
        run_add(q, step, n);
        break;
    case QD_QSTEP_GATE:
        run_gate(q, step, n);
        break;
    case QD_QSTEP_MAXPOOL:
        run_maxpool(q, step, n);
        break;
    case QD_QSTEP_MEAN:
        run_mean(q, step, n);
        break;
    }
}
