/*
 * The post's first experiment: two blocks of each network by themselves, without residuals, as freshly constructed.
 * No classifiers, so no models of the list.
 */
#ifndef QD_MODELS_BLOCK_STACKS_H
#define QD_MODELS_BLOCK_STACKS_H

#include "models/models.h"

#define QD_BLOCK_STACK_COUNT 2

/* A square image of this side is what the study shows the stacks. */
#define QD_BLOCK_STACK_SIZE 224

typedef struct qd_block_stack {
    const char *name;  /* "resnet18_block": key of the study's JSON */
    const char *title; /* "ResNet18 blocks" */
    int64_t channels;  /* of its input */
    enum qd_status (*build)(qd_context *ctx, qd_graph **out);
} qd_block_stack;

/* In the order of the study. */
extern const qd_block_stack qd_block_stacks[QD_BLOCK_STACK_COUNT];

#endif
