/*
 * Empirical bias correction: rounding a filter's weights shifts the mean of its output by E[W̃·x̃] − E[W·x], which
 * layers add up. First layer to last, with everything before it already corrected:
 *
 *   b̃_o ← b̃_o − (mean of the simulated network's output − mean of the float network's), before the activation
 *
 * means over images and positions in double.
 */
#include "base/arena.h"
#include "base/error.h"
#include "nn/layer_work.h"
#include "quantize/layer_walk.h"
#include "quantize/remedies/remedies.h"
#include <stdlib.h>
#include <string.h>

typedef struct correction {
    float *output;   /* of the largest layer */
    double *sums;    /* [QD_MAX_PARTIALS][channels] */
    double *mean[2]; /* [channels] of the float and of the simulated network */
} correction;

/* Means per channel of [rows][channels], from partial sums that do not depend on the number of threads. */
static void channel_means(const qd_qgraph *q, const correction *c, int64_t rows, int64_t channels, double *mean)
{
    int64_t partials = qd_partial_count(rows, channels);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < partials; p++) {
        qd_piece piece = qd_partial_rows(rows, partials, p);
        double *sum = c->sums + p * channels;
        memset(sum, 0, (size_t)channels * sizeof *sum);
        for (int64_t r = piece.first; r < piece.first + piece.count; r++)
            for (int64_t k = 0; k < channels; k++)
                sum[k] += (double)c->output[r * channels + k];
    }
    for (int64_t k = 0; k < channels; k++) {
        double sum = 0.0;
        for (int64_t p = 0; p < partials; p++)
            sum += c->sums[p * channels + k];
        mean[k] = sum / (double)rows;
    }
}

static enum qd_status correct_layer(void *user, qd_qgraph *q, qd_qstep *step, int64_t n)
{
    static const enum qd_qmode modes[2] = {QD_QMODE_FLOAT, QD_QMODE_SIMULATED};
    const correction *c = user;
    const qd_dims *dims = &q->values[step->output].dims;
    qd_qconv *conv = &q->convs[step->conv];

    for (int i = 0; i < 2; i++) {
        QD_TRY(qd_qgraph_run_conv(q, modes[i], step, n, c->output));
        channel_means(q, c, n * dims->h * dims->w, dims->c, c->mean[i]);
    }
    for (int64_t o = 0; o < dims->c; o++)
        conv->bias_correction[o] += (float)(c->mean[0][o] - c->mean[1][o]);
    qd_qgraph_finalize_step(q, step);
    return QD_OK;
}

enum qd_status qd_qgraph_correct_bias(qd_qgraph *qgraph, const float *images, int64_t n)
{
    enum qd_status status = QD_OK;
    int64_t most = 0, channels = 0;
    correction c = {0};

    QD_TRY(qd_layer_walk_check(qgraph, "correct biases", n));
    for (int i = 0; i < qgraph->step_count; i++) {
        const qd_dims *dims = &qgraph->values[qgraph->steps[i].output].dims;
        if (qgraph->steps[i].kind != QD_QSTEP_CONV)
            continue;
        most = qd_dims_count(dims) > most ? qd_dims_count(dims) : most;
        channels = dims->c > channels ? dims->c : channels;
    }
    c.output = qd_calloc((size_t)(n * most), sizeof *c.output);
    c.sums = qd_calloc((size_t)channels * QD_MAX_PARTIALS, sizeof *c.sums);
    c.mean[0] = qd_calloc((size_t)channels, sizeof(double));
    c.mean[1] = qd_calloc((size_t)channels, sizeof(double));
    if (c.output == NULL || c.sums == NULL || c.mean[0] == NULL || c.mean[1] == NULL) {
        status = qd_fail(qgraph->ctx, QD_ERR_MEMORY, "correct biases: no memory for one layer of %lld images",
                         (long long)n);
        goto fail;
    }
    QD_TRY_GOTO(qd_layer_walk(qgraph, images, n, correct_layer, &c));
fail:
    free(c.output);
    free(c.sums);
    free(c.mean[0]);
    free(c.mean[1]);
    return status;
}
