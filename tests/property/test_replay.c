/* Replaying a run's draws without training gives the generator states that a real run writes into its checkpoints. */
#include "base/file.h"
#include "experiment/replay.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "support/tiny_data.h"
#include <stdlib.h>

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

TestSuite(replay, .init = set_up, .fini = tear_down, .timeout = 1200);

/* The generator after an epoch of a model, as its checkpoint holds it. */
static qd_rng recorded_state(const char *out, const char *model, int epoch)
{
    char *path = qd_format("%s/%s/checkpoints/%s_epoch_%d.safetensors", folder, out, model, epoch);
    qd_checkpoint_info info = {0};
    TEST_OK(ctx, qd_checkpoint_read_info(ctx, path, &info));
    qd_rng rng = info.rng;
    qd_checkpoint_info_free(&info);
    free(path);
    return rng;
}

/* A run's beginning, as far as a replay needs it. */
static qd_run open_run(const qd_experiment *experiment)
{
    qd_run run = {.ctx = ctx, .config = &experiment->config, .loader_threads = 1};
    TEST_OK(ctx, qd_run_open_split(&run, "train", &run.training));
    TEST_OK(ctx, qd_run_count_classes(&run));
    return run;
}

static void expect_start(const qd_run *run, int model, int epoch, const qd_rng *expected)
{
    qd_rng found;
    TEST_OK(ctx, qd_replay_epoch_start(run, model, epoch, &found));
    cr_expect(qd_rng_equal(&found, expected), "model %d, epoch %d", model, epoch);
}

/* Both models, two epochs, every epoch logged; `setting` may be NULL. */
static qd_experiment *run_experiment(const char *out, const char *setting)
{
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, out);
    tiny_experiment_set(ctx, experiment, "num_epochs=2");
    tiny_experiment_set(ctx, experiment, "log_every=1");
    tiny_experiment_set(ctx, experiment, "seed=4294967303");
    tiny_experiment_set(ctx, experiment, "quantization.enabled=false");
    if (setting)
        tiny_experiment_set(ctx, experiment, "%s", setting);
    TEST_OK(ctx, qd_experiment_run(experiment, NULL));
    return experiment;
}

static void expect_replay_of_both_models(const char *out, const char *setting)
{
    qd_experiment *experiment = run_experiment(out, setting);
    qd_run run = open_run(experiment);
    const char *const models[] = {"resnet18", "efficientnet_b0"};
    for (int m = 0; m < 2; m++)
        for (int epoch = 0; epoch < 2; epoch++) {
            const qd_rng expected = recorded_state(out, models[m], epoch);
            expect_start(&run, m, epoch + 1, &expected);
        }
    qd_dataset_destroy(run.training);
    qd_experiment_destroy(experiment);
}

Test(replay, a_replay_meets_the_run_at_every_epoch)
{
    expect_replay_of_both_models("plain", NULL);
}

Test(replay, dropout_of_the_binary_head_is_counted)
{
    expect_replay_of_both_models("binary", "head=binary");
}

Test(replay, a_dropped_last_batch_draws_nothing)
{
    expect_replay_of_both_models("drop", "drop_last=true");
}

/* Three batches an epoch: four steps end each model in its second epoch, and the second model starts from there. */
Test(replay, the_second_model_starts_where_max_steps_ended_the_first)
{
    expect_replay_of_both_models("steps", "max_steps=4");
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, "none");
    tiny_experiment_set(ctx, experiment, "num_epochs=2");
    tiny_experiment_set(ctx, experiment, "max_steps=2");
    qd_run run = open_run(experiment);
    qd_rng rng;
    TEST_OK(ctx, qd_replay_epoch_start(&run, 0, 1, &rng));
    TEST_FAILS(ctx, qd_replay_epoch_start(&run, 0, 2, &rng), QD_ERR_USAGE, "max_steps");
    TEST_FAILS(ctx, qd_replay_epoch_start(&run, 1, 0, &rng), QD_ERR_USAGE, "not 0");
    qd_dataset_destroy(run.training);
    qd_experiment_destroy(experiment);
}

/* A model that is not trained leaves its construction and one validation pass to the second. */
Test(replay, without_epochs_the_second_model_follows_the_first_ones_construction)
{
    qd_experiment *none = run_experiment("none", "num_epochs=0");
    const qd_rng expected = recorded_state("none", "efficientnet_b0", 0);
    qd_run run = open_run(none);
    qd_rng rng;
    qd_run_seed(&none->config, &rng);
    for (int m = 0; m < 2; m++) {
        const qd_model_info *model = none->config.models[m];
        const qd_model_config config = qd_run_model_config(&run);
        qd_graph *graph = NULL;
        qd_state *state = NULL;
        TEST_OK(ctx, qd_model_build(ctx, model, &config, &graph));
        TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, false, &state));
        model->initialise(&config, state, &rng);
        qd_rng_skip(&rng, QD_RUN_ITERATOR_WORDS);
        qd_state_destroy(state);
        qd_graph_destroy(graph);
    }
    cr_expect(qd_rng_equal(&rng, &expected));
    qd_dataset_destroy(run.training);
    qd_experiment_destroy(none);
}
