#include "experiment/replay.h"
#include "base/error.h"
#include "dataset/epoch_plan.h"

/* Graph and initial values of a model: only the draws count. */
static enum qd_status construct(const qd_run *run, const qd_model_info *model, qd_rng *rng, qd_graph **graph)
{
    const qd_model_config config = qd_run_model_config(run);
    qd_state *state = NULL;
    QD_TRY(qd_model_build(run->ctx, model, &config, graph));
    QD_TRY(qd_state_create(run->ctx, *graph, QD_F32, false, &state));
    model->initialise(&config, state, rng);
    qd_state_destroy(state);
    return QD_OK;
}

/* One model from its construction to the end of epoch `epochs`, or to where max_steps ends it before. *goes_on:
 * another epoch would follow. */
static enum qd_status replay_model(const qd_run *run, const qd_model_info *model, int64_t epochs, qd_rng *rng,
                                   bool *goes_on)
{
    const int64_t max_steps = run->config->max_steps == QD_CONFIG_NULL ? INT64_MAX : run->config->max_steps;
    enum qd_status status = QD_OK;
    qd_graph *graph = NULL;
    qd_epoch_plan plan = {0};
    int64_t epoch = 0, steps = 0;
    QD_TRY_GOTO(construct(run, model, rng, &graph));
    qd_rng_skip(rng, QD_RUN_ITERATOR_WORDS); /* the validation pass of epoch 0 */
    const qd_loader_config loader = qd_run_loader_config(run, graph, true);
    QD_TRY_GOTO(qd_epoch_plan_create(run->ctx, &loader, &plan));
    while (epoch < epochs && !qd_run_is_complete(run->config, epoch, steps)) {
        qd_epoch_plan_start(&plan, rng, 0);
        while (steps < max_steps && qd_epoch_plan_next(&plan, NULL, NULL, NULL) > 0)
            steps++;
        *rng = plan.rng;
        qd_rng_skip(rng, QD_RUN_ITERATOR_WORDS);
        epoch++;
    }
    *goes_on = epoch == epochs && !qd_run_is_complete(run->config, epoch, steps);
fail:
    qd_epoch_plan_destroy(&plan);
    qd_graph_destroy(graph);
    return status;
}

enum qd_status qd_replay_epoch_start(const qd_run *run, int model_index, int64_t epoch, qd_rng *out)
{
    const qd_config *config = run->config;
    const char *name = config->models[model_index]->display_name;
    bool goes_on = false;
    qd_rng rng;
    if (epoch < 1 || epoch > config->num_epochs)
        return qd_fail(run->ctx, QD_ERR_USAGE, "batches of %s: there are epochs 1 to %lld, not %lld", name,
                       (long long)config->num_epochs, (long long)epoch);
    qd_run_seed(config, &rng);
    for (int m = 0; m < model_index; m++)
        QD_TRY(replay_model(run, config->models[m], config->num_epochs, &rng, &goes_on));
    QD_TRY(replay_model(run, config->models[model_index], epoch - 1, &rng, &goes_on));
    if (!goes_on)
        return qd_fail(run->ctx, QD_ERR_USAGE, "batches of %s: max_steps ends the training before epoch %lld", name,
                       (long long)epoch);
    *out = rng;
    return QD_OK;
}
