/*
 * Fake quantization: what a tensor becomes when it is rounded to codes and back, any shape.
 *
 *   training    min = min + c·(min of x - min) from the second batch on, the first one's before; max likewise
 *   both        S, Z from [min, max]: docs/quantization.md section 1; y = S·(clamp(rne(x/S) + Z) - Z)
 * An evaluation before any batch leaves values as they are.
 * saved: one byte a value, 1 where nothing was clamped. Source: Jacob et al. 2018, 3.1; PyTorch's
 * fake_quantize_per_tensor_affine with MovingAverageMinMaxObserver.
 */
#include "base/error.h"
#include "kernels/quant_params.h"
#include "nn/layer_work.h"
#include <string.h>

#define QD_REAL     float
#define QD_NAME(x)  x##_f32
#define QD_ROUND(x) ((float)qd_round_even(x))
#include "nn/fake_quant_template.h"
#undef QD_REAL
#undef QD_NAME
#undef QD_ROUND

#define QD_REAL     double
#define QD_NAME(x)  x##_f64
#define QD_ROUND(x) rint(x)
#include "nn/fake_quant_template.h"
#undef QD_REAL
#undef QD_NAME
#undef QD_ROUND

enum { BUFFER_MIN, BUFFER_MAX };

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_fake_quant_config *quant = config;
    if (quant->bits < 2 || quant->bits > 16)
        return qd_fail(ctx, QD_ERR_SHAPE, "fake_quant '%s': expected 2 to 16 bits, got %d", name, quant->bits);
    if (!(quant->averaging > 0.0 && quant->averaging <= 1.0))
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "fake_quant '%s': expected an averaging constant above 0 and at most 1, got %g", name,
                       quant->averaging);
    *decl = (qd_layer_decl){
        .out = *in,
        .buffer_count = 2,
        .buffers = {{.suffix = "min", .rank = 1, .shape = {1}}, {.suffix = "max", .rank = 1, .shape = {1}}},
        .counts_batches = true};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_NOTHING;
}

static int64_t value_count(const qd_layer_call *call)
{
    return call->n * qd_dims_count(&call->in[0]);
}

static size_t saved_bytes(const qd_layer_call *call)
{
    return (size_t)value_count(call);
}

/* Ends of every piece's values. */
static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    return backward ? 0 : (size_t)qd_piece_count(value_count(call), QD_PIECE_ELEMENTS) * 2 * sizeof(double);
}

/* The batch's smallest and largest value; false when they are not finite. */
static bool find_extremes(const qd_layer_call *call, double ends[2])
{
    const int64_t count = value_count(call), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    double *partial = call->workspace;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        const void *x = qd_element(call->x[0], call->dtype, piece.first);
        if (call->dtype == QD_F64)
            extremes_f64(x, piece.count, partial + 2 * p);
        else
            extremes_f32(x, piece.count, partial + 2 * p);
    }
    bool finite = true;
    for (int64_t p = 0; p < pieces; p++) {
        finite = finite && isfinite(partial[2 * p]) && isfinite(partial[2 * p + 1]);
        ends[0] = p == 0 || partial[2 * p] < ends[0] ? partial[2 * p] : ends[0];
        ends[1] = p == 0 || partial[2 * p + 1] > ends[1] ? partial[2 * p + 1] : ends[1];
    }
    return finite;
}

static enum qd_status observe(const qd_layer_call *call)
{
    const qd_fake_quant_config *quant = call->config;
    double ends[2];
    if (!find_extremes(call, ends))
        return qd_fail(call->ctx, QD_ERR_NUMERIC, "fake_quant '%s': a value is not finite; try a smaller lr",
                       call->name);
    for (int b = BUFFER_MIN; b <= BUFFER_MAX; b++) {
        const double old = qd_element_get(call->buffer[b], call->dtype, 0);
        const double next = *call->batches_tracked == 0 ? ends[b] : old + quant->averaging * (ends[b] - old);
        qd_element_put(call->buffer[b], call->dtype, 0, next);
    }
    *call->batches_tracked += 1;
    return QD_OK;
}

static void copy_through(const qd_layer_call *call)
{
    const size_t count = (size_t)value_count(call);
    memcpy(call->y, call->x[0], count * qd_dtype_size(call->dtype));
    memset(call->saved, 1, count);
}

static enum qd_status forward(const qd_layer_call *call)
{
    const qd_fake_quant_config *quant = call->config;
    const int64_t count = value_count(call), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    if (call->training)
        QD_TRY(observe(call));
    if (*call->batches_tracked == 0) {
        copy_through(call);
        return QD_OK;
    }
    const qd_quant_params params = qd_quant_params_of_range(quant->bits, quant->symmetric,
                                                            qd_element_get(call->buffer[BUFFER_MIN], call->dtype, 0),
                                                            qd_element_get(call->buffer[BUFFER_MAX], call->dtype, 0));
    const float low = (float)(params.range.low - params.range.zero);
    const float high = (float)(params.range.high - params.range.zero);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        const void *x = qd_element(call->x[0], call->dtype, piece.first);
        void *y = qd_element(call->y, call->dtype, piece.first);
        uint8_t *inside = (uint8_t *)call->saved + piece.first;
        if (call->dtype == QD_F64)
            round_trip_f64(x, piece.count, (double)params.scale, (double)low, (double)high, y, inside);
        else
            round_trip_f32(x, piece.count, params.scale, low, high, y, inside);
    }
    return QD_OK;
}

/* Straight through: dx = dy where nothing was clamped, 0 elsewhere; the range counts as a constant. */
static enum qd_status backward(const qd_layer_call *call)
{
    const int64_t count = value_count(call), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    if (!call->dx[0])
        return QD_OK;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        const void *dy = qd_element(call->dy, call->dtype, piece.first);
        const uint8_t *inside = (const uint8_t *)call->saved + piece.first;
        void *dx = qd_element(call->dx[0], call->dtype, piece.first);
        if (call->dtype == QD_F64)
            pass_inside_f64(dy, inside, piece.count, call->accumulate[0], dx);
        else
            pass_inside_f32(dy, inside, piece.count, call->accumulate[0], dx);
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_fake_quant = {
    .name = "fake_quant",
    .config_size = sizeof(qd_fake_quant_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .saved_bytes = saved_bytes,
    .workspace_bytes = workspace_bytes,
    .forward = forward,
    .backward = backward,
};
