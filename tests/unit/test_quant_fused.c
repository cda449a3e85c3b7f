/* The folded network as it is run in float32: what is done at once, and that it is still the same network. */
#include "quantize/fused.h"
#include "support/quant_network.h"
#include <stdlib.h>
#include <string.h>

static qd_qgraph *folded(const quant_network *network, int64_t max_batch)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = NULL;

    TEST_OK(network->ctx, qd_qgraph_create(network->ctx, network->graph, network->state, &scheme, max_batch, &q));
    return q;
}

/* Logits of the way that makes every tensor. */
static float *step_by_step(const quant_network *network, qd_qgraph *q)
{
    float *logits = calloc((size_t)(network->n * quant_network_classes(network)), sizeof *logits);

    TEST_OK(network->ctx, qd_qgraph_prepare(q, QD_QMODE_FLOAT));
    qd_qgraph_load(q, QD_QMODE_FLOAT, network->images, network->n);
    for (int i = 0; i < q->step_count; i++)
        TEST_OK(network->ctx, qd_qgraph_step(q, QD_QMODE_FLOAT, &q->steps[i], network->n, false));
    qd_qgraph_result(q, QD_QMODE_FLOAT, network->n, logits);
    return logits;
}

/* As many ops as convolutions, linear layers and what stands between them: nothing else is left. */
static const struct {
    const char *name;
    int ops, gates, sums, means;
} networks[] = {
    {"resnet18", 23, 0, 8, 0},          /* 20 convolutions, max-pool, mean, linear layer */
    {"efficientnet_b0", 83, 16, 9, 16}, /* 16 blocks with two squeeze-excite layers, 15 of which expand */
};

Test(quant_fused, absorbs_what_it_can)
{
    qd_context *ctx = test_context_create(1);
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++) {
        quant_network network = quant_network_create(ctx, networks[i].name, 1);
        qd_qgraph *q = folded(&network, 1);
        int gates = 0, sums = 0, means = 0;
        for (int k = 0; k < q->fused->op_count; k++) {
            const qd_fused_op *op = &q->fused->ops[k];
            cr_assert_neq((int)op->step->kind, QD_QSTEP_ADD);
            cr_assert_neq((int)op->step->kind, QD_QSTEP_GATE);
            gates += op->gate >= 0;
            sums += op->residual >= 0;
            means += op->pooled >= 0;
        }
        cr_assert_eq(q->fused->op_count, networks[i].ops, "%s: %d", networks[i].name, q->fused->op_count);
        cr_assert_eq(gates, networks[i].gates, "%s: %d", networks[i].name, gates);
        cr_assert_eq(sums, networks[i].sums, "%s: %d", networks[i].name, sums);
        cr_assert_eq(means, networks[i].means, "%s: %d", networks[i].name, means);
        /* what is never written takes no memory */
        cr_assert_lt(q->fused->values_bytes, (size_t)q->sample_elements * sizeof(float));
        qd_qgraph_destroy(q);
        quant_network_free(&network);
    }
    qd_context_destroy(ctx);
}

/* Against the way that makes every tensor, and, bit for bit, for other batches of the same plan and other threads. */
static void check_run(const char *name)
{
    enum { N = 5 };
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, name, N);
    const int64_t classes = quant_network_classes(&network), pixels = qd_dims_count(&network.graph->input_dims);
    qd_qgraph *q = folded(&network, N);
    float *expected = step_by_step(&network, q), *logits = calloc((size_t)(N * classes), sizeof *logits),
          *again = calloc((size_t)(N * classes), sizeof *again);

    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, N, logits));
    const double off = quant_largest_difference(expected, logits, N * classes);
    cr_assert_leq(off, 1e-5, "%s: %g of the largest logit", name, off);
    /* OpenBLAS, which multiplies where there are no tile kernels, sums in an order that depends on the rows. */
    for (int64_t i = 0; i < N && q->kernels.own_tiles; i++) {
        TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images + i * pixels, 1, again));
        cr_assert_arr_eq(again, logits + i * classes, (size_t)classes * sizeof *again, "%s: image %lld alone", name,
                         (long long)i);
    }
    qd_qgraph_destroy(q);
    for (int threads = 1; threads <= 3; threads += 2) {
        TEST_OK(ctx, qd_context_set_threads(ctx, threads));
        q = folded(&network, N);
        TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, N, again));
        cr_assert_arr_eq(again, logits, (size_t)(N * classes) * sizeof *again, "%s: %d threads", name, threads);
        qd_qgraph_destroy(q);
    }
    free(expected);
    free(logits);
    free(again);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_fused, small_runs_as_step_by_step)
{
    check_run("small");
}

Test(quant_fused, resnet18_runs_as_step_by_step)
{
    check_run("resnet18");
}

Test(quant_fused, efficientnet_b0_runs_as_step_by_step)
{
    check_run("efficientnet_b0");
}
