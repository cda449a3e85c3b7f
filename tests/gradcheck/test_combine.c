/* Layers of two inputs, and layers that drop: sum, product, squeeze-excite product, dropout, stochastic depth. */
#include "support/gradcheck.h"

#define MAP(channels, height, width)                                                                                 \
    {                                                                                                                \
        .rank = 4, .c = (channels), .h = (height), .w = (width)                                                      \
    }
#define VECTOR(channels)                                                                                             \
    {                                                                                                                \
        .rank = 2, .c = (channels), .h = 1, .w = 1                                                                   \
    }

static const gradcheck_case add_cases[] = {
    {.name = "odd map", .in = {MAP(5, 3, 7), MAP(5, 3, 7)}, .n = 2, .training = true},
    {.name = "several pieces", .in = {MAP(9, 41, 37), MAP(9, 41, 37)}, .n = 3, .training = true},
    {.name = "vector", .in = {VECTOR(3), VECTOR(3)}, .n = 1},
};

GRADCHECK_CASES(add, all, add_cases)

static const gradcheck_case product_cases[] = {
    {.name = "odd map", .in = {MAP(5, 3, 7), MAP(5, 3, 7)}, .n = 2, .training = true},
    {.name = "several pieces", .in = {MAP(9, 41, 37), MAP(9, 41, 37)}, .n = 3, .training = true},
    {.name = "vector", .in = {VECTOR(3), VECTOR(3)}, .n = 1},
};

GRADCHECK_CASES(multiply, all, product_cases)

static const gradcheck_case multiply_cases[] = {
    {.name = "odd map", .in = {MAP(5, 3, 7), MAP(5, 1, 1)}, .n = 2, .training = true},
    {.name = "more channels than a block", .in = {MAP(70, 3, 2), MAP(70, 1, 1)}, .n = 3, .training = true},
    {.name = "one sample of one pixel", .in = {MAP(3, 1, 1), MAP(3, 1, 1)}, .n = 1},
};

GRADCHECK_CASES(channel_multiply, all, multiply_cases)

static const qd_dropout_config drop_60 = {.p = 0.6};
static const qd_dropout_config drop_20 = {.p = 0.2};
static const qd_dropout_config drop_none = {.p = 0.0};

static const gradcheck_case dropout_cases[] = {
    {.name = "training, p 0.6", .config = &drop_60, .in = {VECTOR(13)}, .n = 3, .training = true},
    {.name = "training, p 0.2, one sample", .config = &drop_20, .in = {VECTOR(7)}, .n = 1, .training = true},
    {.name = "training, p 0", .config = &drop_none, .in = {VECTOR(7)}, .n = 2, .training = true},
    {.name = "evaluation", .config = &drop_60, .in = {VECTOR(13)}, .n = 3},
};

GRADCHECK_CASES(dropout, all, dropout_cases)

static const qd_stochastic_depth_config depth_last = {.p = 0.1875}; /* EfficientNet-B0's largest */
static const qd_stochastic_depth_config depth_none = {.p = 0.0};

static const gradcheck_case depth_cases[] = {
    {.name = "training", .config = &depth_last, .in = {MAP(5, 3, 7)}, .n = 5, .training = true},
    {.name = "training, one sample", .config = &depth_last, .in = {MAP(3, 2, 2)}, .n = 1, .training = true},
    {.name = "training, p 0", .config = &depth_none, .in = {MAP(5, 3, 7)}, .n = 2, .training = true},
    {.name = "evaluation", .config = &depth_last, .in = {MAP(5, 3, 7)}, .n = 3},
};

GRADCHECK_CASES(stochastic_depth, all, depth_cases)
