#include "experiment/kept_images.h"
#include "base/cpu.h"
#include "base/error.h"
#include <stdlib.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

enum qd_status qd_kept_images_load(qd_context *ctx, qd_kept_images *kept, int64_t size)
{
    const double bytes = 3.0 * (double)kept->count * (double)size * (double)size, available = qd_available_bytes();
    if (kept->size == size)
        return QD_OK;
    free(kept->bytes);
    kept->size = 0;
    kept->bytes = available > 0.0 && bytes > available ? NULL : malloc((size_t)bytes + 1);
    if (!kept->bytes)
        return qd_fail(ctx, QD_ERR_MEMORY,
                       "keeping %lld images of '%s' at %lld px needs %.2f GiB, and %.2f GiB are available; choose "
                       "fewer images",
                       (long long)kept->count, qd_dataset_folder(kept->dataset), (long long)size, bytes / GIB,
                       available / GIB);
    QD_TRY(qd_dataset_load_eval_bytes(ctx, kept->dataset, kept->indices, kept->count, (int32_t)size,
                                      qd_context_threads(ctx), kept->bytes));
    qd_normalizer_init(&kept->normalizer);
    kept->size = size;
    return QD_OK;
}

void qd_kept_images_free(qd_kept_images *kept)
{
    free(kept->indices);
    free(kept->bytes);
    *kept = (qd_kept_images){0};
}

enum qd_status qd_kept_images_give(void *user, int64_t first, int64_t n, float *images)
{
    const qd_kept_images *kept = user;
    const int64_t pixels = kept->size * kept->size;
    qd_normalize(&kept->normalizer, kept->bytes + first * pixels * 3, n * pixels, images);
    return QD_OK;
}
