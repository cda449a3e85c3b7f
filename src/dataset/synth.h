/*
 * The embedded data set: pictures of ten textures, drawn by formula. Colours, sizes, places, rotations, light and
 * noise are random and the same for all classes, so that only structure tells them apart, in a small crop as in the
 * whole. Arithmetic is IEEE only (no sine, no exponential): the same pixels on every machine.
 */
#ifndef QD_DATASET_SYNTH_H
#define QD_DATASET_SYNTH_H

#include <quantdrift/dataset.h>

enum qd_synth_class {
    QD_SYNTH_BLOBS,
    QD_SYNTH_CHECKS,
    QD_SYNTH_CROSSES,
    QD_SYNTH_DOTS,
    QD_SYNTH_MESH,
    QD_SYNTH_RINGS,
    QD_SYNTH_STARS,
    QD_SYNTH_STRIPES,
    QD_SYNTH_TRIANGLES,
    QD_SYNTH_ZIGZAG,
    QD_SYNTH_CLASS_COUNT
};

/* Folder name: "blobs", "checks", … sorted as the enum is. */
const char *qd_synth_class_name(enum qd_synth_class label);

/* The pattern of one picture; coordinates are pixels. */
typedef struct qd_synth_pattern {
    enum qd_synth_class label;
    double axis_x, axis_y;     /* unit vector along which the pattern lies */
    double offset_x, offset_y; /* of the pattern against the picture */
    double period;             /* from one element to the next */
    double fill;               /* 0 … 1: how much of the period an element takes */
    uint32_t salt;             /* of the elements' own turns and shifts */
} qd_synth_pattern;

/* Draws a pattern for a picture whose shorter side is `size` pixels. */
qd_synth_pattern qd_synth_draw_pattern(qd_rng *rng, enum qd_synth_class label, int32_t size);

/* True where the pattern's foreground is. */
bool qd_synth_is_inside(const qd_synth_pattern *pattern, double x, double y);

/* Draws picture `index` of a class in a split. Errors: QD_ERR_MEMORY. The caller frees with qd_image_free(). */
enum qd_status qd_synth_draw_image(qd_context *ctx, const qd_synth_config *config, bool training,
                                   enum qd_synth_class label, int64_t index, qd_image *out);

#endif
