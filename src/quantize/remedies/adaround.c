/*
 * AdaRound over a network: layer by layer, on rows (output positions) drawn from the images. A layer's inputs x̃ are
 * the simulated network's, with every layer before it already rounded; its targets are the float network's outputs
 * from the float network's inputs (the paper's asymmetric reconstruction). Filters are independent of each other, so
 * the threads share them in blocks.
 */
#include "base/arena.h"
#include "base/error.h"
#include "nn/layer_work.h"
#include "quantize/layer_walk.h"
#include "quantize/remedies/remedies.h"
#include "quantize/remedies/rounding.h"
#include <math.h>
#include <omp.h>
#include <quantdrift/random.h>
#include <stdlib.h>

/* Filters of a block: enough columns for a matrix product, few enough that threads share the work evenly. */
#define BLOCK_FILTERS 64

/* Depthwise: two vectors of the widest kind side by side. */
#define BLOCK_CHANNELS 32

typedef struct rounder {
    qd_adaround_settings settings;
    int64_t rows;
    int64_t *position;     /* [rows]: of the present layer, image · h · w + y · w + x */
    float *inputs[2];      /* patches [rows][depth] of one group: float, simulated */
    float *scratch;        /* one part a thread */
    int64_t thread_floats; /* of scratch */
    float *codes;          /* [weights], in the order of blocks */
    double *noise[2];      /* [channels] */
    double *signal;        /* [channels] */
    qd_rounded_layer *layers;
} rounder;

qd_adaround_settings qd_adaround_settings_defaults(void)
{
    return (qd_adaround_settings){.rows = 1024,
                                  .batch = 128,
                                  .iterations = 500,
                                  .learning_rate = 0.03,
                                  .weight = 3.0,
                                  .warm_start = 0.2,
                                  .seed = 42};
}

static enum qd_status check_settings(qd_context *ctx, const qd_adaround_settings *s)
{
    if (s->rows < 1 || s->batch < 1 || s->iterations < 1)
        return qd_fail(ctx, QD_ERR_USAGE,
                       "adaround: expected at least 1 row, batch and iteration, got %lld, %lld and %lld",
                       (long long)s->rows, (long long)s->batch, (long long)s->iterations);
    if (!(s->learning_rate > 0.0) || !(s->weight >= 0.0) || !(s->warm_start >= 0.0 && s->warm_start < 1.0) ||
        !isfinite(s->learning_rate) || !isfinite(s->weight))
        return qd_fail(
            ctx, QD_ERR_USAGE,
            "adaround: expected a learning rate above 0, a weight of at least 0 and a warm start from 0 to "
            "below 1, got %g, %g and %g",
            s->learning_rate, s->weight, s->warm_start);
    return QD_OK;
}

/* Rows of the present layer: positions drawn with replacement, of a seed that depends on the layer. */
static void draw_positions(rounder *r, int layer, int64_t positions)
{
    qd_rng rng;

    qd_rng_seed(&rng, r->settings.seed + (uint64_t)layer);
    for (int64_t i = 0; i < r->rows; i++)
        r->position[i] = qd_rng_random_i64(&rng) % positions;
}

/* What a filter sees of one position: [kh][kw][channels] of NHWC memory from channel `first` on; 0 outside. */
static void gather(const qd_qgraph *q, const qd_qstep *step, const float *x, int64_t position, int64_t first,
                   int64_t channels, float *patch)
{
    const qd_conv2d_config *config = &q->convs[step->conv].config;
    const qd_dims *in = &q->values[step->input[0]].dims, *out = &q->values[step->output].dims;
    int64_t image = position / (out->h * out->w), oy = position / out->w % out->h, ox = position % out->w;

    for (int64_t ky = 0; ky < config->kernel; ky++)
        for (int64_t kx = 0; kx < config->kernel; kx++) {
            int64_t y = oy * config->stride + ky - config->padding, xx = ox * config->stride + kx - config->padding;
            bool inside = y >= 0 && y < in->h && xx >= 0 && xx < in->w;
            const float *from = x + ((image * in->h + y) * in->w + xx) * in->c + first;
            for (int64_t c = 0; c < channels; c++)
                *patch++ = inside ? from[c] : 0.0f;
        }
}

