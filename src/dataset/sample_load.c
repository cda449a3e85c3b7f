/* From a file to a place in a batch. */
#include "dataset/sample_load.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum qd_status qd_sample_worker_create(qd_context *ctx, int32_t image_size, qd_sample_worker *out)
{
    uint8_t *bytes = malloc((size_t)image_size * (size_t)image_size * 3);
    if (!bytes)
        return qd_fail(ctx, QD_ERR_MEMORY, "loader: memory is short for an image of %d x %d", image_size, image_size);
    *out = (qd_sample_worker){.bytes = bytes};
    return QD_OK;
}

void qd_sample_worker_destroy(qd_sample_worker *worker)
{
    qd_resize_scratch_free(&worker->scratch);
    free(worker->bytes);
    *worker = (qd_sample_worker){0};
}

static void append(qd_image_fault *fault, const char *text)
{
    size_t used = strlen(fault->sentence);
    snprintf(fault->sentence + used, sizeof fault->sentence - used, "%s", text);
}

/* Crops were drawn for the size seen at the scan; on another one they could lie outside. */
static enum qd_status check_size(const qd_dataset_item *item, const qd_image *image, qd_image_fault *fault)
{
    if (image->width == item->width && image->height == item->height)
        return QD_OK;
    return qd_image_set_fault(fault, QD_ERR_INPUT, item->path,
                              "the file changed: %d x %d pixels when the folder was scanned, %d x %d now",
                              item->width, item->height, image->width, image->height);
}

static enum qd_status transform(const qd_sample_source *source, qd_sample_worker *worker, const qd_image *image,
                                const qd_sample_plan *sample, qd_image_fault *fault)
{
    enum qd_status status =
        source->training
            ? qd_transform_training(&worker->scratch, image, &sample->crop, source->image_size, worker->bytes)
            : qd_transform_validation(&worker->scratch, image, source->image_size, worker->bytes);
    if (status == QD_OK)
        return QD_OK;
    return qd_image_set_fault(fault, status, qd_dataset_get(source->dataset, sample->index)->path, "%s",
                              status == QD_ERR_MEMORY ? "memory is short for resizing it"
                                                      : "the image is too narrow for its length to be resized");
}

enum qd_status qd_sample_load(const qd_sample_source *source, qd_sample_worker *worker, const qd_sample_plan *sample,
                              float *images, uint8_t *bytes, qd_image_fault *fault)
{
    const qd_dataset_item *item = qd_dataset_get(source->dataset, sample->index);
    int64_t pixels = (int64_t)source->image_size * source->image_size;
    qd_image image = {0};
    bool cached = source->cache && qd_image_cache_get(source->cache, sample->index, &image);
    if (!cached) {
        enum qd_status status = qd_image_load(item->path, &image, fault);
        if (status != QD_OK && status != QD_ERR_MEMORY)
            append(fault, QD_BAD_IMAGE_ADVICE);
        if (status == QD_OK)
            status = check_size(item, &image, fault);
        if (status != QD_OK) {
            qd_image_free(&image);
            return status;
        }
        if (source->cache) {
            qd_image_cache_put(source->cache, sample->index, &image);
            cached = true;
        }
    }
    enum qd_status status = transform(source, worker, &image, sample, fault);
    if (!cached)
        qd_image_free(&image);
    if (status != QD_OK)
        return status;
    if (images)
        qd_normalize(&source->normalizer, worker->bytes, pixels, images);
    if (bytes)
        memcpy(bytes, worker->bytes, (size_t)pixels * 3);
    return QD_OK;
}
