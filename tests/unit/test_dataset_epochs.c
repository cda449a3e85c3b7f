/* Draws, order and pixels of whole epochs against PyTorch's DataLoader; loaders against each other. */
#include "base/sha256.h"
#include "dataset/augment.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/pixel_facts.h"
#include <math.h>
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>

Test(dataset_epochs, crops_and_flips_are_pytorchs)
{
    pixel_facts facts = pixel_facts_read("crops");
    int64_t total = 0;
    for (size_t i = 0; i < facts.count; i++) {
        const pixel_fact *fact = &facts.facts[i];
        int64_t count = pixel_fact_number(fact, 1);
        int32_t *drawn = malloc((size_t)count * 5 * sizeof(*drawn));
        qd_rng rng;
        qd_rng_seed(&rng, (uint64_t)pixel_fact_number(fact, 0));
        for (int64_t k = 0; k < count; k++) {
            qd_crop crop =
                qd_augment_draw_crop(&rng, (int32_t)pixel_fact_number(fact, 2), (int32_t)pixel_fact_number(fact, 3));
            int32_t row[5] = {crop.top, crop.left, crop.height, crop.width, crop.flip};
            memcpy(drawn + 5 * k, row, sizeof(row));
        }
        pixel_expect_sha256(drawn, (size_t)count * 5 * sizeof(*drawn), fact->field[4], fact->field[0]);
        free(drawn);
        total += count;
    }
    /* Five draws a crop at least: more than a million guard the fused uniform, and in an image large enough for one
     * ulp to move a crop the exponential. */
    cr_expect_geq(total * 5, 1000000);
    pixel_facts_free(&facts);
}

/* The fixture's 200 x 40 pixels leave a crop little room: about one in five finds no place in ten attempts. */
Test(dataset_epochs, ten_failed_attempts_end_in_the_central_rectangle)
{
    qd_rng rng;
    int fallbacks = 0;
    qd_rng_seed(&rng, 9); /* the fixture's, whose crops are PyTorch's */
    for (int i = 0; i < 20000; i++) {
        qd_crop crop = qd_augment_draw_crop(&rng, 200, 40);
        fallbacks += crop.top == 0 && crop.left == 73 && crop.width == 53 && crop.height == 40;
    }
    cr_expect(fallbacks > 2000 && fallbacks < 10000, "%d of 20000", fallbacks);
}

/* torch.exp of one float differs from the C library's in 7 % of arguments, and an ulp can move a crop. There are only
 * 2^24 ratios to draw: all of them. */
Test(dataset_epochs, every_ratio_a_crop_can_draw_is_pytorchs)
{
    const float low = -0x1.269622p-2F, high = 0x1.269624p-2F; /* torch.log of float32 3/4 and 4/3 */
    pixel_facts facts = pixel_facts_read("aspects");
    long count = pixel_fact_number(&facts.facts[0], 0);
    cr_assert_eq(count, 1L << 24);
    float *ratios = malloc((size_t)count * sizeof *ratios);
    cr_assert_not_null(ratios);
    for (long i = 0; i < count; i++)
        ratios[i] = qd_augment_exp_f32(fmaf((float)i * 0x1p-24F, high - low, low));
    pixel_expect_sha256(ratios, (size_t)count * sizeof *ratios, facts.facts[0].field[1], "all ratios");
    free(ratios);
    pixel_facts_free(&facts);
}

static qd_dataset *open_training(qd_context *ctx)
{
    qd_dataset *dataset;
    char *folder = fixture_path("pixels/train");
    TEST_OK(ctx, qd_dataset_open(ctx, folder, QD_BAD_IMAGE_ERROR, &dataset));
    free(folder);
    return dataset;
}

/* What an epoch delivered. */
typedef struct epoch_digest {
    char bytes[65], floats[65], indices[65];
    int64_t batches, images;
    qd_rng consumed;
} epoch_digest;

