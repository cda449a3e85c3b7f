/* A layer without a gradient check must not go unnoticed. */
#include "support/gradcheck.h"

Test(gradcheck, every_layer_has_cases)
{
    for (int kind = 0; kind < QD_LAYER_COUNT; kind++) {
        const qd_layer_ops *ops = qd_layer_ops_of((enum qd_layer_kind)kind);

        cr_assert_not_null(ops, "layer %d is not in the table", kind);
        cr_expect_gt(gradcheck_registered((enum qd_layer_kind)kind), 0,
                     "%s has no cases: add a table with GRADCHECK_CASES(%s, ...) under tests/gradcheck", ops->name,
                     ops->name);
    }
    cr_expect_null(qd_layer_ops_of(QD_LAYER_COUNT));
}

Test(gradcheck, layers_are_called_as_in_the_list)
{
#define EXPECT_NAME(layer) cr_expect_str_eq(qd_layer_ops_of(QD_LAYER_##layer)->name, #layer);
    QD_LAYER_LIST(EXPECT_NAME)
#undef EXPECT_NAME
}
