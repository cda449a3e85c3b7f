/*
 * BatchNorm2d, with the activation that follows it where a plan fuses the two.
 *
 * x, y: [n][h][w][C]; per channel c over the m = n·h·w rows:
 *   training    mean = Σx/m, var = Σx²/m - mean²; running = (1 - momentum)·running + momentum·(mean, var·m/(m-1))
 *   evaluation  mean, var = running statistics; in training as well when they are frozen
 *   invstd = 1/√(var + eps), scale = gamma·invstd, shift = beta - mean·scale
 *   y = activation(x·scale + shift)
 * saved: mean, invstd, scale, shift, each [C] of the layer's dtype. Sums and statistics are in double. Where
 * processes share statistics, m and the sums are those over all of them, and a process may have no rows. Source:
 * Ioffe & Szegedy 2015; PyTorch nn.BatchNorm2d.
 */
#include "base/error.h"
#include "nn/deferred.h"
#include <math.h>
#include <string.h>

enum { SAVED_MEAN, SAVED_INVSTD, SAVED_SCALE, SAVED_SHIFT, SAVED_COUNT };

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_batchnorm2d_config *bn = config;
    if (in->rank != 4)
        return qd_fail(ctx, QD_ERR_SHAPE, "batchnorm2d '%s': expected an input of rank 4 (N, C, H, W), got rank %d",
                       name, in->rank);
    if (in->c != bn->channels)
        return qd_fail(ctx, QD_ERR_SHAPE, "batchnorm2d '%s': expected %lld channels, got %lld", name,
                       (long long)bn->channels, (long long)in->c);
    const qd_param_decl vector = {.rank = 1, .shape = {bn->channels}, .order = QD_ORDER_CONTIGUOUS};
    *decl = (qd_layer_decl){.out = *in, .param_count = 2, .buffer_count = 2, .counts_batches = !bn->frozen};
    decl->params[0] = decl->params[1] = decl->buffers[0] = decl->buffers[1] = vector;
    decl->params[0].suffix = "weight";
    decl->params[0].initial = 1.0;
    decl->params[1].suffix = "bias";
    decl->buffers[0].suffix = "running_mean";
    decl->buffers[1].suffix = "running_var";
    decl->buffers[1].initial = 1.0;
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused; /* its input is recomputed from x */
    return QD_NEEDS_INPUT0;
}

/* Whether statistics are those of the batch. */
static bool follows_batch(const qd_layer_call *call)
{
    return call->training && !((const qd_batchnorm2d_config *)call->config)->frozen;
}

static int64_t row_count(const qd_dims *in, int64_t n)
{
    return n * in->h * in->w;
}

static size_t saved_bytes(const qd_layer_call *call)
{
    return SAVED_COUNT * (size_t)call->in[0].c * qd_dtype_size(call->dtype);
}

/* Doubles behind the partial sums, of which the first may be the rows that processes count together: a cache line, so
 * that what follows is aligned. */
#define ROWS_ROOM 8

/* Of no rows, too, there is one, of zeros. */
static int64_t partial_count(int64_t rows, int64_t channels)
{
    return rows > 0 ? qd_partial_count(rows, channels) : 1;
}

/* Partial sums: two doubles a channel each. Backward: then the two means of [C] in the layer's dtype. */
static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    const qd_dims *in = &call->in[0];
    const size_t channels = (size_t)in->c;
    const size_t partials = (size_t)partial_count(row_count(in, call->n), in->c) * 2 * channels * sizeof(double);
    return partials + ROWS_ROOM * sizeof(double) + (backward ? 2 * channels * qd_dtype_size(call->dtype) : 0);
}

static void *saved_array(const qd_layer_call *call, int which)
{
    return qd_element(call->saved, call->dtype, which * call->in[0].c);
}

/* Adds all partial sums, [partials][2][C], to the first one, in index order. */
static void reduce_own(double *sums, int64_t partials, int64_t channels)
{
    for (int64_t p = 1; p < partials; p++)
        for (int64_t i = 0; i < 2 * channels; i++)
            sums[i] += sums[p * 2 * channels + i];
}

/* Adds the other processes' where statistics are shared: sums[2C], and behind them room for one more. *rows: in,
 * those of this call; out, those that the sums are over. */
