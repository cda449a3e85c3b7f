/*
 * W̃ = S·clamp(⌊W/S⌋ + h(V)),  h(V) = clamp(σ(V)·(ζ − γ) + γ, 0, 1),  ζ = 1.1, γ = −0.1
 *
 *   minimise over V:  E‖f(W·x) − f(W̃·x̃)‖² / u + λ·Σ (1 − |2h − 1|^β),   by Adam
 *
 * V starts where h is the fraction of W/S; β falls from 20 to 2 after the warm start, before which the second term is
 * left out; at the end h is rounded. Source: Nagel et al. 2020, equations 20 to 25.
 *
 * Particular here: u = S²·mean(x̃²), what one rounding step of an average weight moves, makes λ independent of the
 * layer's scale; β takes whole numbers, so that the power is a product; a filter whose learnt rounding fits its rows
 * no better than rounding to nearest keeps the latter.
 */
#include "quantize/remedies/rounding.h"

#include <math.h>
#include <string.h>

#define ZETA  1.1f
#define GAMMA (-0.1f)

/* Adam's constants: Kingma & Ba 2015. */
#define BETA1   0.9
#define BETA2   0.999
#define EPSILON 1e-8f

/* Filters that are 0 but for their bias have steps so small that 1/u would overflow. */
#define LARGEST_UNIT 1e30

/* Arrays of one value a weight, and of one value a row and filter of a batch. */
typedef struct arrays {
    float *scale, *floor, *v, *h, *soft, *gradient, *moment1, *moment2; /* [filters·depth] */
    float *unit;                                                        /* [filters]: 2 / (u·rows of a batch) */
    float *error;                                                       /* [rows][filters] */
} arrays;

static int64_t weight_count(const qd_rounding_block *b)
{
    return b->filters * b->depth;
}

int64_t qd_rounding_scratch(const qd_rounding_block *block)
{
    return 8 * weight_count(block) + block->filters * (1 + block->rows);
}

static arrays cut(const qd_rounding_block *b, float *scratch)
{
    int64_t n = weight_count(b);

    return (arrays){.scale = scratch,
                    .floor = scratch + n,
                    .v = scratch + 2 * n,
                    .h = scratch + 3 * n,
                    .soft = scratch + 4 * n,
                    .gradient = scratch + 5 * n,
                    .moment1 = scratch + 6 * n,
                    .moment2 = scratch + 7 * n,
                    .unit = scratch + 8 * n,
                    .error = scratch + 8 * n + b->filters};
}

static int64_t filter_of(const qd_rounding_block *b, int64_t index)
{
    return b->side_by_side ? index % b->filters : index / b->depth;
}

/* y[rows][filters] = inputs of rows first … · weights. */
static void multiply(const qd_rounding_block *b, int64_t first, int64_t rows, const float *weight, float *y)
{
    int64_t lanes = b->filters;

    if (!b->side_by_side) {
        const qd_gemm_args args = {.transpose_b = true,
                                   .m = rows,
                                   .n = b->filters,
                                   .k = b->depth,
                                   .a = b->inputs + first * b->depth,
                                   .lda = b->depth,
                                   .b = weight,
                                   .ldb = b->depth,
                                   .c = y,
                                   .ldc = b->filters};
        b->kernels->gemm(&args);
        return;
    }
    memset(y, 0, (size_t)(rows * lanes) * sizeof *y);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < b->depth; k++) {
            const float *x = b->inputs + ((first + r) * b->depth + k) * lanes, *w = weight + k * lanes;
            for (int64_t f = 0; f < lanes; f++)
                y[r * lanes + f] += x[f] * w[f];
        }
}

/* gradient = Σ over rows of error · inputs, in the order of the weights. */
static void multiply_back(const qd_rounding_block *b, int64_t first, int64_t rows, const float *error,
                          float *gradient)
{
    int64_t lanes = b->filters;

    if (!b->side_by_side) {
        const qd_gemm_args args = {.transpose_a = true,
                                   .m = b->filters,
                                   .n = b->depth,
                                   .k = rows,
                                   .a = error,
                                   .lda = b->filters,
                                   .b = b->inputs + first * b->depth,
                                   .ldb = b->depth,
                                   .c = gradient,
                                   .ldc = b->depth};
        b->kernels->gemm(&args);
        return;
    }
    memset(gradient, 0, (size_t)weight_count(b) * sizeof *gradient);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < b->depth; k++) {
            const float *x = b->inputs + ((first + r) * b->depth + k) * lanes, *e = error + r * lanes;
            for (int64_t f = 0; f < lanes; f++)
                gradient[k * lanes + f] += e[f] * x[f];
        }
}

