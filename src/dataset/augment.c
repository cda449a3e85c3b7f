/* Random crops and flips, draw for draw. */
#include "dataset/augment.h"
#include <math.h>

/* A crop is tried ten times before the fallback. */
#define ATTEMPTS 10

/* torch.log of float32 3/4 and 4/3. */
#define LOG_RATIO_LOW  (-0x1.269622p-2F)
#define LOG_RATIO_HIGH (0x1.269624p-2F)

float qd_augment_exp_f32(float x)
{
    /* x = q·ln 2 + s, ln 2 in two parts so that q·(upper part) is exact */
    float q = rintf(x * 0x1.715476p+0F);
    float s = fmaf(q, -0.693145751953125F, x);
    s = fmaf(q, -1.428606765330187045e-06F, s);
    float u = 0.000198527617612853646278381F;
    u = fmaf(u, s, 0.00139304355252534151077271F);
    u = fmaf(u, s, 0.00833336077630519866943359F);
    u = fmaf(u, s, 0.0416664853692054748535156F);
    u = fmaf(u, s, 0.166666671633720397949219F);
    u = fmaf(u, s, 0.5F);
    u = 1.0F + fmaf(s * s, u, s);
    return ldexpf(u, (int)q);
}

/* The largest central rectangle whose ratio of sides is allowed. Python's round() is half to even, as is rint(). */
static qd_crop central_crop(int32_t width, int32_t height)
{
    const double lowest = 3.0 / 4.0, highest = 4.0 / 3.0;
    double ratio = (double)width / (double)height;
    qd_crop crop = {.width = width, .height = height};
    if (ratio < lowest)
        crop.height = (int32_t)rint(width / lowest);
    else if (ratio > highest)
        crop.width = (int32_t)rint(height * highest);
    crop.top = (height - crop.height) / 2;
    crop.left = (width - crop.width) / 2;
    return crop;
}

static qd_crop draw_rectangle(qd_rng *rng, int32_t width, int32_t height)
{
    double area = (double)((int64_t)width * height);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        double target_area = area * (double)qd_rng_uniform_f32(rng, 0.08F, 1.0F);
        double aspect = (double)qd_augment_exp_f32(qd_rng_uniform_f32(rng, LOG_RATIO_LOW, LOG_RATIO_HIGH));
        double crop_width = rint(sqrt(target_area * aspect));
        double crop_height = rint(sqrt(target_area / aspect));
        if (crop_width > 0 && crop_width <= width && crop_height > 0 && crop_height <= height) {
            qd_crop crop = {.width = (int32_t)crop_width, .height = (int32_t)crop_height};
            crop.top = (int32_t)qd_rng_randint(rng, height - crop.height + 1);
            crop.left = (int32_t)qd_rng_randint(rng, width - crop.width + 1);
            return crop;
        }
    }
    return central_crop(width, height);
}

qd_crop qd_augment_draw_crop(qd_rng *rng, int32_t width, int32_t height)
{
    qd_crop crop = draw_rectangle(rng, width, height);
    crop.flip = qd_rng_uniform_f32(rng, 0.0F, 1.0F) < 0.5F;
    return crop;
}