static epoch_digest run_epoch(qd_context *ctx, const qd_loader_config *config, const qd_rng *rng, int64_t first_batch)
{
    qd_loader *loader;
    TEST_OK(ctx, qd_loader_create(ctx, config, &loader));
    size_t values = (size_t)config->image_size * (size_t)config->image_size * 3;
    epoch_digest digest = {.consumed = *rng};
    qd_sha256 bytes, floats, indices;
    qd_sha256_init(&bytes);
    qd_sha256_init(&floats);
    qd_sha256_init(&indices);
    TEST_OK(ctx, qd_loader_start_epoch(loader, rng, first_batch));
    for (;;) {
        const qd_batch *batch;
        TEST_OK(ctx, qd_loader_next(loader, &batch));
        if (!batch)
            break;
        cr_expect_eq(batch->ordinal, first_batch + digest.batches);
        size_t n = (size_t)batch->n;
        if (config->keep_bytes)
            qd_sha256_update(&bytes, batch->bytes, n * values);
        else
            cr_expect_null(batch->bytes);
        qd_sha256_update(&floats, batch->images, n * values * sizeof(float));
        qd_sha256_update(&indices, batch->indices, n * sizeof(int64_t));
        for (int64_t i = 0; i < batch->n; i++)
            cr_expect_eq(batch->labels[i], qd_dataset_get(config->dataset, batch->indices[i])->label);
        digest.batches++;
        digest.images += batch->n;
        digest.consumed = batch->rng;
        qd_rng_skip(&digest.consumed, (uint64_t)(batch->n * config->draw_words_per_sample));
    }
    qd_sha256_finish(&bytes, digest.bytes);
    qd_sha256_finish(&floats, digest.floats);
    qd_sha256_finish(&indices, digest.indices);
    cr_expect_geq(qd_loader_wait_seconds(loader), 0.0);
    qd_loader_destroy(loader);
    return digest;
}

Test(dataset_epochs, training_epochs_are_pytorchs_bytes)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    pixel_facts facts = pixel_facts_read("epoch");
    for (size_t i = 0; i < facts.count; i++) {
        const pixel_fact *fact = &facts.facts[i];
        qd_loader_config config = {.dataset = dataset,
                                   .batch_size = pixel_fact_number(fact, 1),
                                   .image_size = (int32_t)pixel_fact_number(fact, 2),
                                   .training = true,
                                   .drop_last = pixel_fact_number(fact, 4) != 0,
                                   .draw_words_per_sample = pixel_fact_number(fact, 3),
                                   .loader_threads = 2,
                                   .prefetch_batches = 2,
                                   .keep_bytes = true};
        qd_rng rng;
        qd_rng_seed(&rng, (uint64_t)pixel_fact_number(fact, 0));
        epoch_digest digest = run_epoch(ctx, &config, &rng, 0);
        cr_expect_str_eq(digest.indices, fact->field[7], "order of epoch %zu", i);
        cr_expect_str_eq(digest.bytes, fact->field[5], "bytes of epoch %zu", i);
        cr_expect_str_eq(digest.floats, fact->field[6], "floats of epoch %zu", i);
    }
    pixel_facts_free(&facts);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

static qd_loader_config small_config(const qd_dataset *dataset)
{
    return (qd_loader_config){.dataset = dataset,
                              .batch_size = 6,
                              .image_size = 24,
                              .training = true,
                              .draw_words_per_sample = 18,
                              .loader_threads = 1,
                              .prefetch_batches = 1,
                              .keep_bytes = true};
}

static void expect_equal_digests(const epoch_digest *a, const epoch_digest *b, const char *what)
{
    cr_expect_str_eq(a->bytes, b->bytes, "%s", what);
    cr_expect_str_eq(a->floats, b->floats, "%s", what);
    cr_expect_str_eq(a->indices, b->indices, "%s", what);
    cr_expect(qd_rng_equal(&a->consumed, &b->consumed), "%s", what);
}

