/* The order of draws of torch.utils.data.DataLoader(num_workers=0). Source: PyTorch 1.13,
 * utils/data/{dataloader,sampler}.py. */
#include "dataset/epoch_plan.h"
#include "base/arena.h"
#include "base/error.h"
#include <stdlib.h>

static qd_part own_part(const qd_loader_config *config, int64_t n)
{
    return config->parts > 0 ? qd_part_of(n, config->part, config->parts) : qd_part_of(n, 0, 1);
}

int64_t qd_epoch_plan_batch_count(const qd_loader_config *config)
{
    int64_t images = qd_dataset_count(config->dataset);
    return images / config->batch_size + (!config->drop_last && images % config->batch_size != 0);
}

int64_t qd_epoch_plan_batch_size(const qd_loader_config *config)
{
    int64_t images = qd_dataset_count(config->dataset);
    return own_part(config, images < config->batch_size ? images : config->batch_size).count;
}

enum qd_status qd_epoch_plan_create(qd_context *ctx, const qd_loader_config *config, qd_epoch_plan *out)
{
    qd_epoch_plan plan = {.config = *config,
                          .image_count = qd_dataset_count(config->dataset),
                          .batch_count = qd_epoch_plan_batch_count(config)};
    plan.next_batch = plan.batch_count;
    if (config->training) {
        plan.order = qd_calloc((size_t)plan.image_count, sizeof(*plan.order));
        if (!plan.order)
            return qd_fail(ctx, QD_ERR_MEMORY, "loader: memory is short for the order of %lld images",
                           (long long)plan.image_count);
    }
    *out = plan;
    return QD_OK;
}

void qd_epoch_plan_destroy(qd_epoch_plan *plan)
{
    free(plan->order);
    *plan = (qd_epoch_plan){0};
}

/* The images of a batch, in order. */
static int64_t draw_batch(qd_epoch_plan *plan, qd_sample_plan *samples, qd_part *part, qd_rng *after)
{
    int64_t first = plan->next_batch * plan->config.batch_size;
    int64_t n = plan->image_count - first;
    if (n > plan->config.batch_size)
        n = plan->config.batch_size;
    const qd_part own = own_part(&plan->config, n);
    for (int64_t i = 0; i < n; i++) {
        qd_sample_plan sample = {.index = plan->order ? plan->order[first + i] : first + i};
        if (plan->config.training) {
            const qd_dataset_item *item = qd_dataset_get(plan->config.dataset, sample.index);
            sample.crop = qd_augment_draw_crop(&plan->rng, item->width, item->height);
        }
        if (samples && i >= own.first && i < own.first + own.count)
            samples[i - own.first] = sample;
    }
    if (part)
        *part = own;
    if (after)
        *after = plan->rng;
    if (plan->config.training)
        qd_rng_skip(&plan->rng, (uint64_t)(n * plan->config.draw_words_per_sample));
    plan->next_batch++;
    return n;
}

void qd_epoch_plan_start(qd_epoch_plan *plan, const qd_rng *rng, int64_t first_batch)
{
    plan->rng = *rng;
    plan->next_batch = 0;
    (void)qd_rng_random_i64(&plan->rng); /* the iterator's base seed, which only worker processes use */
    if (plan->config.training) {
        qd_rng sampler;
        qd_rng_seed(&sampler, (uint64_t)qd_rng_random_i64(&plan->rng));
        qd_rng_randperm(&sampler, plan->image_count, plan->order);
        while (plan->next_batch < first_batch && plan->next_batch < plan->batch_count)
            draw_batch(plan, NULL, NULL, NULL);
    } else {
        plan->next_batch = first_batch < plan->batch_count ? first_batch : plan->batch_count;
    }
}

int64_t qd_epoch_plan_next(qd_epoch_plan *plan, qd_sample_plan *samples, qd_part *part, qd_rng *after)
{
    if (plan->next_batch >= plan->batch_count)
        return 0;
    return draw_batch(plan, samples, part, after);
}
