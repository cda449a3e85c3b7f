/* Quantization-aware training within runs: what it leaves, what it is resumed from, and what it must not touch. */
#include "base/file.h"
#include "experiment/results.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "support/tiny_data.h"
#include <quantdrift/network.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    tiny_data_write(folder);
}

static void tear_down(void)
{
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(qat_run, .init = set_up, .fini = tear_down, .timeout = 1800);

/* An interrupt when the training for quantization comes to this epoch and step. */
typedef struct stop_point {
    int64_t epoch, step;
    volatile int interrupt;
} stop_point;

static void watch(void *user, const qd_progress *progress)
{
    stop_point *stop = user;

    if (strcmp(progress->phase, "qat train") == 0 && progress->epoch == stop->epoch && progress->step == stop->step)
        stop->interrupt = 1;
}

static qd_experiment *experiment_in(const char *out, int qat_epochs)
{
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, out);

    tiny_experiment_set(ctx, experiment, "models=resnet18");
    tiny_experiment_set(ctx, experiment, "qat.num_epochs=%d", qat_epochs);
    return experiment;
}

static void run(const char *out, int qat_epochs, bool resume)
{
    qd_experiment *experiment = experiment_in(out, qat_epochs);

    TEST_OK(ctx, qd_experiment_run(experiment, &(qd_run_options){.resume = resume}));
    qd_experiment_destroy(experiment);
}

static char *path_in(const char *out, const char *name)
{
    char relative[256];

    snprintf(relative, sizeof relative, "%s/%s", out, name);
    return test_folder_path(folder, relative);
}

static qd_results read_results(const char *out)
{
    qd_results results;
    char *path = path_in(out, "resnet18_results.json");

    TEST_OK(ctx, qd_results_read(ctx, path, qd_model_find("resnet18"), &results));
    free(path);
    return results;
}

static void expect_same_file(const char *a, const char *b, const char *name)
{
    char *path_a = path_in(a, name), *path_b = path_in(b, name), hash_a[65], hash_b[65];

    TEST_OK(ctx, qd_file_sha256(ctx, path_a, hash_a));
    TEST_OK(ctx, qd_file_sha256(ctx, path_b, hash_b));
    cr_assert_str_eq(hash_a, hash_b, "%s of '%s' and '%s' differ", name, a, b);
    free(path_a);
    free(path_b);
}

static void expect_same_outcome(const char *a, const char *b)
{
    qd_results first = read_results(a), second = read_results(b);

    expect_same_file(a, b, "checkpoints/resnet18_qat.safetensors");
    expect_same_file(a, b, "checkpoints/resnet18_last.safetensors");
    expect_same_file(a, b, "resnet18_qat_encodings.json");
    cr_assert_not_null(first.qat.settings);
    cr_assert_str_eq(first.qat.settings, second.qat.settings);
    cr_assert_str_eq(first.qat.source_sha256, second.qat.source_sha256);
    cr_assert_eq(first.qat.history_count, second.qat.history_count);
    cr_assert_arr_eq(first.qat.history, second.qat.history,
                     (size_t)first.qat.history_count * sizeof *first.qat.history);
    cr_assert_eq(first.qat.int8_loss, second.qat.int8_loss);
    qd_results_free(&first);
    qd_results_free(&second);
}

/* Interrupted in its second epoch, on another number of threads, or added to a run that was complete without. */
Test(qat_run, resumed_and_added_equal_done_at_once)
{
    stop_point stop = {.epoch = 2, .step = 2};
    qd_experiment *experiment = experiment_in("interrupted", 2);

    run("once", 2, false);
    tiny_experiment_set(ctx, experiment, "threads=2");
    TEST_FAILS(ctx,
               qd_experiment_run(experiment,
                                 &(qd_run_options){.progress = watch, .user = &stop, .interrupt = &stop.interrupt}),
               QD_ERR_INTERRUPTED, "--resume");
    TEST_OK(ctx, qd_experiment_run(experiment, &(qd_run_options){.resume = true}));
    qd_experiment_destroy(experiment);
    expect_same_outcome("once", "interrupted");

    run("added", 0, false);
    qd_results without = read_results("added");
    cr_assert_null(without.qat.settings);
    qd_results_free(&without);
    run("added", 2, true);
    expect_same_outcome("once", "added");
}

