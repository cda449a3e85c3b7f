/*
 * Training batches of whole runs against PyTorch's DataLoader: odd sizes, images smaller than the crop, grey ones,
 * the ten-attempt fallback, a last batch of one, the second model after the first, a later epoch. Nothing is trained.
 * Fixture: tests/fixtures/runs/batches.txt by scripts/fixtures/make_runs.py.
 */
#include "base/sha256.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <quantdrift/batches.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits of a SHA-256 that the fixture keeps. */
#define DIGEST_DIGITS 16

/* More than an epoch of the fixture has. */
#define ALL_BATCHES 1000

static void set(qd_context *ctx, qd_experiment *experiment, const char *key, const char *value)
{
    char assignment[512];
    snprintf(assignment, sizeof assignment, "%s=%s", key, value);
    TEST_OK(ctx, qd_experiment_set(experiment, assignment));
}

/* "run SEED SIZE BATCH DROP_LAST EPOCHS MODEL[,MODEL]" */
static qd_experiment *configure(qd_context *ctx, const char *line)
{
    char seed[32], size[16], batch[16], epochs[16], models[64], list[128], *data = fixture_path("pixels");
    int drop_last, used = 0;
    cr_assert_eq(sscanf(line, "run %31s %15s %15s %d %15s %63s", seed, size, batch, &drop_last, epochs, models), 6,
                 "%s", line);
    used = snprintf(list, sizeof list, "[");
    char *save = NULL;
    for (char *name = strtok_r(models, ",", &save); name; name = strtok_r(NULL, ",", &save))
        used += snprintf(list + used, sizeof list - (size_t)used, "%s\"%s\"", used > 1 ? "," : "", name);
    snprintf(list + used, sizeof list - (size_t)used, "]");
    qd_experiment *experiment = NULL;
    TEST_OK(ctx, qd_experiment_create(ctx, &experiment));
    set(ctx, experiment, "data_dir", data);
    set(ctx, experiment, "seed", seed);
    set(ctx, experiment, "image_size", size);
    set(ctx, experiment, "batch_size", batch);
    set(ctx, experiment, "drop_last", drop_last ? "true" : "false");
    set(ctx, experiment, "num_epochs", epochs);
    set(ctx, experiment, "models", list);
    free(data);
    return experiment;
}

static void expect_digest(const qd_safetensors *file, long ordinal, const char *part, const char *expected)
{
    char name[64], found[65];
    snprintf(name, sizeof name, "batch_%ld.%s", ordinal, part);
    const qd_tensor *tensor = fixture_tensor(file, name);
    qd_sha256 hash;
    qd_sha256_init(&hash);
    qd_sha256_update(&hash, tensor->data, (size_t)qd_tensor_count(tensor) * qd_dtype_size(tensor->dtype));
    qd_sha256_finish(&hash, found);
    found[DIGEST_DIGITS] = '\0';
    cr_expect_str_eq(found, expected, "%s", name);
}

Test(batches, order_bytes_and_floats_are_pytorchs)
{
    qd_context *ctx = test_context_create(2);
    char *text = fixture_read("runs/batches.txt", NULL), *save = NULL, *folder = test_folder_create();
    char *path = test_folder_path(folder, "batches.safetensors");
    qd_experiment *experiment = NULL;
    qd_safetensors *file = NULL;
    qd_batches_summary summary = {0};
    int64_t seen = 0, ones = 0, total = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char model[32], digests[3][32];
        long number, count;
        if (strncmp(line, "run ", 4) == 0) {
            qd_experiment_destroy(experiment);
            experiment = configure(ctx, line);
        } else if (sscanf(line, "epoch %31s %ld", model, &number) == 2) {
            cr_expect_eq(seen, summary.batches);
            qd_safetensors_close(file);
            const qd_batches_request request = {.model = model, .epoch = number, .count = ALL_BATCHES, .path = path};
            TEST_OK(ctx, qd_batches_write(experiment, &request, &summary));
            TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
            seen = 0;
        } else {
            cr_assert_eq(
                sscanf(line, "batch %ld %ld %31s %31s %31s", &number, &count, digests[0], digests[1], digests[2]), 5,
                "%s", line);
            static const char *const parts[3] = {"indices", "bytes", "images"};
            for (int i = 0; i < 3; i++)
                expect_digest(file, number, parts[i], digests[i]);
            seen++;
            ones += count == 1;
            total++;
        }
    }
    cr_expect_eq(seen, summary.batches);
    cr_expect_geq(ones, 3);
    cr_expect_gt(total, 30, "the fixture is cut short");
    qd_safetensors_close(file);
    qd_experiment_destroy(experiment);
    test_folder_remove(folder);
    free(path);
    free(text);
    qd_context_destroy(ctx);
}

