/* Max pooling without ties, global average pooling, flatten. */
#include "support/gradcheck.h"

static const qd_maxpool2d_config k3s2p1 = {.kernel = 3, .stride = 2, .padding = 1}; /* ResNet's */
static const qd_maxpool2d_config k2s2p0 = {.kernel = 2, .stride = 2, .padding = 0};
static const qd_maxpool2d_config k3s1p1 = {.kernel = 3, .stride = 1, .padding = 1};
static const qd_maxpool2d_config k5s3p2 = {.kernel = 5, .stride = 3, .padding = 2};
static const qd_maxpool2d_config k2s3p0 = {.kernel = 2, .stride = 3, .padding = 0};
static const qd_maxpool2d_config k1s1p0 = {.kernel = 1, .stride = 1, .padding = 0};

#define CASE(label, settings, samples, channels, height, width)                                                      \
    {                                                                                                                \
        .name = label, .config = &(settings), .in = {{.rank = 4, .c = (channels), .h = (height), .w = (width)}},     \
        .n = (samples), .training = true, .fill = GRADCHECK_DISTINCT                                                 \
    }

static const gradcheck_case maxpool_cases[] = {
    CASE("3x3 stride 2 padding 1, odd", k3s2p1, 2, 5, 7, 9),
    CASE("3x3 stride 2 padding 1, even", k3s2p1, 1, 4, 8, 6),
    CASE("3x3 stride 2 padding 1, more channels than a block", k3s2p1, 2, 70, 5, 4),
    CASE("3x3 stride 2 padding 1, one pixel", k3s2p1, 3, 3, 1, 1),
    CASE("2x2 stride 2, last line left out", k2s2p0, 2, 3, 5, 7),
    CASE("3x3 stride 1, overlapping windows", k3s1p1, 2, 2, 4, 5),
    CASE("5x5 stride 3 padding 2", k5s3p2, 1, 3, 11, 8),
    CASE("2x2 stride 3, pixels outside every window", k2s3p0, 1, 3, 8, 8),
    CASE("1x1", k1s1p0, 2, 3, 3, 2),
};

GRADCHECK_CASES(maxpool2d, all, maxpool_cases)

static const gradcheck_case avgpool_cases[] = {
    {.name = "odd map", .in = {{.rank = 4, .c = 5, .h = 3, .w = 7}}, .n = 3, .training = true},
    {.name = "one sample, more channels than a block", .in = {{.rank = 4, .c = 131, .h = 2, .w = 3}}, .n = 1},
    {.name = "one pixel", .in = {{.rank = 4, .c = 3, .h = 1, .w = 1}}, .n = 2, .training = true},
};

GRADCHECK_CASES(global_avgpool, all, avgpool_cases)

static const gradcheck_case flatten_cases[] = {
    {.name = "pooled", .in = {{.rank = 4, .c = 7, .h = 1, .w = 1}}, .n = 3, .training = true},
    {.name = "one sample", .in = {{.rank = 4, .c = 16, .h = 1, .w = 1}}, .n = 1},
};

GRADCHECK_CASES(flatten, all, flatten_cases)
