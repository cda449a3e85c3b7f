/* Runs that must not go on, and what they leave behind. */
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/tiny_data.h"
#include <fcntl.h>
#include <quantdrift/network.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static qd_context *ctx;
static char *folder;
static qd_experiment *experiment;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    tiny_data_write(folder);
    experiment = tiny_experiment_create(ctx, folder, "out");
    /* The model with fewer weights: what these tests take is mostly the writing and hashing of checkpoints. */
    tiny_experiment_set(ctx, experiment, "models=efficientnet_b0");
    tiny_experiment_set(ctx, experiment, "quantization.enabled=false");
}

static void tear_down(void)
{
    qd_experiment_destroy(experiment);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(run_faults, .init = set_up, .fini = tear_down, .timeout = 600);

static void expect_failure(bool resume, enum qd_status status, const char *piece)
{
    const qd_run_options options = {.resume = resume};
    TEST_FAILS(ctx, qd_experiment_run(experiment, &options), status, piece);
}

static void expect_success(bool resume)
{
    const qd_run_options options = {.resume = resume};
    TEST_OK(ctx, qd_experiment_run(experiment, &options));
}

/* The last checkpoint still loads. */
static void expect_intact_checkpoint(void)
{
    char *path = test_folder_path(folder, "out/checkpoints/efficientnet_b0_last.safetensors");
    const qd_network_config config = {.checkpoint = path};
    qd_network *network;
    TEST_OK(ctx, qd_network_load(ctx, &config, &network));
    cr_assert_str_eq(qd_network_model_name(network), "EfficientNet-B0");
    cr_assert_eq(qd_network_class_count(network), 2);
    qd_network_destroy(network);
    free(path);
}

Test(run_faults, a_non_finite_loss_names_epoch_step_and_module)
{
    /* The first step makes weights of 1e30 and more, whose products overflow in the second. */
    tiny_experiment_set(ctx, experiment, "lr=1e30");
    expect_failure(false, QD_ERR_NUMERIC, "epoch 1, step 2");
    cr_assert_not_null(strstr(qd_context_error(ctx), "non-finite value is '"), "%s", qd_context_error(ctx));
    expect_intact_checkpoint();
}

Test(run_faults, a_used_folder_is_refused_without_resume)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    expect_failure(false, QD_ERR_USAGE, "already holds results");
    cr_assert_not_null(strstr(qd_context_error(ctx), "--resume"));
    expect_success(true);
}

Test(run_faults, resuming_refuses_another_configuration_and_names_it)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    tiny_experiment_set(ctx, experiment, "momentum=0.5");
    tiny_experiment_set(ctx, experiment, "quantization.sqnr_images=9");
    expect_failure(true, QD_ERR_USAGE, "another configuration: momentum (was 0.9, is 0.5); set it back");
    tiny_experiment_set(ctx, experiment, "momentum=0.9");
    tiny_experiment_set(ctx, experiment, "quantization.sqnr_images=3");
    /* What decides no number may change, and models may follow. */
    tiny_experiment_set(ctx, experiment, "loader_threads=2");
    tiny_experiment_set(ctx, experiment, "models=[\"efficientnet_b0\", \"resnet18\"]");
    expect_success(true);
    tiny_experiment_set(ctx, experiment, "models=[\"resnet18\"]");
    expect_failure(true, QD_ERR_USAGE, "models (was [\"efficientnet_b0\",\"resnet18\"], is [\"resnet18\"])");
}

Test(run_faults, results_of_any_model_are_in_the_way)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    tiny_experiment_set(ctx, experiment, "models=resnet18");
    expect_failure(false, QD_ERR_USAGE, "already holds results ('");
}

/* Another instruction set rounds differently: the bits would be of no one run. */
Test(run_faults, resuming_with_another_instruction_set_is_refused_with_advice)
{
    const qd_context_config reference = {.threads = 1, .limit_isa = true, .max_isa = QD_ISA_REF};
    qd_context *plain = NULL;
    if (qd_context_isa(ctx) == QD_ISA_REF)
        cr_skip("this processor, or QD_TEST_CPU, leaves one instruction set");
    cr_assert_eq(qd_context_create(&reference, &plain), QD_OK);
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    qd_experiment *other = tiny_experiment_create(plain, folder, "out");
    tiny_experiment_set(plain, other, "models=efficientnet_b0");
    tiny_experiment_set(plain, other, "quantization.enabled=false");
    tiny_experiment_set(plain, other, "num_epochs=0");
    const qd_run_options resume = {.resume = true};
    TEST_OK(plain, qd_experiment_run(other, &resume)); /* nothing is left to do */
    tiny_experiment_set(plain, other, "models=[\"efficientnet_b0\", \"resnet18\"]");
    char advice[64];
    snprintf(advice, sizeof advice, "resume it where '%s' is allowed", qd_isa_name(qd_context_isa(ctx)));
    TEST_FAILS(plain, qd_experiment_run(other, &resume), QD_ERR_USAGE, advice);

    tiny_experiment_set(plain, other, "models=efficientnet_b0");
    tiny_experiment_set(plain, other, "output_dir=%s/plain", folder);
    TEST_OK(plain, qd_experiment_run(other, NULL));
    tiny_experiment_set(ctx, experiment, "output_dir=%s/plain", folder);
    tiny_experiment_set(ctx, experiment, "models=[\"efficientnet_b0\", \"resnet18\"]");
    expect_failure(true, QD_ERR_USAGE, "give --cpu ref, or choose");
    qd_experiment_destroy(other);
    qd_context_destroy(plain);
}

