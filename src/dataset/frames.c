/* Images without classes, such as the frames of a video: listed by name, loaded by several threads. */
#include <quantdrift/dataset.h>

#include "base/arena.h"
#include "base/error.h"
#include "dataset/folder_scan.h"
#include "dataset/parallel_load.h"
#include <stdlib.h>
#include <string.h>

struct qd_frames {
    qd_context *ctx;
    qd_folder_list list;
};

static const char *const transform_names[QD_FRAME_TRANSFORM_COUNT] = {
    [QD_FRAME_VALIDATION] = "validation", [QD_FRAME_SQUASH] = "squash"};

const char *qd_frame_transform_name(enum qd_frame_transform transform)
{
    return transform < QD_FRAME_TRANSFORM_COUNT ? transform_names[transform] : NULL;
}

bool qd_frame_transform_parse(const char *name, enum qd_frame_transform *out)
{
    for (int i = 0; i < QD_FRAME_TRANSFORM_COUNT; i++) {
        if (strcmp(transform_names[i], name) != 0)
            continue;
        *out = (enum qd_frame_transform)i;
        return true;
    }
    return false;
}

enum qd_status qd_frames_open(qd_context *ctx, const char *folder, qd_frames **out)
{
    enum qd_status status = QD_OK;
    qd_frames *frames = qd_calloc(1, sizeof *frames);
    if (!frames)
        return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': out of memory", folder);
    frames->ctx = ctx;
    QD_TRY_GOTO(qd_folder_images(ctx, folder, &frames->list));
    *out = frames;
    return QD_OK;
fail:
    qd_frames_destroy(frames);
    return status;
}

void qd_frames_destroy(qd_frames *frames)
{
    if (!frames)
        return;
    qd_folder_list_free(&frames->list);
    free(frames);
}

int64_t qd_frames_count(const qd_frames *frames)
{
    return frames->list.file_count;
}

typedef struct frames_load {
    const qd_frames *frames;
    enum qd_frame_transform transform;
    int32_t size;
    int64_t first;
    float *out;
    qd_normalizer normalizer;
} frames_load;

static enum qd_status load_frame(frames_load *load, qd_sample_worker *worker, const char *path, float *out,
                                 qd_image_fault *fault)
{
    qd_image image = {0};
    QD_TRY(qd_image_load(path, &image, fault));
    enum qd_status status = load->transform == QD_FRAME_SQUASH
                                ? qd_transform_squash(&worker->scratch, &image, load->size, worker->bytes)
                                : qd_transform_validation(&worker->scratch, &image, load->size, worker->bytes);
    qd_image_free(&image);
    if (status != QD_OK)
        return qd_image_set_fault(fault, status, path, "%s",
                                  status == QD_ERR_MEMORY ? "memory is short for resizing it"
                                                          : "the image is too narrow for its length to be resized");
    qd_normalize(&load->normalizer, worker->bytes, (int64_t)load->size * load->size, out);
    return QD_OK;
}

static enum qd_status load_item(void *user, qd_sample_worker *worker, int64_t item, qd_image_fault *fault)
{
    frames_load *load = user;
    const qd_folder_list *list = &load->frames->list;
    return load_frame(load, worker, list->files[(load->first + item) % list->file_count].path,
                      load->out + item * load->size * load->size * 3, fault);
}

enum qd_status qd_frames_load(const qd_frames *frames, int64_t first, int64_t n, enum qd_frame_transform transform,
                              int32_t image_size, int threads, float *out)
{
    frames_load load = {.frames = frames, .transform = transform, .size = image_size, .first = first, .out = out};
    if (first < 0)
        return qd_fail(frames->ctx, QD_ERR_USAGE, "loading frames: expected a first frame from 0, got %lld",
                       (long long)first);
    qd_normalizer_init(&load.normalizer);
    return qd_load_parallel(frames->ctx, n, image_size, threads, load_item, &load);
}