static enum qd_status share_sums(const qd_layer_call *call, double *sums, int64_t *rows)
{
    const qd_communicator *processes = call->statistics_over;
    const int64_t count = 2 * call->in[0].c;
    if (!processes || !follows_batch(call))
        return QD_OK;
    sums[count] = (double)*rows;
    QD_TRY(processes->sum(processes->user, sums, count + 1));
    *rows = (int64_t)sums[count];
    return QD_OK;
}

/* Σx and Σx² of every channel into workspace[0 … 2C), over *all_rows rows. */
static enum qd_status batch_sums(const qd_layer_call *call, int64_t *all_rows)
{
    const int64_t channels = call->in[0].c, rows = row_count(&call->in[0], call->n);
    const int64_t partials = partial_count(rows, channels);
    double *sums = call->workspace;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < partials; p++) {
        const qd_piece piece = qd_partial_rows(rows, partials, p);
        double *sum = sums + p * 2 * channels;
        memset(sum, 0, 2 * (size_t)channels * sizeof(double));
        call->k->channel_sums(qd_element(call->x[0], call->dtype, piece.first * channels), piece.count, channels, sum,
                              sum + channels);
    }
    reduce_own(sums, partials, channels);
    *all_rows = rows;
    return share_sums(call, sums, all_rows);
}

/* Moves one running statistic towards the batch's value. */
static void update_running(const qd_layer_call *call, int buffer, int64_t channel, double batch_value)
{
    const qd_batchnorm2d_config *bn = call->config;
    const double old = qd_element_get(call->buffer[buffer], call->dtype, channel);
    qd_element_put(call->buffer[buffer], call->dtype, channel,
                   (1.0 - bn->momentum) * old + bn->momentum * batch_value);
}

/* Fills saved from one channel's statistics. */
static void save_channel(const qd_layer_call *call, int64_t c, double mean, double variance)
{
    const qd_batchnorm2d_config *bn = call->config;
    const enum qd_dtype dtype = call->dtype;
    const double invstd = 1.0 / sqrt(variance + bn->eps);
    const double gamma = qd_element_get(call->param[0], dtype, c), beta = qd_element_get(call->param[1], dtype, c);
    qd_element_put(saved_array(call, SAVED_MEAN), dtype, c, mean);
    qd_element_put(saved_array(call, SAVED_INVSTD), dtype, c, invstd);
    qd_element_put(saved_array(call, SAVED_SCALE), dtype, c, gamma * invstd);
    /* From the scale as rounded: x·scale + shift then cancels at x = mean, however large the mean. */
    const double scale = qd_element_get(saved_array(call, SAVED_SCALE), dtype, c);
    qd_element_put(saved_array(call, SAVED_SHIFT), dtype, c, beta - mean * scale);
}

static void defer(const qd_layer_call *call, qd_deferred *out)
{
    *out = (qd_deferred){.present = true,
                         .scale = saved_array(call, SAVED_SCALE),
                         .shift = saved_array(call, SAVED_SHIFT),
                         .activation = call->fused};
}

static enum qd_status forward(const qd_layer_call *call)
{
    const enum qd_dtype dtype = call->dtype;
    const int64_t channels = call->in[0].c;
    const double *sums = call->workspace;
    int64_t rows = 0;
    if (follows_batch(call))
        QD_TRY(batch_sums(call, &rows));
    if (follows_batch(call) && rows < 2)
        return qd_fail(call->ctx, QD_ERR_SHAPE,
                       "batchnorm2d '%s': expected more than 1 value per channel when training, got %lld; use larger "
                       "images, or set drop_last so that no batch has a single image",
                       call->name, (long long)rows);
    if (follows_batch(call)) {
        const double m = (double)rows;
        for (int64_t c = 0; c < channels; c++) {
            const double mean = sums[c] / m;
            const double difference = sums[channels + c] / m - mean * mean;
            const double variance = difference < 0.0 ? 0.0 : difference; /* rounding of a constant channel */
            save_channel(call, c, mean, variance);
            update_running(call, 0, c, mean);
            update_running(call, 1, c, variance * m / (m - 1.0));
        }
        *call->batches_tracked += 1;
    } else {
        for (int64_t c = 0; c < channels; c++)
            save_channel(call, c, qd_element_get(call->buffer[0], dtype, c),
                         qd_element_get(call->buffer[1], dtype, c));
    }