/* A part of an epoch is a part of the file of the whole epoch. */
Test(batches, the_middle_of_an_epoch_is_what_the_whole_epoch_has_there)
{
    qd_context *ctx = test_context_create(2);
    char *folder = test_folder_create();
    char *paths[2] = {test_folder_path(folder, "whole"), test_folder_path(folder, "part")};
    qd_experiment *experiment = configure(ctx, "run 11 40 9 0 3 efficientnet_b0");
    qd_safetensors *files[2];
    qd_batches_summary summary;
    qd_batches_request request = {.model = "efficientnet_b0", .epoch = 3, .count = ALL_BATCHES, .path = paths[0]};
    TEST_OK(ctx, qd_batches_write(experiment, &request, &summary));
    cr_expect_eq(summary.batches, 6);
    cr_expect_eq(summary.images, 49);
    request.first_batch = 3;
    request.count = 2;
    request.path = paths[1];
    TEST_OK(ctx, qd_batches_write(experiment, &request, &summary));
    cr_expect_eq(summary.batches, 2);
    for (int i = 0; i < 2; i++)
        TEST_OK(ctx, qd_safetensors_open(ctx, paths[i], &files[i]));
    cr_expect_eq(qd_safetensors_count(files[1]), 8);
    for (int i = 0; i < qd_safetensors_count(files[1]); i++) {
        const qd_tensor *part = qd_safetensors_get(files[1], i), *whole = fixture_tensor(files[0], part->name);
        cr_expect_eq(qd_tensor_count(part), qd_tensor_count(whole));
        cr_expect_arr_eq(part->data, whole->data, (size_t)qd_tensor_count(part) * qd_dtype_size(part->dtype), "%s",
                         part->name);
    }
    for (int i = 0; i < 2; i++) {
        qd_safetensors_close(files[i]);
        free(paths[i]);
    }
    qd_experiment_destroy(experiment);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

Test(batches, what_is_not_there_is_refused)
{
    qd_context *ctx = test_context_create(1);
    qd_experiment *experiment = configure(ctx, "run 11 40 9 0 3 resnet18");
    qd_batches_summary summary;
    qd_batches_request request = {.model = "resnet18", .epoch = 1, .count = 1, .path = "unused"};
    request.model = "efficientnet_b0";
    TEST_FAILS(ctx, qd_batches_write(experiment, &request, &summary), QD_ERR_USAGE, "no model 'efficientnet_b0'");
    request.model = "resnet18";
    request.epoch = 4;
    TEST_FAILS(ctx, qd_batches_write(experiment, &request, &summary), QD_ERR_USAGE, "epochs 1 to 3, not 4");
    request.epoch = 1;
    request.first_batch = 6;
    TEST_FAILS(ctx, qd_batches_write(experiment, &request, &summary), QD_ERR_USAGE, "batches 0 to 5");
    request.first_batch = 0;
    set(ctx, experiment, "max_steps", "5");
    request.epoch = 2;
    TEST_FAILS(ctx, qd_batches_write(experiment, &request, &summary), QD_ERR_USAGE, "max_steps ends");
    request.epoch = 1;
    request.png_path = "unused";
    request.count = 6;
    set(ctx, experiment, "image_size", "4096");
    TEST_FAILS(ctx, qd_batches_write(experiment, &request, &summary), QD_ERR_USAGE, "ask for fewer batches");
    set(ctx, experiment, "data_dir", "no/such/folder");
    TEST_FAILS(ctx, qd_batches_write(experiment, &request, &summary), QD_ERR_INPUT, "no/such/folder");
    qd_experiment_destroy(experiment);
    qd_context_destroy(ctx);
}