static float apply(enum qd_activation activation, float x)
{
    float y = x;

    if (activation == QD_ACTIVATION_RELU || activation == QD_ACTIVATION_RELU6)
        y = y > 0.0f ? y : 0.0f;
    if (activation == QD_ACTIVATION_RELU6)
        y = y < 6.0f ? y : 6.0f;
    return y;
}

/* Of its output: 0 where the clamp holds. */
static float slope(enum qd_activation activation, float x)
{
    if ((activation == QD_ACTIVATION_RELU || activation == QD_ACTIVATION_RELU6) && x <= 0.0f)
        return 0.0f;
    return activation == QD_ACTIVATION_RELU6 && x >= 6.0f ? 0.0f : 1.0f;
}

/* Squared error of each filter's outputs over all rows. */
static void measure(const qd_rounding_block *b, const float *weight, float *y, double *noise)
{
    multiply(b, 0, b->rows, weight, y);
    memset(noise, 0, (size_t)b->filters * sizeof *noise);
    for (int64_t r = 0; r < b->rows; r++)
        for (int64_t f = 0; f < b->filters; f++) {
            double wanted = (double)apply(b->activation, b->targets[r * b->filters + f]);
            double d = (double)apply(b->activation, y[r * b->filters + f] + b->bias[f]) - wanted;
            noise[f] += d * d;
        }
}

static float clamp_code(const qd_rounding_block *b, float code)
{
    return code < b->low ? b->low : code > b->high ? b->high : code;
}

/* h(V) and S·clamp(⌊W/S⌋ + h) from V. */
static void open_gates(const qd_rounding_block *b, const arrays *a)
{
    int64_t n = weight_count(b);
    float *restrict h = a->h, *restrict soft = a->soft;
    const float *restrict scale = a->scale, *restrict floor = a->floor;
    float low = b->low, high = b->high;

    b->kernels->activation_forward(QD_ACTIVATION_SIGMOID, a->v, n, h);
    for (int64_t i = 0; i < n; i++) {
        float gate = h[i] * (ZETA - GAMMA) + GAMMA;
        gate = gate > 0.0f ? gate : 0.0f;
        gate = gate < 1.0f ? gate : 1.0f;
        float code = floor[i] + gate;
        code = code > low ? code : low;
        code = code < high ? code : high;
        h[i] = gate;
        soft[i] = scale[i] * code;
    }
}

/* x^power, power 0 to 31, without a loop, so that the loop over weights is vectorised. */
static inline float whole_power(float x, int power)
{
    float x2 = x * x, x4 = x2 * x2, x8 = x4 * x4, x16 = x8 * x8;

    return (power & 1 ? x : 1.0f) * (power & 2 ? x2 : 1.0f) * (power & 4 ? x4 : 1.0f) * (power & 8 ? x8 : 1.0f) *
           (power & 16 ? x16 : 1.0f);
}

/* Adam's step sizes, and what the second term adds to the gradient. */
typedef struct descent {
    float rate, correction;
    float pull; /* 2λβ */
    int power;  /* β − 1 */
} descent;

/*
 * One step along d/dV of both terms: dL/dW̃ · S · h'(V), where h' = (ζ − γ)·σ(1 − σ) and σ = (h − γ)/(ζ − γ), 0 where
 * h is clamped; and of λ·(1 − |2h − 1|^β): −2λβ·|2h − 1|^(β−1)·sign(2h − 1)·h'. Parameters, because gcc takes
 * `restrict` at its word there only, and then vectorises the loop.
 */
static void descend(const descent *d, int64_t n, float *restrict v, float *restrict moment1, float *restrict moment2,
                    const float *restrict gates, const float *restrict gradient, const float *restrict scale)
{
    float rate = d->rate, correction = d->correction, pull = d->pull;
    int power = d->power;

    for (int64_t i = 0; i < n; i++) {
        float h = gates[i], sigmoid = (h - GAMMA) / (ZETA - GAMMA), turn = 2.0f * h - 1.0f;
        float opening = (ZETA - GAMMA) * sigmoid * (1.0f - sigmoid);
        opening = h > 0.0f ? opening : 0.0f;
        opening = h < 1.0f ? opening : 0.0f;
        float g = (gradient[i] * scale[i] - copysignf(pull * whole_power(fabsf(turn), power), turn)) * opening;
        moment1[i] = (float)BETA1 * moment1[i] + (float)(1.0 - BETA1) * g;
        moment2[i] = (float)BETA2 * moment2[i] + (float)(1.0 - BETA2) * g * g;
        v[i] -= rate * moment1[i] / (sqrtf(moment2[i] * correction) + EPSILON);
    }
}

