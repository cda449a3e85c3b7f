/*
 * torchvision's RandomResizedCrop and RandomHorizontalFlip: what they draw, and the rectangle they choose.
 * Source: torchvision 0.14.1, transforms/transforms.py.
 */
#ifndef QD_DATASET_AUGMENT_H
#define QD_DATASET_AUGMENT_H

#include <quantdrift/random.h>

typedef struct qd_crop {
    int32_t top, left, height, width; /* pixels of the source image */
    bool flip;                        /* mirrored left to right after the crop */
} qd_crop;

/* RandomResizedCrop(scale = (0.08, 1), ratio = (3/4, 4/3)) on an image of width x height, then the flip with p = 0.5.
 * Draws 5 to 21 words. */
qd_crop qd_augment_draw_crop(qd_rng *rng, int32_t width, int32_t height);

/*
 * exp(x) for |x| < 80 with the very bits of torch.exp() on float32 with AVX2: Sleef's expf with an error of at most
 * one ulp, in fused arithmetic. An ulp can move a crop by a pixel, and the C library's expf differs in 7 % of
 * arguments. Source: N. Shibata, SLEEF 3.6, sleefsimdsp.c, xexpf.
 */
float qd_augment_exp_f32(float x);

#endif