    if (call->y) {
        qd_deferred output;
        defer(call, &output);
        qd_deferred_make(call, &output, call->y);
    }
    return QD_OK;
}

static bool has_exponential(enum qd_activation activation)
{
    return activation == QD_ACTIVATION_SILU || activation == QD_ACTIVATION_SIGMOID;
}

/*
 * dz = dy·activation'(x·scale + shift), xhat = (x - mean)·invstd
 *   dgamma = Σ dz·xhat, dbeta = Σ dz
 *   training    dx = scale·(dz - Σdz/m - xhat·Σ(dz·xhat)/m)
 *   evaluation  dx = scale·dz, for the statistics do not depend on x
 * Where processes share statistics dgamma and dbeta are this call's, to be summed like every gradient; m and the sums
 * in dx are over all of them.
 */
static enum qd_status backward(const qd_layer_call *call)
{
    const enum qd_dtype dtype = call->dtype;
    const int64_t channels = call->in[0].c, rows = row_count(&call->in[0], call->n);
    qd_bn_args args = {.channels = channels,
                       .mean = saved_array(call, SAVED_MEAN),
                       .invstd = saved_array(call, SAVED_INVSTD),
                       .scale = saved_array(call, SAVED_SCALE),
                       .shift = saved_array(call, SAVED_SHIFT),
                       .activation = call->fused};

    /* dz waits in dx for the second pass where computing it again would cost more than writing it. */
    void *dz = call->dx[0] && !call->accumulate[0] && has_exponential(call->fused) ? call->dx[0] : NULL;
    const int64_t partials = partial_count(rows, channels);
    double *sums = call->workspace;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < partials; p++) {
        const qd_piece piece = qd_partial_rows(rows, partials, p);
        const int64_t offset = piece.first * channels;
        double *sum = sums + p * 2 * channels;
        memset(sum, 0, 2 * (size_t)channels * sizeof(double));
        call->k->bn_backward_sums(&args, qd_element(call->x[0], dtype, offset), qd_element(call->dy, dtype, offset),
                                  piece.count, sum, sum + channels, dz ? qd_element(dz, dtype, offset) : NULL);
    }
    reduce_own(sums, partials, channels);
    for (int64_t c = 0; c < channels; c++) {
        if (call->grad[0])
            qd_element_put(call->grad[0], dtype, c, sums[channels + c]);
        if (call->grad[1])
            qd_element_put(call->grad[1], dtype, c, sums[c]);
    }

    int64_t all_rows = rows;
    QD_TRY(share_sums(call, sums, &all_rows));
    void *mean_dz = sums + partials * 2 * channels + ROWS_ROOM;
    void *mean_dz_xhat = qd_element(mean_dz, dtype, channels);
    const double per_row = follows_batch(call) ? 1.0 / (double)all_rows : 0.0;
    for (int64_t c = 0; c < channels; c++) {
        qd_element_put(mean_dz, dtype, c, sums[c] * per_row);
        qd_element_put(mean_dz_xhat, dtype, c, sums[channels + c] * per_row);
    }
    if (!call->dx[0])
        return QD_OK;

    if (dz)
        args.activation = QD_ACTIVATION_NONE;
    const void *from = dz ? dz : call->dy;
    const int64_t per_piece = qd_piece_rows(channels), pieces = qd_piece_count(rows, per_piece);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(rows, per_piece, p);
        const int64_t offset = piece.first * channels;
        call->k->bn_backward_apply(&args, qd_element(call->x[0], dtype, offset), qd_element(from, dtype, offset),
                                   mean_dz, mean_dz_xhat, piece.count, call->accumulate[0],
                                   qd_element(call->dx[0], dtype, offset));
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_batchnorm2d = {
    .name = "batchnorm2d",
    .config_size = sizeof(qd_batchnorm2d_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .saved_bytes = saved_bytes,
    .workspace_bytes = workspace_bytes,
    .takes_statistics = true,
    .defer = defer,
    .forward = forward,
    .backward = backward,
};