/* Of the inputs that filter f reads. */
static double mean_square(const qd_rounding_block *b, int64_t f)
{
    int64_t count = b->rows * b->depth;
    double energy = 0.0;

    for (int64_t i = 0; i < count; i++) {
        double x = (double)b->inputs[b->side_by_side ? i * b->filters + f : i];
        energy += x * x;
    }
    return energy / (double)count;
}

static void start(const qd_rounding_block *b, const arrays *a, int64_t batch)
{
    for (int64_t i = 0; i < weight_count(b); i++) {
        a->scale[i] = b->scale[filter_of(b, i)];
        float position = b->weight[i] / a->scale[i];
        a->floor[i] = floorf(position);
        float fraction = position - a->floor[i];
        a->v[i] = -logf((ZETA - GAMMA) / (fraction - GAMMA) - 1.0f);
        a->moment1[i] = a->moment2[i] = 0.0f;
        b->code[i] = clamp_code(b, nearbyintf(position));
        a->soft[i] = a->scale[i] * b->code[i];
    }
    double energy = mean_square(b, 0);
    for (int64_t f = 0; f < b->filters; f++) {
        if (b->side_by_side)
            energy = mean_square(b, f);
        double u = (double)b->scale[f] * (double)b->scale[f] * energy * (double)batch;
        a->unit[f] = u > 0.0 ? (float)fmin(2.0 / u, LARGEST_UNIT) : 0.0f;
    }
}

/* dL/dW̃ of one batch into a->gradient. */
static void data_gradient(const qd_rounding_block *b, const arrays *a, int64_t first, int64_t rows)
{
    multiply(b, first, rows, a->soft, a->error);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t f = 0; f < b->filters; f++) {
            int64_t i = r * b->filters + f;
            float y = a->error[i] + b->bias[f];
            float wanted = apply(b->activation, b->targets[first * b->filters + i]);
            a->error[i] = (apply(b->activation, y) - wanted) * slope(b->activation, y) * a->unit[f];
        }
    multiply_back(b, first, rows, a->error, a->gradient);
}

/* Of step `step`: β falls from 20 to 2 between the warm start and the end. */
static descent descent_at(const qd_adaround_settings *s, int64_t step)
{
    double warm = s->warm_start * (double)s->iterations;
    double share = ((double)step - warm) / fmax((double)s->iterations - warm, 1.0);
    int beta = (int)lrint(2.0 + 9.0 * (1.0 + cos(share * 3.14159265358979323846)));

    if (share < 0.0)
        beta = 20;
    return (descent){.rate = (float)(s->learning_rate / (1.0 - pow(BETA1, (double)(step + 1)))),
                     .correction = (float)(1.0 / (1.0 - pow(BETA2, (double)(step + 1)))),
                     .pull = share < 0.0 ? 0.0f : (float)(2.0 * s->weight * beta),
                     .power = beta - 1};
}

/* Rounds the gates; filters that nearest fits at least as well keep it. */
static void finish(const qd_rounding_block *b, const arrays *a)
{
    for (int64_t i = 0; i < weight_count(b); i++)
        a->soft[i] = a->scale[i] * clamp_code(b, a->floor[i] + (a->h[i] >= 0.5f ? 1.0f : 0.0f));
    measure(b, a->soft, a->error, b->noise[1]);
    for (int64_t i = 0; i < weight_count(b); i++) {
        int64_t f = filter_of(b, i);
        if (b->noise[1][f] < b->noise[0][f])
            b->code[i] = clamp_code(b, a->floor[i] + (a->h[i] >= 0.5f ? 1.0f : 0.0f));
    }
    for (int64_t f = 0; f < b->filters; f++)
        b->noise[1][f] = fmin(b->noise[0][f], b->noise[1][f]);
}

void qd_rounding_learn(const qd_rounding_block *block, float *scratch)
{
    const qd_adaround_settings *s = block->settings;
    arrays a = cut(block, scratch);
    int64_t batch = s->batch < block->rows ? s->batch : block->rows, at = 0;

    start(block, &a, batch);
    measure(block, a.soft, a.error, block->noise[0]);
    open_gates(block, &a);
    for (int64_t step = 0; step < s->iterations; step++) {
        if (at + batch > block->rows)
            at = 0;
        data_gradient(block, &a, at, batch);
        descent d = descent_at(s, step);
        descend(&d, weight_count(block), a.v, a.moment1, a.moment2, a.h, a.gradient, a.scale);
        open_gates(block, &a);
        at += batch;
    }
    finish(block, &a);
}
