/* BatchNorm2d: training and evaluation, alone and with each activation fused into it. */
#include "support/gradcheck.h"

#include <math.h>

/* Distance of an activation's input from its kinks: a thousand steps of the differences, and well above the float
 * run's rounding of values of order 1. */
#define KINK_MARGIN 1e-3

static bool near_kink(double z)
{
    static const double kinks[] = {-3, 0, 3, 6};
    for (size_t i = 0; i < sizeof kinks / sizeof kinks[0]; i++)
        if (fabs(z - kinks[i]) < KINK_MARGIN)
            return true;
    return false;
}

/* Mean and invstd of a channel as the layer will use them. */
static void channel_statistics(const gradcheck_case *c, const double *x, double *const buffer[], int64_t channel,
                               double *mean, double *invstd)
{
    const int64_t rows = c->n * c->in[0].h * c->in[0].w, channels = c->in[0].c;
    double sum = 0, squares = 0;
    for (int64_t r = 0; r < rows; r++)
        sum += x[r * channels + channel];
    *mean = c->training ? sum / (double)rows : buffer[0][channel];
    for (int64_t r = 0; r < rows; r++)
        squares += (x[r * channels + channel] - *mean) * (x[r * channels + channel] - *mean);
    *invstd = 1.0 / sqrt((c->training ? squares / (double)rows : buffer[1][channel]) + 1e-5);
}

/* Moves inputs until no activation stands near a kink. A move shifts the channel's statistics, hence the rounds. */
static void avoid_kinks(const gradcheck_case *c, double *const x[], double *const param[], double *const buffer[])
{
    const int64_t rows = c->n * c->in[0].h * c->in[0].w, channels = c->in[0].c;
    for (int64_t channel = 0; channel < channels; channel++) {
        bool moved = true;
        for (int round = 0; moved && round < 100; round++) {
            double mean, invstd;
            moved = false;
            channel_statistics(c, x[0], buffer, channel, &mean, &invstd);
            for (int64_t r = 0; r < rows; r++) {
                double *value = &x[0][r * channels + channel];
                if (near_kink(param[0][channel] * (*value - mean) * invstd + param[1][channel])) {
                    *value += 0.02;
                    moved = true;
                }
            }
        }
        cr_assert(!moved, "'%s': channel %lld keeps a value near a kink", c->name, (long long)channel);
    }
}

static const qd_batchnorm2d_config c1 = {.channels = 1, .eps = 1e-5, .momentum = 0.1};
static const qd_batchnorm2d_config c3 = {.channels = 3, .eps = 1e-5, .momentum = 0.1};
static const qd_batchnorm2d_config c17 = {.channels = 17, .eps = 1e-5, .momentum = 0.1};
static const qd_batchnorm2d_config c40 = {.channels = 40, .eps = 1e-3, .momentum = 0.01};
static const qd_batchnorm2d_config f3 = {.channels = 3, .eps = 1e-5, .momentum = 0.1, .frozen = true};

#define DIMS(channels, height, width)                                                                                \
    {                                                                                                                \
        {                                                                                                            \
            .rank = 4, .c = (channels), .h = (height), .w = (width)                                                  \
        }                                                                                                            \
    }

static const gradcheck_case plain_cases[] = {
    {.name = "training", .config = &c3, .in = DIMS(3, 5, 7), .n = 2, .training = true},
    {.name = "training, one sample", .config = &c17, .in = DIMS(17, 3, 3), .n = 1, .training = true},
    {.name = "training, 1x1 maps", .config = &c17, .in = DIMS(17, 1, 1), .n = 6, .training = true},
    {.name = "training, one channel", .config = &c1, .in = DIMS(1, 3, 5), .n = 3, .training = true},
    /* 3·35·35·40 values: several partial sums and several pieces, none of them full. */
    {.name = "training, several partial sums", .config = &c40, .in = DIMS(40, 35, 35), .n = 3, .training = true},
    {.name = "training, frozen", .config = &f3, .in = DIMS(3, 5, 7), .n = 2, .training = true},
    {.name = "training, frozen, one value", .config = &f3, .in = DIMS(3, 1, 1), .n = 1, .training = true},
    {.name = "evaluation", .config = &c3, .in = DIMS(3, 5, 7), .n = 2},
    {.name = "evaluation, one value per channel", .config = &c17, .in = DIMS(17, 1, 1), .n = 1},
    {.name = "evaluation, several partial sums", .config = &c40, .in = DIMS(40, 35, 35), .n = 3},
};

GRADCHECK_CASES(batchnorm2d, plain, plain_cases)

#define FUSED(label, kind)                                                                                           \
    {.name = "training, " label,                                                                                     \
     .config = &c17,                                                                                                 \
     .in = DIMS(17, 3, 5),                                                                                           \
     .n = 3,                                                                                                         \
     .training = true,                                                                                               \
     .fused = kind,                                                                                                  \
     .prepare = avoid_kinks},                                                                                        \
    {                                                                                                                \
        .name = "evaluation, " label, .config = &c3, .in = DIMS(3, 7, 1), .n = 2, .fused = kind,                     \
        .prepare = avoid_kinks                                                                                       \
    }

static const gradcheck_case fused_cases[] = {
    FUSED("ReLU", QD_ACTIVATION_RELU),       FUSED("ReLU6", QD_ACTIVATION_RELU6),
    FUSED("SiLU", QD_ACTIVATION_SILU),       FUSED("hard-swish", QD_ACTIVATION_HARDSWISH),
    FUSED("sigmoid", QD_ACTIVATION_SIGMOID),
};

GRADCHECK_CASES(batchnorm2d, fused, fused_cases)