/* Patches of all rows. Channels of one filter are contiguous, so depthwise blocks come out side by side. */
static void gather_rows(const rounder *r, const qd_qgraph *q, const qd_qstep *step, enum qd_qmode mode, int64_t first,
                        int64_t channels, float *out)
{
    const float *x = qd_qgraph_value(q, mode, step->input[0]);
    int64_t kernel = q->convs[step->conv].config.kernel, patch = kernel * kernel * channels;

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t i = 0; i < r->rows; i++)
        gather(q, step, x, r->position[i], first, channels, out + i * patch);
}

/* Where the weights of `filters` filters from `first` on lie: as in the layer, or copied side by side. */
static const float *block_weights(const qd_qconv *conv, int64_t first, int64_t filters, float *copy)
{
    if (!conv->depthwise)
        return conv->weight + first * conv->filter;
    for (int64_t k = 0; k < conv->filter; k++)
        for (int64_t f = 0; f < filters; f++)
            copy[k * filters + f] = conv->weight[k * conv->config.out_channels + first + f];
    return copy;
}

/* Float outputs of filters first … of all rows: targets and their energies. */
static void compute_targets(const rounder *r, const qd_qgraph *q, const qd_rounding_block *b, const qd_qconv *conv,
                            int64_t first, const float *inputs, float *targets)
{
    for (int64_t i = 0; i < r->rows; i++)
        for (int64_t f = 0; f < b->filters; f++)
            targets[i * b->filters + f] = conv->bias[first + f];
    if (b->side_by_side) {
        for (int64_t i = 0; i < r->rows; i++)
            for (int64_t k = 0; k < b->depth; k++)
                for (int64_t f = 0; f < b->filters; f++)
                    targets[i * b->filters + f] +=
                        inputs[(i * b->depth + k) * b->filters + f] * b->weight[k * b->filters + f];
    } else {
        const qd_gemm_args args = {.transpose_b = true,
                                   .m = r->rows,
                                   .n = b->filters,
                                   .k = b->depth,
                                   .a = inputs,
                                   .lda = b->depth,
                                   .b = b->weight,
                                   .ldb = b->depth,
                                   .beta = 1.0,
                                   .c = targets,
                                   .ldc = b->filters};
        q->kernels.gemm(&args);
    }
    for (int64_t f = 0; f < b->filters; f++) {
        double energy = 0.0;
        for (int64_t i = 0; i < r->rows; i++) {
            double t = (double)targets[i * b->filters + f];
            bool off = b->activation != QD_ACTIVATION_NONE && t < 0.0;
            energy += off ? 0.0 : t * t;
        }
        r->signal[first + f] = energy;
    }
}

/* Filters first … first + filters - 1 of the layer, on one thread. */
static void learn_block(const rounder *r, const qd_qgraph *q, const qd_qstep *step, int64_t first, int64_t filters)
{
    const qd_qconv *conv = &q->convs[step->conv];
    float *scratch = r->scratch + omp_get_thread_num() * r->thread_floats;
    float *copy = scratch, *targets = copy + filters * conv->filter, *rest = targets + r->rows * filters;
    float limit = (float)((1 << (conv->bits - 1)) - 1);
    qd_rounding_block b = {
        .kernels = &q->kernels,
        .settings = &r->settings,
        .side_by_side = conv->depthwise,
        .filters = filters,
        .depth = conv->filter,
        .rows = r->rows,
        .activation = step->activation,
        .bias = conv->bias_simulated + first,
        .scale = conv->scale + first,
        .low = -limit,
        .high = limit,
        .weight = block_weights(conv, first, filters, copy),
        .code = r->codes + first * conv->filter,
        .noise = {r->noise[0] + first, r->noise[1] + first},
    };
    const float *inputs[2] = {r->inputs[0], r->inputs[1]};

    if (conv->depthwise) { /* channels of its own */
        float *own[2] = {rest, rest + r->rows * conv->filter * filters};
        for (int i = 0; i < 2; i++) {
            const float *x = qd_qgraph_value(q, i == 0 ? QD_QMODE_FLOAT : QD_QMODE_SIMULATED, step->input[0]);
            for (int64_t row = 0; row < r->rows; row++)
                gather(q, step, x, r->position[row], first, filters, own[i] + row * conv->filter * filters);
            inputs[i] = own[i];
        }
        rest = own[1] + r->rows * conv->filter * filters;
    }
    compute_targets(r, q, &b, conv, first, inputs[0], targets);
    b.inputs = inputs[1];
    b.targets = targets;
    qd_rounding_learn(&b, rest);
}

