/* Random decisions of the forward pass, taken from a generator. */
#include "graph/plan.h"

/* A bernoulli_ value is made of a 53-bit double: two words of the generator. */
#define WORDS_PER_DRAW 2

static void draw_from_rng(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    (void)name;
    for (int64_t i = 0; i < count; i++)
        keep[i] = qd_rng_bernoulli(user, p_keep);
}

qd_draws qd_draws_from_rng(qd_rng *rng)
{
    return (qd_draws){.bernoulli = draw_from_rng, .user = rng};
}

static void draw_share(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    const qd_draws_share *share = user;
    const int64_t words_per_sample = WORDS_PER_DRAW * (count / share->n);
    const int64_t behind = share->whole_n - share->first - share->n;
    qd_rng_skip(share->rng, (uint64_t)(share->first * words_per_sample));
    draw_from_rng(share->rng, name, p_keep, count, keep);
    qd_rng_skip(share->rng, (uint64_t)(behind * words_per_sample));
}

qd_draws qd_draws_from_share(qd_draws_share *share)
{
    return (qd_draws){.bernoulli = draw_share, .user = share};
}

int64_t qd_graph_draw_words_per_sample(const qd_graph *graph)
{
    int64_t draws = 0;
    for (int i = 0; i < graph->node_count; i++) {
        const qd_node *node = &graph->nodes[i];
        if (node->ops->draws_per_sample)
            draws += node->ops->draws_per_sample(node->config, &graph->values[node->input[0]].dims);
    }
    return WORDS_PER_DRAW * draws;
}
