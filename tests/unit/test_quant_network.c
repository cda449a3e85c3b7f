/* Quantized networks against the float network and against each other. */
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include "support/slow_build.h"
#include <math.h>
#include <stdlib.h>

static float *run(qd_context *ctx, qd_qgraph *qgraph, enum qd_qmode mode, const float *images, int64_t n,
                  int64_t classes)
{
    float *logits = calloc((size_t)(n * classes), sizeof *logits);

    cr_assert_not_null(logits);
    if (mode == QD_QMODE_INTEGER)
        TEST_OK(ctx, qd_qgraph_run_integer(qgraph, images, n, logits));
    else
        TEST_OK(ctx, qd_qgraph_run_float(qgraph, mode == QD_QMODE_SIMULATED, images, n, logits));
    return logits;
}

/* Required of the project: 1e-5 of the largest logit with quantizers off, 1e-3 with 16 bits. */
static void check_fidelity(const char *name)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, name, 8);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    int64_t classes = quant_network_classes(&network), count = network.n * classes;

    scheme.weight_bits = scheme.activation_bits = 16;
    qd_qgraph *qgraph = quant_network_quantize(&network, &scheme);
    float *expected = quant_network_logits(&network);
    float *folded = run(ctx, qgraph, QD_QMODE_FLOAT, network.images, network.n, classes);
    float *fine = run(ctx, qgraph, QD_QMODE_SIMULATED, network.images, network.n, classes);
    double off = quant_largest_difference(expected, folded, count),
           on = quant_largest_difference(expected, fine, count);
    cr_assert_leq(off, 1e-5, "%s, quantizers off: %g of the largest logit", name, off);
    cr_assert_leq(on, 1e-3, "%s, 16 bits: %g of the largest logit", name, on);
    /* and it is no float network that passes as a quantized one */
    cr_assert_gt(on, 1e-6, "%s: 16-bit quantizers leave no trace (%g)", name, on);
    free(expected);
    free(folded);
    free(fine);
    qd_qgraph_destroy(qgraph);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_network, small_reproduces_float)
{
    check_fidelity("small");
}

Test(quant_network, resnet18_reproduces_float)
{
    SKIP_IF_EMULATED();
    check_fidelity("resnet18");
}

Test(quant_network, efficientnet_b0_reproduces_float)
{
    check_fidelity("efficientnet_b0");
}

Test(quant_network, binary_head_reproduces_float)
{
    SKIP_IF_EMULATED();
    check_fidelity("binary");
}