/* All filters of a layer; groups of a grouped one have inputs of their own. */
static void learn_layer(rounder *r, const qd_qgraph *q, const qd_qstep *step)
{
    const qd_qconv *conv = &q->convs[step->conv];
    int64_t groups = conv->depthwise ? 1 : conv->config.groups, filters = conv->config.out_channels / groups;
    int64_t inputs = conv->config.in_channels / groups, width = conv->depthwise ? BLOCK_CHANNELS : BLOCK_FILTERS;

    for (int64_t group = 0; group < groups; group++) {
        int64_t blocks = qd_piece_count(filters, width);
        for (int i = 0; i < 2 && !conv->depthwise; i++)
            gather_rows(r, q, step, i == 0 ? QD_QMODE_FLOAT : QD_QMODE_SIMULATED, group * inputs, inputs,
                        r->inputs[i]);
#pragma omp parallel for schedule(static, 1) num_threads(qd_context_threads(q->ctx))
        for (int64_t block = 0; block < blocks; block++) {
            qd_piece piece = qd_piece_of(filters, width, block);
            learn_block(r, q, step, group * filters + piece.first, piece.count);
        }
    }
}

/* Codes in the order of blocks to rounded weights in the layer's; counts those that are not the nearest. */
static int64_t keep_codes(const rounder *r, qd_qconv *conv)
{
    int64_t moved = 0, channels = conv->config.out_channels;

    for (int64_t o = 0; o < channels; o++)
        for (int64_t k = 0; k < conv->filter; k++) {
            int64_t first = o / BLOCK_CHANNELS * BLOCK_CHANNELS;
            int64_t width = channels - first < BLOCK_CHANNELS ? channels - first : BLOCK_CHANNELS;
            int64_t from = conv->depthwise ? first * conv->filter + k * width + o - first : o * conv->filter + k;
            int64_t to = conv->depthwise ? k * channels + o : from;
            float code = r->codes[from];
            moved += (int32_t)code != qd_quant_weight_code(conv->bits, conv->weight[to], conv->scale[o]);
            conv->rounded[to] = conv->scale[o] * code;
        }
    return moved;
}

static double decibels(const double *signal, const double *noise, int64_t count)
{
    double s = 0.0, n = 0.0;

    for (int64_t i = 0; i < count; i++) {
        s += signal[i];
        n += noise[i];
    }
    return n > 0.0 ? 10.0 * log10(s / n) : INFINITY;
}

static enum qd_status round_layer(void *user, qd_qgraph *q, qd_qstep *step, int64_t n)
{
    rounder *r = user;
    qd_qconv *conv = &q->convs[step->conv];
    const qd_dims *out = &q->values[step->output].dims;
    qd_rounded_layer *layer = &r->layers[step->conv];

    layer->name = conv->name;
    if (conv->is_float)
        return QD_OK;
    draw_positions(r, step->conv, n * out->h * out->w);
    learn_layer(r, q, step);
    layer->moved = keep_codes(r, conv);
    layer->nearest_db = decibels(r->signal, r->noise[0], conv->config.out_channels);
    layer->learnt_db = decibels(r->signal, r->noise[1], conv->config.out_channels);
    qd_qgraph_finalize_step(q, step);
    return QD_OK;
}