/* The accuracy of the results is that of the checkpoint and encodings given to the quantizer by hand. */
Test(qat_run, leaves_a_checkpoint_and_encodings_that_others_take)
{
    qd_network *network = NULL, *quantized = NULL, *read = NULL;
    qd_dataset *validation = NULL;
    qd_evaluation evaluation;

    run("out", 1, false);
    qd_results results = read_results("out");
    char *checkpoint = path_in("out", "checkpoints/resnet18_qat.safetensors");
    char *encodings = path_in("out", "resnet18_qat_encodings.json"), *file = path_in("out", "int8.safetensors");
    char *images = test_folder_path(folder, "data/val");
    const qd_quantize_options options = {.encodings = encodings};
    TEST_OK(ctx, qd_network_load(ctx, &(qd_network_config){.checkpoint = checkpoint}, &network));
    TEST_OK(ctx, qd_network_quantize(network, &options, &quantized));
    TEST_OK(ctx, qd_network_save(quantized, file));
    TEST_OK(ctx, qd_network_load(ctx, &(qd_network_config){.checkpoint = file}, &read));
    TEST_OK(ctx, qd_dataset_open(ctx, images, QD_BAD_IMAGE_ERROR, &validation));
    TEST_OK(ctx, qd_network_evaluate(read, validation, NULL, &evaluation));
    cr_assert_eq(evaluation.count, results.qat.eval_images);
    cr_assert_float_eq(evaluation.accuracy_percent, results.qat.int8_accuracy, 1e-9);
    cr_assert_float_eq(evaluation.loss, results.qat.int8_loss, 1e-6 * results.qat.int8_loss);
    qd_dataset_destroy(validation);
    qd_network_destroy(network);
    qd_network_destroy(quantized);
    qd_network_destroy(read);
    qd_results_free(&results);
    free(checkpoint);
    free(encodings);
    free(file);
    free(images);
}

/* From a folder of another run, without a training of its own. */
Test(qat_run, begins_with_any_checkpoint_of_the_network)
{
    char *checkpoints = path_in("first", "checkpoints");
    qd_experiment *experiment = experiment_in("second", 1);

    run("first", 0, false);
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    tiny_experiment_set(ctx, experiment, "qat.from=%s/nowhere.safetensors", checkpoints);
    TEST_FAILS(ctx, qd_experiment_run(experiment, NULL), QD_ERR_INPUT, "nowhere.safetensors");
    tiny_experiment_set(ctx, experiment, "qat.from=%s", checkpoints);
    TEST_OK(ctx, qd_experiment_run(experiment, &(qd_run_options){.resume = true}));
    qd_experiment_destroy(experiment);
    qd_results first = read_results("first"), second = read_results("second");
    cr_assert_eq(second.qat.float_loss, first.quantized[first.quantized_count - 1].float_loss);
    cr_assert_eq(second.qat.static_int8_loss, first.quantized[first.quantized_count - 1].int8_loss);
    qd_results_free(&first);
    qd_results_free(&second);
    free(checkpoints);
}

/* Steps of the training for quantization, the first of them, and batches evaluated in INT8; an interrupt in the
 * second epoch where wanted. */
typedef struct step_count {
    int64_t steps, first_epoch, evaluated;
    bool interrupts;
    volatile int interrupt;
} step_count;

static void count_steps(void *user, const qd_progress *progress)
{
    step_count *count = user;

    count->evaluated += strcmp(progress->phase, "int8") == 0;
    if (strcmp(progress->phase, "qat train") != 0)
        return;
    if (count->steps++ == 0)
        count->first_epoch = progress->epoch;
    count->interrupt = count->interrupts && progress->epoch == 2 && progress->step == 2;
}

/* Two epochs from a file, with no training before; runs begin or go on. */
static step_count run_from(const char *out, const char *file, bool interrupts)
{
    step_count count = {.interrupts = interrupts};
    qd_experiment *experiment = experiment_in(out, 2);

    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    tiny_experiment_set(ctx, experiment, "quantization.enabled=false");
    tiny_experiment_set(ctx, experiment, "qat.from=%s", file);
    const enum qd_status status = qd_experiment_run(
        experiment,
        &(qd_run_options){.resume = true, .progress = count_steps, .user = &count, .interrupt = &count.interrupt});
    cr_assert_eq(status, interrupts ? QD_ERR_INTERRUPTED : QD_OK, "%s", qd_context_error(ctx));
    qd_experiment_destroy(experiment);
    return count;
}

/* Its bytes are what counts: half-trained goes on, trained stays, and another network begins anew. */
Test(qat_run, the_checkpoint_it_begins_with_may_move)
{
    run("first", 0, false);
    char *last = path_in("first", "checkpoints/resnet18_last.safetensors");
    char *other = path_in("first", "checkpoints/resnet18_epoch_0.safetensors");
    char *moved = test_folder_path(folder, "moved.safetensors"),
         *again = test_folder_path(folder, "again.safetensors");
    /* 11 images in batches of 4, twice: two steps of the second epoch are done, and one is left. */
    const step_count begun = run_from("out", last, true);
    cr_assert(begun.first_epoch == 1 && begun.steps == 5, "%lld steps", (long long)begun.steps);
    cr_assert_eq(rename(last, moved), 0);
    const step_count rest = run_from("out", moved, false);
    cr_assert(rest.first_epoch == 2 && rest.steps == 1 && rest.evaluated > 0, "%lld steps, the first in epoch %lld",
              (long long)rest.steps, (long long)rest.first_epoch);
    cr_assert_eq(rename(moved, again), 0);
    const step_count none = run_from("out", again, false);
    cr_assert(none.steps == 0 && none.evaluated == 0);
    cr_assert_eq(run_from("out", other, true).steps, 5);
    free(last);
    free(other);
    free(moved);
    free(again);
}
