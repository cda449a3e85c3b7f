/* The study of fresh blocks, draw by draw as its PyTorch script makes them. */
#include <quantdrift/init_study.h>

#include "base/arena.h"
#include "base/error.h"
#include "experiment/module_reports.h"
#include "models/block_stacks.h"
#include "models/parts.h"
#include <stdlib.h>

struct qd_init_study {
    qd_graph *graphs[QD_BLOCK_STACK_COUNT]; /* own the names */
    qd_module_report *reports[QD_BLOCK_STACK_COUNT];
    qd_init_study_stack stacks[QD_BLOCK_STACK_COUNT];
};

/* torch.rand(1, channels, size, size): drawn channel by channel, while memory is n, h, w, c. */
static enum qd_status draw_input(qd_context *ctx, const qd_dims *dims, qd_rng *rng, float *x)
{
    float *drawn = qd_calloc((size_t)qd_dims_count(dims), sizeof *drawn);
    if (!drawn)
        return qd_fail(ctx, QD_ERR_MEMORY, "study of initial values: out of memory");
    qd_rng_fill_uniform_f32(rng, drawn, qd_dims_count(dims), 0.0f, 1.0f);
    const qd_tensor from = qd_tensor_contiguous(QD_F32, 4, (const int64_t[]){1, dims->c, dims->h, dims->w}, drawn);
    qd_tensor to = qd_tensor_nhwc(QD_F32, 1, dims->c, dims->h, dims->w, x);
    enum qd_status status = qd_tensor_copy(ctx, &to, &from);
    free(drawn);
    return status;
}

/* Fills the study's place `index`. */
static enum qd_status study_stack(qd_context *ctx, const qd_block_stack *stack, uint64_t seed, qd_init_study *study,
                                  int index)
{
    enum qd_status status = QD_OK;
    qd_state *state = NULL;
    qd_plan *plan = NULL;
    float *x = NULL;
    qd_observation observation = {0};
    const qd_plan_config config = {.max_batch = 1, .training = true}; /* unfused: every module's output exists */
    qd_rng rng;
    qd_rng_seed(&rng, seed);
    QD_TRY(stack->build(ctx, &study->graphs[index]));
    const qd_graph *graph = study->graphs[index];
    x = qd_calloc((size_t)qd_dims_count(&graph->input_dims), sizeof *x);
    if (!x) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "study of initial values: out of memory");
        goto fail;
    }
    QD_TRY_GOTO(draw_input(ctx, &graph->input_dims, &rng, x));
    QD_TRY_GOTO(qd_state_create(ctx, graph, QD_F32, false, &state));
    qd_init_all_default(state, &rng);
    QD_TRY_GOTO(qd_plan_create(ctx, graph, state, &config, &plan));
    QD_TRY_GOTO(qd_observe(ctx, graph, plan, x, 1, NULL, &observation));
    QD_TRY_GOTO(qd_module_reports_create(ctx, graph, &observation, &study->reports[index]));
    /* The last completed call is that of the stack itself, which has no name: its output is the last module's. */
    study->stacks[index] = (qd_init_study_stack){.name = stack->name,
                                                 .title = stack->title,
                                                 .modules = study->reports[index],
                                                 .module_count = observation.count - 1};
fail:
    qd_observation_free(&observation);
    qd_plan_destroy(plan);
    qd_state_destroy(state);
    free(x);
    return status;
}

enum qd_status qd_init_study_run(qd_context *ctx, uint64_t seed, qd_init_study **out)
{
    enum qd_status status = QD_OK;
    qd_init_study *study = qd_calloc(1, sizeof *study);
    if (!study)
        return qd_fail(ctx, QD_ERR_MEMORY, "study of initial values: out of memory");
    for (int i = 0; i < QD_BLOCK_STACK_COUNT; i++)
        QD_TRY_GOTO(study_stack(ctx, &qd_block_stacks[i], seed, study, i));
    *out = study;
    return QD_OK;
fail:
    qd_init_study_destroy(study);
    return status;
}

void qd_init_study_destroy(qd_init_study *study)
{
    if (!study)
        return;
    for (int i = 0; i < QD_BLOCK_STACK_COUNT; i++) {
        free(study->reports[i]);
        qd_graph_destroy(study->graphs[i]);
    }
    free(study);
}

const qd_init_study_stack *qd_init_study_get(const qd_init_study *study, int index)
{
    return index >= 0 && index < QD_BLOCK_STACK_COUNT ? &study->stacks[index] : NULL;
}
