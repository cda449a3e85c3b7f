/* Every activation, away from its kinks. */
#include "support/gradcheck.h"

static const qd_activation_config relu = {QD_ACTIVATION_RELU};
static const qd_activation_config relu6 = {QD_ACTIVATION_RELU6};
static const qd_activation_config silu = {QD_ACTIVATION_SILU};
static const qd_activation_config hardswish = {QD_ACTIVATION_HARDSWISH};
static const qd_activation_config sigmoid = {QD_ACTIVATION_SIGMOID};

/* A small odd map, a vector, and a map of three pieces of work of which the last is not full. */
#define SIZES(label, kind)                                                                                           \
    {.name = label ", odd map",                                                                                      \
     .config = &(kind),                                                                                              \
     .in = {{.rank = 4, .c = 5, .h = 3, .w = 7}},                                                                    \
     .n = 2,                                                                                                         \
     .training = true,                                                                                               \
     .fill = GRADCHECK_OFF_KINKS},                                                                                   \
        {.name = label ", vector",                                                                                   \
         .config = &(kind),                                                                                          \
         .in = {{.rank = 2, .c = 13, .h = 1, .w = 1}},                                                               \
         .n = 1,                                                                                                     \
         .fill = GRADCHECK_OFF_KINKS},                                                                               \
    {                                                                                                                \
        .name = label ", several pieces", .config = &(kind), .in = {{.rank = 4, .c = 9, .h = 41, .w = 37}}, .n = 3,  \
        .training = true, .fill = GRADCHECK_OFF_KINKS                                                                \
    }

static const gradcheck_case cases[] = {
    SIZES("ReLU", relu),       SIZES("ReLU6", relu6), SIZES("SiLU", silu), SIZES("hard-swish", hardswish),
    SIZES("sigmoid", sigmoid),
};

GRADCHECK_CASES(activation, all, cases)