Test(dataset_epochs, threads_prefetch_and_cache_change_nothing)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    qd_rng rng;
    qd_rng_seed(&rng, 5);
    epoch_digest one = run_epoch(ctx, &config, &rng, 0);
    config.loader_threads = 5;
    config.prefetch_batches = 4;
    epoch_digest five = run_epoch(ctx, &config, &rng, 0);
    expect_equal_digests(&one, &five, "threads");
    config.cache_images = true;
    epoch_digest cached = run_epoch(ctx, &config, &rng, 0);
    expect_equal_digests(&one, &cached, "cache");
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

Test(dataset_epochs, a_cache_serves_later_epochs)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    config.cache_images = true;
    config.loader_threads = 3;
    qd_loader *loader;
    TEST_OK(ctx, qd_loader_create(ctx, &config, &loader));
    char digests[2][65];
    for (int epoch = 0; epoch < 2; epoch++) {
        qd_rng rng;
        qd_sha256 hash;
        qd_sha256_init(&hash);
        qd_rng_seed(&rng, 5);
        TEST_OK(ctx, qd_loader_start_epoch(loader, &rng, 0));
        const qd_batch *batch;
        for (;;) {
            TEST_OK(ctx, qd_loader_next(loader, &batch));
            if (!batch)
                break;
            qd_sha256_update(&hash, batch->bytes, (size_t)batch->n * 24 * 24 * 3);
        }
        qd_sha256_finish(&hash, digests[epoch]);
    }
    cr_expect_str_eq(digests[0], digests[1]);
    qd_loader_destroy(loader);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

Test(dataset_epochs, an_interrupted_epoch_is_replayed)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    qd_loader *loader;
    const qd_batch *batch = NULL;
    uint8_t expected[6 * 24 * 24 * 3];
    int64_t images = 0;
    qd_rng rng, expected_rng;
    qd_rng_seed(&rng, 77);
    TEST_OK(ctx, qd_loader_create(ctx, &config, &loader));
    TEST_OK(ctx, qd_loader_start_epoch(loader, &rng, 0));
    for (int i = 0; i < 4; i++) {
        TEST_OK(ctx, qd_loader_next(loader, &batch));
        images += batch->n;
    }
    memcpy(expected, batch->bytes, sizeof(expected));
    expected_rng = batch->rng;
    /* Abandoned here and begun again at the fourth batch. */
    TEST_OK(ctx, qd_loader_start_epoch(loader, &rng, 3));
    TEST_OK(ctx, qd_loader_next(loader, &batch));
    cr_expect_eq(batch->ordinal, 3);
    cr_expect_arr_eq(batch->bytes, expected, sizeof(expected));
    cr_expect(qd_rng_equal(&batch->rng, &expected_rng));
    qd_loader_destroy(loader);
    epoch_digest rest = run_epoch(ctx, &config, &rng, 4);
    cr_expect_eq(rest.images, qd_dataset_count(dataset) - images);
    epoch_digest nothing = run_epoch(ctx, &config, &rng, 1000);
    cr_expect_eq(nothing.batches, 0);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

Test(dataset_epochs, the_last_batch_is_dropped_on_request)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    qd_rng rng;
    qd_rng_seed(&rng, 1);
    int64_t images = qd_dataset_count(dataset);
    config.batch_size = images - 1; /* leaves a batch of one */
    epoch_digest kept = run_epoch(ctx, &config, &rng, 0);
    cr_expect_eq(kept.batches, 2);
    cr_expect_eq(kept.images, images);
    config.drop_last = true;
    epoch_digest dropped = run_epoch(ctx, &config, &rng, 0);
    cr_expect_eq(dropped.batches, 1);
    cr_expect_eq(dropped.images, images - 1);
    config.batch_size = 2 * images;
    cr_expect_eq(run_epoch(ctx, &config, &rng, 0).batches, 0);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

