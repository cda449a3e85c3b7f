/* Planned memory against what the machine has, before anything is trained. */
#include "base/cpu.h"
#include "base/error.h"
#include "experiment/data_parallel.h"
#include "experiment/run.h"
#include "quantize/qat.h"
#include <stdlib.h>
#include <string.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

/* Everything that one model needs at a time, in bytes. */
static enum qd_status model_bytes(qd_run *run, const qd_model_info *model, double *out)
{
    const qd_config *config = run->config;
    const qd_model_config model_config = qd_run_model_config(run);
    qd_graph *graph = NULL;
    enum qd_status status = QD_OK;
    const qd_quant_recipe *recipe = &config->quantization.recipe;
    size_t training, inference, observing, quantized = 0, aware = 0;
    QD_TRY(qd_model_build(run->ctx, model, &model_config, &graph));
    QD_TRY_GOTO(qd_plan_bytes(run->ctx, graph, QD_F32, &QD_PLAN_TRAINING(qd_run_batch_part(run)), &training));
    QD_TRY_GOTO(qd_plan_bytes(run->ctx, graph, QD_F32, &QD_PLAN_INFERENCE(config->batch_size), &inference));
    QD_TRY_GOTO(qd_plan_bytes(run->ctx, graph, QD_F32, &QD_PLAN_OBSERVING(config->batch_size), &observing));
    if (config->quantization.enabled || config->qat.num_epochs > 0)
        QD_TRY_GOTO(qd_qgraph_bytes(run->ctx, graph, &recipe->scheme,
                                    qd_recipe_max_batch(recipe, qd_quantize_batch(config)), &quantized));
    if (config->qat.num_epochs > 0)
        QD_TRY_GOTO(qd_qat_bytes(run->ctx, graph, recipe, config->batch_size, &aware));
    const qd_loader_config train_loader = qd_run_loader_config(run, graph, true);
    const qd_loader_config val_loader = qd_run_loader_config(run, graph, false);
    double weights = (double)graph->param_elements * sizeof(float),
           buffers = (double)graph->buffer_elements * sizeof(float);
    /* One after the other at a logged epoch. */
    double logging = (double)(observing > quantized ? observing : quantized);
    const double first = 3.0 * weights + (double)training + logging;
    const double second = aware > 0 ? weights + (double)aware + (double)quantized : 0.0; /* for quantization */
    *out = (first > second ? first : second) + buffers + (double)inference + (double)qd_loader_bytes(&train_loader) +
           (double)qd_loader_bytes(&val_loader);
fail:
    qd_graph_destroy(graph);
    return status;
}

enum qd_status qd_run_planned_bytes(qd_run *run, double *bytes, const qd_model_info **largest)
{
    const qd_config *config = run->config;
    double planned = 0.0;
    *largest = config->models[0];
    for (int i = 0; i < config->model_count; i++) {
        double of_model;
        QD_TRY(model_bytes(run, config->models[i], &of_model));
        if (of_model > planned) {
            planned = of_model;
            *largest = config->models[i];
        }
    }
    /* The two batches that activation logs are taken on. */
    *bytes =
        planned + 2.0 * (double)(config->batch_size * config->image_size * config->image_size * 3) * sizeof(float);
    return QD_OK;
}

enum qd_status qd_run_check_memory(qd_run *run)
{
    const qd_config *config = run->config;
    const qd_model_info *model = NULL;
    double planned, available = qd_available_bytes();
    QD_TRY(qd_run_planned_bytes(run, &planned, &model));
    const char *largest = model->display_name;
    qd_log(run->ctx, QD_LOG_INFO, "memory: %.2f GiB planned (%s, batch %lld, %lld px), %.2f GiB available",
           planned / GIB, largest, (long long)config->batch_size, (long long)config->image_size, available / GIB);
    if (available > 0.0 && planned > available)
        return qd_fail(
            run->ctx, QD_ERR_MEMORY,
            "training %s at batch_size %lld and image_size %lld needs %.2f GiB, and %.2f GiB are available; "
            "choose a smaller batch_size or image_size%s",
            largest, (long long)config->batch_size, (long long)config->image_size, planned / GIB, available / GIB,
            config->cache_images ? ", or set cache_images to false" : "");
    return QD_OK;
}
