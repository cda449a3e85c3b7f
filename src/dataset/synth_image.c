/* One picture of the embedded data set: colours, light, noise, and the pattern between two of them. */
#include "base/error.h"
#include "dataset/synth.h"
#include <stdlib.h>

/* Points asked a pixel and axis: soft edges, as a camera would see them. */
#define SUBSAMPLES 3

/* What a picture looks like apart from its class. */
typedef struct picture_look {
    double back[3], front[3]; /* colours, 0 … 255 */
    double light_x, light_y;  /* change of brightness across the picture */
    double noise;             /* amplitude of a pixel's own noise */
} picture_look;

static double draw_between(qd_rng *rng, double low, double high)
{
    return low + (high - low) * (double)qd_rng_uniform_f32(rng, 0.0F, 1.0F);
}

/*
 * Colour is a hint and no answer, as it is in photographs of dogs: two classes share each front colour, so that a
 * network which sees colour only is right half the time at most, less where a picture is grey.
 */
#define PALETTE_COUNT 5
static const double palette[PALETTE_COUNT][3] = {
    {225, 90, 80}, {80, 200, 90}, {90, 120, 230}, {230, 200, 70}, {200, 100, 210},
};
/* Largest change of a front colour's channel: neighbours in the palette stay apart. */
#define PALETTE_JITTER 20.0

static picture_look draw_look(qd_rng *rng, enum qd_synth_class label)
{
    picture_look look;
    for (int c = 0; c < 3; c++) {
        /* Always the darker one, and dark enough that the pattern survives in grey. */
        look.back[c] = draw_between(rng, 10.0, 60.0);
        look.front[c] = palette[label % PALETTE_COUNT][c] + draw_between(rng, -PALETTE_JITTER, PALETTE_JITTER);
    }
    look.light_x = draw_between(rng, -15.0, 15.0);
    look.light_y = draw_between(rng, -15.0, 15.0);
    look.noise = draw_between(rng, 2.0, 6.0);
    return look;
}

/* How much of a pixel the pattern covers, 0 … 1. */
static double cover_pixel(const qd_synth_pattern *pattern, int32_t x, int32_t y)
{
    int inside = 0;
    for (int i = 0; i < SUBSAMPLES; i++)
        for (int j = 0; j < SUBSAMPLES; j++)
            inside += qd_synth_is_inside(pattern, x + (j + 0.5) / SUBSAMPLES, y + (i + 0.5) / SUBSAMPLES);
    return (double)inside / (SUBSAMPLES * SUBSAMPLES);
}

static uint8_t round_channel(double value)
{
    return (uint8_t)(value < 0.0 ? 0 : value > 255.0 ? 255 : (int)(value + 0.5));
}

static void paint(qd_rng *rng, const qd_synth_pattern *pattern, const picture_look *look, qd_image *image)
{
    uint8_t *pixel = image->rgb;
    for (int32_t y = 0; y < image->height; y++) {
        for (int32_t x = 0; x < image->width; x++, pixel += 3) {
            double cover = cover_pixel(pattern, x, y);
            double light =
                look->light_x * ((double)x / image->width - 0.5) + look->light_y * ((double)y / image->height - 0.5);
            for (int c = 0; c < 3; c++) {
                /* The sum of two uniform draws: a triangular noise, without logarithm or root. */
                double noise =
                    draw_between(rng, -look->noise, look->noise) + draw_between(rng, -look->noise, look->noise);
                pixel[c] = round_channel(look->back[c] + cover * (look->front[c] - look->back[c]) + light + noise);
            }
        }
    }
}

/* A seed of its own for every picture: any can be drawn without the others. Source: splitmix64, S. Vigna, CC0. */
static uint64_t mix_seed(uint64_t seed, uint64_t value)
{
    uint64_t z = seed + (value + 1) * 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

enum qd_status qd_synth_draw_image(qd_context *ctx, const qd_synth_config *config, bool training,
                                   enum qd_synth_class label, int64_t index, qd_image *out)
{
    qd_rng rng;
    uint64_t seed = mix_seed(mix_seed(mix_seed(config->seed, training), label), (uint64_t)index);
    qd_rng_seed(&rng, seed >> 32);
    /* The longer side is up to 40 % longer, upright or not. */
    int32_t longer = config->size + (int32_t)qd_rng_randint(&rng, config->size * 2 / 5 + 1);
    bool upright = qd_rng_bernoulli(&rng, 0.5);
    qd_image image = {.width = upright ? config->size : longer, .height = upright ? longer : config->size};
    image.rgb = malloc((size_t)image.width * (size_t)image.height * 3);
    if (!image.rgb)
        return qd_fail(ctx, QD_ERR_MEMORY, "drawing a picture of %d x %d: memory is short", image.width,
                       image.height);
    qd_synth_pattern pattern = qd_synth_draw_pattern(&rng, label, config->size);
    picture_look look = draw_look(&rng, label);
    paint(&rng, &pattern, &look, &image);
    *out = image;
    return QD_OK;
}
