/* Speed and energy of a network as it is used: BatchNorm folded, in float32 and as INT8, frame by frame. */
#ifndef QUANTDRIFT_INFERENCE_H
#define QUANTDRIFT_INFERENCE_H

#include <quantdrift/dataset.h>
#include <quantdrift/network.h>

typedef struct qd_inference_config {
    qd_network_config network; /* a checkpoint, a quantized model file, or freshly initialised weights of a model */
    int64_t batch;             /* frames at a time */
    int64_t runs;              /* counted runs of each form; 0: all frames once, 100 without frames */
    const char *frames;        /* folder of images; NULL: random input */
    enum qd_frame_transform transform;
    const char *powercap; /* the tree of energy counters, such as /sys/class/powercap */
} qd_inference_config;

enum qd_inference_form { QD_INFERENCE_FLOAT, QD_INFERENCE_INT8, QD_INFERENCE_FORM_COUNT };

typedef struct qd_inference_speed {
    int64_t stored_bytes;     /* weights, biases and scales as a file holds them */
    double median_ms, p90_ms; /* of a frame: a run's time over its batch */
    double seconds;           /* of all counted runs */
    double joules;            /* of all counted runs, the whole processor's; NaN: not measured */
} qd_inference_speed;

typedef struct qd_inference_result {
    const char *model;         /* "ResNet18", static */
    bool int8_alone;           /* of a quantized file: there is no float form */
    int64_t image_size;        /* side, pixels */
    int64_t runs, frame_count; /* counted, of each form */
    qd_inference_speed form[QD_INFERENCE_FORM_COUNT];
    char energy_problem[512]; /* why no energy is measured; "" when it is */
} qd_inference_result;

/*
 * Times runs of both forms in turn, block by block, over the same frames, which are decoded beforehand. INT8 is made
 * in memory: per tensor, signed, ranges of the first block of frames. Errors: as qd_network_load(); QD_ERR_INPUT (no
 * such folder, no image in it, an unreadable one), QD_ERR_NUMERIC (weights or values that are not finite),
 * QD_ERR_MEMORY.
 */
enum qd_status qd_inference_measure(qd_context *ctx, const qd_inference_config *config, qd_inference_result *out);

#endif
