/*
 * Cross-layer equalization. Between two layers with a positively homogeneous function (identity, ReLU; max and mean
 * over positions keep it so) a channel may be divided by s > 0 before and multiplied behind:
 *
 *   W1[i] ← W1[i] / s_i,  b1_i ← b1_i / s_i,  W2[:, i] ← W2[:, i] · s_i,  s_i = √(r1_i / r2_i)
 *
 * r1_i = max |W1[i]| and r2_i = max |W2[:, i]| are both √(r1_i·r2_i) then, which maximises the product of the
 * channels' precisions. Pairs are repeated until nothing moves, because layers belong to two pairs.
 *
 * One deviation: the paper scales first and then absorbs high biases with the help of BatchNorm's statistics. Here
 * s_i is as large as keeps |b1_i| / s_i within the layer's largest bias before: a channel that BatchNorm has switched
 * off but for its beta would otherwise stretch the activation's range without bound.
 */
#include "base/arena.h"
#include "base/error.h"
#include "quantize/fused.h"
#include "quantize/qgraph.h"
#include "quantize/remedies/remedies.h"
#include <math.h>
#include <stdlib.h>

/* Sweeps over all pairs at most, and the largest |s − 1| that counts as none. */
#define SWEEPS    40
#define TOLERANCE 1e-3

/* Weights of `conv` that belong to output channel o: filter many. */
static float *weight_of(const qd_qconv *conv, int64_t o, int64_t k)
{
    return &conv->weight[conv->depthwise ? k * conv->config.out_channels + o : o * conv->filter + k];
}

static double output_peak(const qd_qconv *conv, int64_t o)
{
    double peak = 0.0;

    for (int64_t k = 0; k < conv->filter; k++) {
        double w = fabs((double)*weight_of(conv, o, k));
        peak = w > peak ? w : peak;
    }
    return peak;
}

static void scale_output(qd_qconv *conv, int64_t o, double factor)
{
    for (int64_t k = 0; k < conv->filter; k++) {
        float *w = weight_of(conv, o, k);
        *w = (float)((double)*w * factor);
    }
    conv->bias[o] = (float)((double)conv->bias[o] * factor);
}

/* Multiplies the weights that read input channel i by `factor`; returns the largest magnitude they had. */
static double scale_input(qd_qconv *conv, int64_t i, double factor)
{
    int64_t groups = conv->config.groups, inputs = conv->config.in_channels / groups;
    int64_t outputs = conv->config.out_channels / groups, group = i / inputs;
    double peak = 0.0;

    for (int64_t o = group * outputs; o < (group + 1) * outputs; o++)
        for (int64_t k = i % inputs; k < conv->filter; k += inputs) {
            float *w = weight_of(conv, o, k);
            double before = fabs((double)*w);
            peak = before > peak ? before : peak;
            *w = (float)((double)*w * factor);
        }
    return peak;
}

/* Largest over smallest range of the output channels, those without any weight left out. */
static double spread(const qd_qconv *conv)
{
    double smallest = INFINITY, largest = 0.0;

    for (int64_t o = 0; o < conv->config.out_channels; o++) {
        double peak = output_peak(conv, o);
        if (peak <= 0.0)
            continue;
        smallest = peak < smallest ? peak : smallest;
        largest = peak > largest ? peak : largest;
    }
    return largest > 0.0 ? largest / smallest : 1.0;
}

/* The step that writes `value`; NULL for the network's input. */
static const qd_qstep *writer(const qd_qgraph *q, int value)
{
    for (int i = 0; i < q->step_count; i++)
        if (q->steps[i].output == value)
            return &q->steps[i];
    return NULL;
}

static int reader_count(const qd_qgraph *q, int value)
{
    int count = value == q->output;

    for (int i = 0; i < q->step_count; i++)
        count += (q->steps[i].input[0] == value) + (q->steps[i].input[1] == value);
    return count;
}

/* The convolution before `step`, with every reason why the two cannot be equalized in *skipped. */
static const qd_qstep *find_first(const qd_qgraph *q, const qd_qstep *step, const char **skipped)
{
    int value = step->input[0];
    const qd_qstep *before = writer(q, value);
    bool shared = reader_count(q, value) > 1;

    while (before != NULL && (before->kind == QD_QSTEP_MAXPOOL || before->kind == QD_QSTEP_MEAN)) {
        value = before->input[0];
        before = writer(q, value);
        shared = shared || reader_count(q, value) > 1;
    }
    *skipped = NULL;
    if (before == NULL)
        *skipped = "it reads the network's input";
    else if (before->kind == QD_QSTEP_SILU)
        *skipped = "SiLU stands between: SiLU(s·x) is not s·SiLU(x)";
    else if (before->kind == QD_QSTEP_TABLE)
        *skipped = "a function stands between that does not keep factors";
    else if (before->kind == QD_QSTEP_ADD)
        *skipped = "it reads a sum, whose terms would all have to be scaled";
    else if (before->kind == QD_QSTEP_GATE)
        *skipped = "it reads a product with a gate";
    else if (before->activation == QD_ACTIVATION_RELU6)
        *skipped = "ReLU6 stands between: its clamp at 6 does not scale";
    else if (shared)
        *skipped = "others read the same tensor";
    else if (q->convs[before->conv].config.out_channels != q->convs[step->conv].config.in_channels)
        *skipped = "positions are flattened between, so channels do not correspond";
    return before != NULL && before->kind == QD_QSTEP_CONV ? before : NULL;
}