/* A refused attempt leaves the folder as it was: the right one succeeds after it. */
Test(run_faults, resuming_without_the_recorded_configuration)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    char *config = test_folder_path(folder, "out/config.json");
    cr_assert_eq(unlink(config), 0);
    tiny_experiment_set(ctx, experiment, "lr=0.5");
    expect_failure(true, QD_ERR_USAGE, "was written with another configuration");
    cr_assert_neq(access(config, F_OK), 0, "the refused one is not recorded");
    tiny_experiment_set(ctx, experiment, "lr=1e-4");
    expect_success(true);
    free(config);
}

Test(run_faults, results_of_a_complete_run_that_are_gone)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    char *results = test_folder_path(folder, "out/efficientnet_b0_results.json");
    cr_assert_eq(unlink(results), 0);
    expect_failure(true, QD_ERR_INPUT, "efficientnet_b0_results.json' are gone");
    free(results);
}

/* Lines in a pipe cannot be taken back, and a device must not be replaced by a file. */
Test(run_faults, a_step_log_may_be_a_pipe)
{
    char *path = test_folder_path(folder, "steps"), text[4096];
    cr_assert_eq(mkfifo(path, 0600), 0);
    const int reader = open(path, O_RDONLY | O_NONBLOCK);
    cr_assert_geq(reader, 0);
    const qd_run_options options = {.step_log_path = path};
    TEST_OK(ctx, qd_experiment_run(experiment, &options));
    const ssize_t size = read(reader, text, sizeof text - 1);
    cr_assert_gt(size, 0);
    text[size] = '\0';
    int lines = 0;
    for (ssize_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    cr_assert_eq(lines, 3, "11 images in batches of 4: %s", text);
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_assert(S_ISFIFO(info.st_mode), "the pipe is still one");
    close(reader);
    free(path);
}

Test(run_faults, resuming_refuses_other_data_and_names_it)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    tiny_data_change(folder);
    expect_failure(true, QD_ERR_USAGE, "'train' had 11 images and has 12");
}

Test(run_faults, resuming_refuses_a_damaged_checkpoint)
{
    tiny_experiment_set(ctx, experiment, "num_epochs=0");
    expect_success(false);
    char *path = test_folder_path(folder, "out/checkpoints/efficientnet_b0_last.safetensors");
    cr_assert_eq(truncate(path, 100000), 0);
    expect_failure(true, QD_ERR_INPUT, "efficientnet_b0_last.safetensors");
    free(path);
}

Test(run_faults, a_batch_of_one_value_per_channel_is_refused_before_training)
{
    /* 11 images in batches of 5: a last batch of one, and 1x1 maps at 32 pixels. */
    tiny_experiment_set(ctx, experiment, "batch_size=5");
    expect_failure(false, QD_ERR_USAGE, "'features.6.0.block.1.1' would see one value per channel");
    tiny_experiment_set(ctx, experiment, "drop_last=true");
    tiny_experiment_set(ctx, experiment, "max_steps=1");
    expect_success(true);
}

Test(run_faults, drop_last_must_leave_a_batch)
{
    tiny_experiment_set(ctx, experiment, "batch_size=12");
    tiny_experiment_set(ctx, experiment, "drop_last=true");
    expect_failure(false, QD_ERR_USAGE, "set batch_size to 11 or less");
}

Test(run_faults, classes_must_fit)
{
    tiny_experiment_set(ctx, experiment, "num_classes=3");
    expect_failure(false, QD_ERR_INPUT, "has 2 classes, num_classes says 3");
}

Test(run_faults, missing_data_is_named)
{
    tiny_experiment_set(ctx, experiment, "data_dir=%s/nothing", folder);
    expect_failure(false, QD_ERR_INPUT, "nothing/train");
}

Test(run_faults, a_plan_that_does_not_fit_is_refused_with_advice)
{
    tiny_experiment_set(ctx, experiment, "batch_size=65536");
    tiny_experiment_set(ctx, experiment, "image_size=1024");
    expect_failure(false, QD_ERR_MEMORY, "choose a smaller batch_size or image_size");
}

/* ---- a disk that fills up ---- */

static void limit_files(void *user, const qd_progress *progress)
{
    (void)user;
    if (progress->epoch == 1 && strcmp(progress->phase, "train") == 0)
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY});
}

Test(run_faults, a_full_disk_loses_nothing)
{
    signal(SIGXFSZ, SIG_IGN);
    const qd_run_options options = {.progress = limit_files};
    TEST_FAILS(ctx, qd_experiment_run(experiment, &options), QD_ERR_IO, "efficientnet_b0");
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY});
    expect_intact_checkpoint();
    char *path = test_folder_path(folder, "out/checkpoints");
    cr_assert_eq(test_folder_count(path), 3, "something was left behind"); /* epoch_0, best, last */
    free(path);
    expect_success(true);
}