Test(dataset_epochs, validation_keeps_the_order_and_draws_one_seed)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    config.training = false;
    config.loader_threads = 3;
    int64_t count = qd_dataset_count(dataset);
    size_t values = 24 * 24 * 3;
    int64_t *indices = malloc((size_t)count * sizeof(*indices)), *labels = malloc((size_t)count * sizeof(*labels));
    float *expected = malloc((size_t)count * values * sizeof(float));
    for (int64_t i = 0; i < count; i++)
        indices[i] = i;
    TEST_OK(ctx, qd_dataset_load_eval(ctx, dataset, indices, count, 24, 3, expected, labels));
    qd_rng rng;
    qd_rng_seed(&rng, 1);
    qd_loader *loader;
    TEST_OK(ctx, qd_loader_create(ctx, &config, &loader));
    TEST_OK(ctx, qd_loader_start_epoch(loader, &rng, 0));
    qd_rng_skip(&rng, 2);
    int64_t seen = 0;
    const qd_batch *batch;
    for (;;) {
        TEST_OK(ctx, qd_loader_next(loader, &batch));
        if (!batch)
            break;
        cr_expect(qd_rng_equal(&batch->rng, &rng));
        cr_expect_arr_eq(batch->images, expected + (size_t)seen * values, (size_t)batch->n * values * sizeof(float));
        for (int64_t i = 0; i < batch->n; i++) {
            cr_expect_eq(batch->indices[i], seen + i);
            cr_expect_eq(batch->labels[i], labels[seen + i]);
        }
        seen += batch->n;
    }
    cr_expect_eq(seen, count);
    indices[1] = count;
    TEST_FAILS(ctx, qd_dataset_load_eval(ctx, dataset, indices, 2, 24, 1, expected, NULL), QD_ERR_USAGE, "indices");
    qd_loader_destroy(loader);
    free(indices);
    free(labels);
    free(expected);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

Test(dataset_epochs, loaders_stop_in_the_middle_of_an_epoch)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    config.loader_threads = 4;
    config.prefetch_batches = 3;
    qd_rng rng;
    qd_rng_seed(&rng, 3);
    for (int rounds = 0; rounds < 20; rounds++) {
        qd_loader *loader;
        const qd_batch *batch;
        TEST_OK(ctx, qd_loader_create(ctx, &config, &loader));
        for (int i = 0; i < rounds % 4; i++) {
            TEST_OK(ctx, qd_loader_start_epoch(loader, &rng, i));
            TEST_OK(ctx, qd_loader_next(loader, &batch));
        }
        qd_loader_destroy(loader);
    }
    qd_loader_destroy(NULL);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}

Test(dataset_epochs, wrong_configurations_are_refused)
{
    qd_context *ctx = test_context_create(1);
    qd_dataset *dataset = open_training(ctx);
    qd_loader_config config = small_config(dataset);
    qd_loader *loader;
    config.batch_size = 0;
    TEST_FAILS(ctx, qd_loader_create(ctx, &config, &loader), QD_ERR_USAGE, "batch_size");
    config = small_config(dataset);
    config.image_size = 5000;
    TEST_FAILS(ctx, qd_loader_create(ctx, &config, &loader), QD_ERR_USAGE, "image_size");
    config = small_config(dataset);
    config.loader_threads = 0;
    TEST_FAILS(ctx, qd_loader_create(ctx, &config, &loader), QD_ERR_USAGE, "loader_threads");
    /* Two slots of six images of 24 x 24: floats and bytes, and less than a tenth more for the rest. */
    config = small_config(dataset);
    size_t pixels_bytes = (size_t)2 * 6 * 24 * 24 * 3 * 5;
    cr_expect_geq(qd_loader_bytes(&config), pixels_bytes);
    cr_expect_leq(qd_loader_bytes(&config), pixels_bytes * 11 / 10);
    qd_dataset_destroy(dataset);
    qd_context_destroy(ctx);
}