/* Room for the rounded weights of every layer, which the qgraph keeps; until they are learnt they are the weights. */
static enum qd_status make_room(qd_qgraph *q)
{
    size_t bytes = 0;

    if (q->rounded.data != NULL)
        return QD_OK;
    for (int i = 0; i < q->conv_count; i++)
        bytes += qd_align_bytes((size_t)(q->convs[i].config.out_channels * q->convs[i].filter) * sizeof(float));
    QD_TRY(qd_arena_create(q->ctx, bytes, "the weights' learnt rounding", &q->rounded));
    for (int i = 0; i < q->conv_count; i++) {
        qd_qconv *conv = &q->convs[i];
        size_t size = (size_t)(conv->config.out_channels * conv->filter) * sizeof(float);
        conv->rounded = qd_arena_take(&q->rounded, size);
        memcpy(conv->rounded, conv->weight, size);
    }
    return QD_OK;
}

static int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static enum qd_status create_rounder(const qd_qgraph *q, const qd_adaround_settings *settings, rounder *r)
{
    int64_t patch = 0, weights = 0, channels = 0, threads = qd_context_threads(q->ctx);

    r->settings = *settings;
    r->rows = settings->rows;
    for (int i = 0; i < q->conv_count; i++) {
        const qd_qconv *conv = &q->convs[i];
        int64_t width = conv->depthwise ? BLOCK_CHANNELS : BLOCK_FILTERS;
        qd_rounding_block b = {.filters = width, .depth = conv->filter, .rows = r->rows};
        int64_t own = conv->depthwise ? 2 * r->rows * conv->filter * width : 0;
        r->thread_floats =
            greater(r->thread_floats, width * conv->filter + r->rows * width + own + qd_rounding_scratch(&b));
        patch = conv->depthwise ? patch : greater(patch, conv->filter);
        weights = greater(weights, conv->config.out_channels * conv->filter);
        channels = greater(channels, conv->config.out_channels);
    }
    r->position = qd_calloc((size_t)r->rows, sizeof *r->position);
    r->inputs[0] = qd_calloc((size_t)(r->rows * patch), sizeof(float));
    r->inputs[1] = qd_calloc((size_t)(r->rows * patch), sizeof(float));
    r->scratch = qd_calloc((size_t)(threads * r->thread_floats), sizeof(float));
    r->codes = qd_calloc((size_t)weights, sizeof(float));
    r->noise[0] = qd_calloc((size_t)channels, sizeof(double));
    r->noise[1] = qd_calloc((size_t)channels, sizeof(double));
    r->signal = qd_calloc((size_t)channels, sizeof(double));
    r->layers = qd_calloc((size_t)q->conv_count, sizeof *r->layers);
    if (!r->position || !r->inputs[0] || !r->inputs[1] || !r->scratch || !r->codes || !r->noise[0] || !r->noise[1] ||
        !r->signal || !r->layers)
        return qd_fail(q->ctx, QD_ERR_MEMORY, "adaround: no memory for %lld rows; use fewer", (long long)r->rows);
    return QD_OK;
}

enum qd_status qd_qgraph_adaround(qd_qgraph *qgraph, const qd_adaround_settings *settings, const float *images,
                                  int64_t n, qd_rounded_layer **layers, int *count)
{
    enum qd_status status = QD_OK;
    rounder r = {0};

    QD_TRY(qd_layer_walk_check(qgraph, "adaround", n));
    QD_TRY(check_settings(qgraph->ctx, settings));
    QD_TRY_GOTO(create_rounder(qgraph, settings, &r));
    QD_TRY_GOTO(make_room(qgraph));
    QD_TRY_GOTO(qd_layer_walk(qgraph, images, n, round_layer, &r));
    if (layers != NULL) {
        *layers = r.layers;
        *count = qgraph->conv_count;
        r.layers = NULL;
    }
fail:
    free(r.position);
    free(r.inputs[0]);
    free(r.inputs[1]);
    free(r.scratch);
    free(r.codes);
    free(r.noise[0]);
    free(r.noise[1]);
    free(r.signal);
    free(r.layers);
    return status;
}
