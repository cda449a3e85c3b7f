/*
 * The post's first experiment: what the modules of freshly constructed blocks put out. Two plain blocks of ResNet18
 * and two MBConv blocks of EfficientNet-B0, each without residuals, on one random image of 224 x 224, in training
 * mode.
 */
#ifndef QUANTDRIFT_INIT_STUDY_H
#define QUANTDRIFT_INIT_STUDY_H

#include <quantdrift/network.h>

typedef struct qd_init_study qd_init_study;

typedef struct qd_init_study_stack {
    const char *name;                /* "resnet18_block", "efficientnetb0_block" */
    const char *title;               /* "ResNet18 blocks" */
    const qd_module_report *modules; /* in construction order, which is the order of calls */
    int module_count;
} qd_init_study_stack;

/*
 * For each stack: torch.manual_seed(seed), torch.rand(1, channels, 224, 224), the modules with PyTorch's default
 * initialisation, one forward pass in training mode. *out is freed with qd_init_study_destroy(). Errors:
 * QD_ERR_MEMORY.
 */
enum qd_status qd_init_study_run(qd_context *ctx, uint64_t seed, qd_init_study **out);
void qd_init_study_destroy(qd_init_study *study);

/* One stack, borrowed; NULL behind the last. */
const qd_init_study_stack *qd_init_study_get(const qd_init_study *study, int index);

#endif
