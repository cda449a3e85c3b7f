#include "experiment/selection.h"
#include "base/arena.h"
#include "base/error.h"
#include <stdlib.h>
#include <string.h>

/* First item of class `label`: items come class by class. */
static int64_t class_start(const qd_dataset *dataset, int64_t label)
{
    int64_t first = 0, last = qd_dataset_count(dataset);
    while (first < last) {
        int64_t middle = first + (last - first) / 2;
        if (qd_dataset_get(dataset, middle)->label < label)
            first = middle + 1;
        else
            last = middle;
    }
    return first;
}

int64_t qd_select_balanced(const qd_dataset *dataset, int64_t wanted, int64_t *indices)
{
    int64_t selected = 0, classes = qd_dataset_class_count(dataset);
    if (wanted > qd_dataset_count(dataset))
        wanted = qd_dataset_count(dataset);
    for (int64_t round = 0; selected < wanted; round++) {
        for (int64_t label = 0; label < classes && selected < wanted; label++) {
            int64_t index = class_start(dataset, label) + round;
            if (index < class_start(dataset, label + 1))
                indices[selected++] = index;
        }
    }
    return selected;
}

enum qd_status qd_select_random(qd_context *ctx, const qd_dataset *dataset, uint64_t seed, int64_t wanted,
                                int64_t *indices, int64_t *selected)
{
    int64_t count = qd_dataset_count(dataset);
    int64_t *order = qd_calloc((size_t)count, sizeof *order);
    if (!order)
        return qd_fail(ctx, QD_ERR_MEMORY, "selection of %lld images: out of memory", (long long)wanted);
    qd_rng rng;
    qd_rng_seed(&rng, seed);
    qd_rng_randperm(&rng, count, order);
    *selected = wanted < count ? wanted : count;
    memcpy(indices, order, (size_t)*selected * sizeof *indices);
    free(order);
    return QD_OK;
}
