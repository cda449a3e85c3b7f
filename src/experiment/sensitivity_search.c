/*
 * The fewest layers to leave in float32. No order is sure to be the best one, so several are tried: of each, the
 * shortest beginning that keeps the limit is looked for by doubling and halving; then layers that are not needed
 * after all leave the shortest one.
 */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/sensitivity_impl.h"
#include <quantdrift/evaluation.h>
#include <stdlib.h>
#include <string.h>

/* More than doubling, halving and leaving out can take: log2 of the layers twice a ranking, and each layer once. */
#define TRIALS_PER_RANKING 64

enum ranking { BY_ACCURACY, BY_KL, BY_MSE, BY_GAIN, RANKING_COUNT };

static const char *const ranking_names[RANKING_COUNT] = {"accuracy", "kl", "mse", "gain"};

typedef struct search {
    const qd_sensitivity_stage *stage;
    int *order, *best; /* [layers] */
    int best_count;    /* -1: none keeps the limit yet */
    const char *best_ranking;
    qd_sensitivity_score score; /* of the last trial */
} search;

/* Runs the integer network with these layers in float32; its predictions stay in the stage. */
static enum qd_status run_kept(search *s, const int *layers, int count)
{
    const qd_sensitivity_stage *stage = s->stage;
    qd_qgraph *qgraph = stage->out->memory->qgraph;
    qd_qgraph_mark_part(qgraph, QD_FLOAT_NOTHING);
    for (int i = 0; i < count; i++)
        qd_quant_layer_mark(qgraph, &stage->out->memory->layers[layers[i]], true);
    QD_TRY(qd_qgraph_finalize(qgraph));
    QD_TRY(qd_qgraph_run_integer(qgraph, stage->images, stage->count, stage->logits));
    s->score = qd_sensitivity_score_all(stage);
    return QD_OK;
}

/* Whether the first `count` layers of the order are enough; noted as a trial. */
static enum qd_status try_first(search *s, enum ranking ranking, int count, bool *enough)
{
    qd_sensitivity *out = s->stage->out;
    QD_TRY(run_kept(s, s->order, count));
    out->trials[out->trial_count++] = (qd_sensitivity_trial){ranking_names[ranking], count, s->score.drop};
    *enough = s->score.drop <= s->stage->options->max_drop;
    if (*enough && (s->best_count < 0 || count < s->best_count)) {
        memcpy(s->best, s->order, (size_t)count * sizeof *s->best);
        s->best_count = count;
        s->best_ranking = ranking_names[ranking];
    }
    qd_sensitivity_tell(s->stage, "fewest float layers", ranking, RANKING_COUNT);
    return QD_OK;
}

/* How early a layer comes in an order; of `without`, the less it leaves, the earlier. */
static double harm(const qd_sensitivity_layer *layer, enum ranking ranking)
{
    switch (ranking) {
    case BY_ACCURACY:
        return -layer->rank_accuracy;
    case BY_KL:
        return -layer->rank_kl;
    case BY_MSE:
        return -layer->rank_mse;
    case BY_GAIN:
    case RANKING_COUNT:
        break;
    }
    return -layer->without.kl;
}

/* Sorts by insertion; of equal layers the earlier one first. */
static void sort_layers(search *s, enum ranking ranking)
{
    const qd_sensitivity *out = s->stage->out;
    for (int i = 0; i < out->layer_count; i++) {
        int at = i;
        for (; at > 0 && harm(&out->layers[s->order[at - 1]], ranking) < harm(&out->layers[i], ranking); at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

/* Looks for a beginning of this order that is shorter than the best one so far. */
static enum qd_status search_ranking(search *s, enum ranking ranking)
{
    const int most = s->best_count < 0 ? s->stage->out->layer_count : s->best_count - 1;
    int fails = 0, holds = 1; /* beginnings of these lengths */
    bool enough = false;
    sort_layers(s, ranking);
    while (holds <= most) {
        QD_TRY(try_first(s, ranking, holds, &enough));
        if (enough || holds == most)
            break;
        fails = holds;
        holds = 2 * holds < most ? 2 * holds : most;
    }
    while (enough && holds - fails > 1) {
        bool middle_holds;
        const int middle = fails + (holds - fails) / 2;
        QD_TRY(try_first(s, ranking, middle, &middle_holds));
        if (middle_holds)
            holds = middle;
        else
            fails = middle;
    }
    return QD_OK;
}

/* Leaves out what is not needed, the least harmful first. */
static enum qd_status thin_out(search *s)
{
    for (int i = s->best_count - 1; i >= 0; i--) {
        int count = 0;
        for (int k = 0; k < s->best_count; k++)
            if (k != i)
                s->order[count++] = s->best[k];
        QD_TRY(run_kept(s, s->order, count));
        if (s->score.drop > s->stage->options->max_drop)
            continue;
        memcpy(s->best, s->order, (size_t)count * sizeof *s->best);
        s->best_count = count;
    }
    return QD_OK;
}

static enum qd_status find_best(search *s)
{
    qd_sensitivity *out = s->stage->out;
    if (out->int8.drop <= s->stage->options->max_drop) {
        s->best_count = 0;
        s->best_ranking = ranking_names[BY_ACCURACY];
        return QD_OK;
    }
    for (int r = 0; r < RANKING_COUNT; r++)
        QD_TRY(search_ranking(s, (enum ranking)r));
    out->reached = s->best_count >= 0;
    if (out->reached)
        return thin_out(s);
    /* Everything in float32 does not keep it either: nothing better can be offered. */
    s->best_count = out->layer_count;
    s->best_ranking = ranking_names[BY_ACCURACY];
    sort_layers(s, BY_ACCURACY);
    memcpy(s->best, s->order, (size_t)out->layer_count * sizeof *s->best);
    return QD_OK;
}

enum qd_status qd_sensitivity_search(const qd_sensitivity_stage *stage)
{
    qd_sensitivity *out = stage->out;
    enum qd_status status = QD_OK;
    const size_t layers = (size_t)out->layer_count;
    search s = {.stage = stage,
                .order = qd_calloc(layers, sizeof *s.order),
                .best = qd_calloc(layers, sizeof *s.best),
                .best_count = -1};
    out->trials = qd_calloc((size_t)RANKING_COUNT * TRIALS_PER_RANKING, sizeof *out->trials);
    if (!s.order || !s.best || !out->trials) {
        status = qd_fail(stage->network->ctx, QD_ERR_MEMORY, "sensitivity of %s: out of memory",
                         stage->network->model->display_name);
        goto fail;
    }
    out->reached = true;
    QD_TRY_GOTO(find_best(&s));
    QD_TRY_GOTO(run_kept(&s, s.best, s.best_count));
    const qd_comparison interval =
        qd_comparison_compute(stage->labels, stage->float_predicted, stage->predicted, NULL, stage->count);
    out->kept = s.best;
    s.best = NULL;
    out->kept_count = s.best_count;
    out->kept_score = s.score;
    out->kept_low = interval.low;
    out->kept_high = interval.high;
    out->ranking = s.best_ranking;
    qd_sensitivity_tell(stage, "fewest float layers", RANKING_COUNT, RANKING_COUNT);
fail:
    free(s.order);
    free(s.best);
    return status;
}
