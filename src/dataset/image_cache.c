/* Decoded images kept across epochs. */
#include "dataset/image_cache.h"
#include "base/arena.h"
#include "base/error.h"
#include <stdlib.h>

enum qd_status qd_image_cache_create(qd_context *ctx, int64_t count, qd_image_cache **out)
{
    qd_image_cache *cache = calloc(1, sizeof(*cache));
    qd_image *images = qd_calloc((size_t)count, sizeof(*images));
    if (!cache || !images || pthread_mutex_init(&cache->mutex, NULL) != 0) {
        free(images);
        free(cache);
        return qd_fail(ctx, QD_ERR_MEMORY, "loader: memory is short for a cache of %lld images", (long long)count);
    }
    cache->images = images;
    cache->count = count;
    *out = cache;
    return QD_OK;
}

void qd_image_cache_destroy(qd_image_cache *cache)
{
    if (!cache)
        return;
    for (int64_t i = 0; i < cache->count; i++)
        qd_image_free(&cache->images[i]);
    free(cache->images);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

bool qd_image_cache_get(qd_image_cache *cache, int64_t index, qd_image *out)
{
    pthread_mutex_lock(&cache->mutex);
    qd_image found = cache->images[index];
    pthread_mutex_unlock(&cache->mutex);
    if (!found.rgb)
        return false;
    *out = found;
    return true;
}

void qd_image_cache_put(qd_image_cache *cache, int64_t index, qd_image *image)
{
    pthread_mutex_lock(&cache->mutex);
    if (cache->images[index].rgb) {
        /* Another thread was faster: both hold the same pixels. */
        qd_image_free(image);
        *image = cache->images[index];
    } else {
        cache->images[index] = *image;
    }
    pthread_mutex_unlock(&cache->mutex);
}