/* One pair once; the largest |s − 1|. `bias_limit`: the first layer's largest |bias| before anything was done. */
static double equalize_pair(qd_qconv *first, qd_qconv *second, double bias_limit)
{
    double moved = 0.0;

    for (int64_t i = 0; i < first->config.out_channels; i++) {
        double r1 = output_peak(first, i), r2 = scale_input(second, i, 1.0);
        if (r1 <= 0.0 || r2 <= 0.0)
            continue; /* a channel that is constant, or that nobody uses: nothing to equalize */
        double s = sqrt(r1 / r2), bias = fabs((double)first->bias[i]);
        if (bias > s * bias_limit)
            s = fmin(1.0, bias / bias_limit);
        scale_output(first, i, 1.0 / s);
        (void)scale_input(second, i, s);
        moved = fmax(moved, fabs(s - 1.0));
    }
    return moved;
}

static double largest_bias(const qd_qconv *conv)
{
    double peak = 0.0;

    for (int64_t o = 0; o < conv->config.out_channels; o++) {
        double b = fabs((double)conv->bias[o]);
        /* No fmax(): gcc 12 for aarch64 fails to compile this loop with it at -O3. */
        peak = b > peak ? b : peak;
    }
    return peak;
}

/* Per convolution as the second of a pair. */
typedef struct pair {
    qd_qconv *first;
    double bias_limit;
} pair;

static void find_pairs(const qd_qgraph *q, pair *pairs, qd_equalized_pair *report)
{
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        if (step->kind != QD_QSTEP_CONV)
            continue;
        qd_equalized_pair *entry = &report[step->conv];
        const qd_qstep *first = find_first(q, step, &entry->skipped);
        entry->second = q->convs[step->conv].name;
        entry->first = first == NULL ? NULL : q->convs[first->conv].name;
        if (first == NULL || entry->skipped != NULL)
            continue;
        pairs[step->conv].first = &q->convs[first->conv];
        pairs[step->conv].bias_limit = largest_bias(&q->convs[first->conv]);
        entry->spread_before = spread(&q->convs[first->conv]);
    }
}

/* Ranges and kernels' forms of the weights before. */
static void forget_derived(qd_qgraph *q)
{
    qd_fused_forget_weights(q->fused);
    for (int i = 0; i < q->quantizer_count; i++) {
        q->quantizers[i].min = 1.0;
        q->quantizers[i].max = -1.0;
    }
    q->finalized = false;
}

enum qd_status qd_qgraph_equalize(qd_qgraph *qgraph, qd_equalized_pair **pairs_out, int *count)
{
    enum qd_status status = QD_OK;
    size_t convs = (size_t)qgraph->conv_count;
    pair *pairs = NULL;
    qd_equalized_pair *report = NULL;
    double moved = 1.0;

    if (qgraph->restored)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                       "equalize: a network read from a quantized model file has no float weights");
    if (qgraph->rounded.data != NULL)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                       "equalize: the weights' rounding has been learnt already; equalize before AdaRound");
    pairs = qd_calloc(convs, sizeof *pairs);
    report = qd_calloc(convs, sizeof *report);
    if (pairs == NULL || report == NULL) {
        status = qd_fail(qgraph->ctx, QD_ERR_MEMORY, "equalize: no memory for %d layers", qgraph->conv_count);
        goto fail;
    }
    find_pairs(qgraph, pairs, report);
    for (int sweep = 0; sweep < SWEEPS && moved > TOLERANCE; sweep++) {
        moved = 0.0;
        for (int i = 0; i < qgraph->conv_count; i++)
            if (pairs[i].first != NULL)
                moved = fmax(moved, equalize_pair(pairs[i].first, &qgraph->convs[i], pairs[i].bias_limit));
    }
    for (int i = 0; i < qgraph->conv_count; i++)
        if (pairs[i].first != NULL)
            report[i].after = spread(pairs[i].first);
    forget_derived(qgraph);
    if (pairs_out != NULL) {
        *pairs_out = report;
        *count = qgraph->conv_count;
        report = NULL;
    }
fail:
    free(pairs);
    free(report);
    return status;
}
