/* Chosen images with the validation transform, several threads at once. */
#include "base/error.h"
#include "dataset/parallel_load.h"

typedef struct eval_load {
    qd_sample_source source;
    const int64_t *indices;
    float *out; /* this or the next is wanted */
    uint8_t *bytes;
} eval_load;

static enum qd_status load_image(void *user, qd_sample_worker *worker, int64_t item, qd_image_fault *fault)
{
    eval_load *load = user;
    size_t values = (size_t)load->source.image_size * (size_t)load->source.image_size * 3;
    qd_sample_plan sample = {.index = load->indices[item]};
    return qd_sample_load(&load->source, worker, &sample, load->out ? load->out + (size_t)item * values : NULL,
                          load->bytes ? load->bytes + (size_t)item * values : NULL, fault);
}

static enum qd_status check_indices(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (indices[i] < 0 || indices[i] >= qd_dataset_count(dataset))
            return qd_fail(ctx, QD_ERR_USAGE, "loading images of '%s': expected indices of 0 to %lld, got %lld",
                           qd_dataset_folder(dataset), (long long)qd_dataset_count(dataset) - 1,
                           (long long)indices[i]);
    return QD_OK;
}

enum qd_status qd_dataset_load_eval(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices, int64_t n,
                                    int32_t image_size, int threads, float *out, int64_t *labels)
{
    eval_load load = {.source = {.dataset = dataset, .image_size = image_size}, .indices = indices, .out = out};
    QD_TRY(check_indices(ctx, dataset, indices, n));
    qd_normalizer_init(&load.source.normalizer);
    QD_TRY(qd_load_parallel(ctx, n, image_size, threads, load_image, &load));
    for (int64_t i = 0; labels && i < n; i++)
        labels[i] = qd_dataset_get(dataset, indices[i])->label;
    return QD_OK;
}

enum qd_status qd_dataset_load_eval_bytes(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices,
                                          int64_t n, int32_t image_size, int threads, uint8_t *out)
{
    eval_load load = {.source = {.dataset = dataset, .image_size = image_size}, .indices = indices, .bytes = out};
    QD_TRY(check_indices(ctx, dataset, indices, n));
    return qd_load_parallel(ctx, n, image_size, threads, load_image, &load);
}
