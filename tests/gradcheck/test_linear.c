#include "support/test_context.h"
#include "support/gradcheck.h"

#define CASE(label, n_, in_, out_)                                                                                   \
    {                                                                                                                \
        .name = label, .config = &(const qd_linear_config){.in_features = (in_), .out_features = (out_)}, .n = (n_), \
        .training = true, .in = {                                                                                    \
            {.rank = 2, .c = (in_), .h = 1, .w = 1}                                                                  \
        }                                                                                                            \
    }

static const gradcheck_case cases[] = {
    CASE("one sample", 1, 7, 5),
    CASE("a few", 3, 17, 10),
    CASE("one feature", 5, 1, 1),
    CASE("rows in several chunks", 300, 6, 3),
    CASE("gradient in blocks", 2, 512, 330),
};

GRADCHECK_CASES(linear, all, cases)

Test(linear, refuses_what_does_not_fit)
{
    const qd_linear_config config = {.in_features = 512, .out_features = 10};
    qd_context *ctx = test_context_create(1);
    qd_dims narrow = {.rank = 2, .c = 256, .h = 1, .w = 1}, image = {.rank = 4, .c = 512, .h = 1, .w = 1};
    qd_layer_decl decl;

    TEST_FAILS(ctx, qd_layer_linear.infer(ctx, "fc", &config, &narrow, &decl), QD_ERR_SHAPE,
               "linear 'fc': expected 512 input features, got 256");
    TEST_FAILS(ctx, qd_layer_linear.infer(ctx, "fc", &config, &image, &decl), QD_ERR_SHAPE, "rank 2");
    TEST_FAILS(ctx, qd_layer_linear.infer(ctx, "fc", &(qd_linear_config){.in_features = 512}, &narrow, &decl),
               QD_ERR_SHAPE, "at least 1");
    qd_context_destroy(ctx);
}
