#include "nn/layer.h"

const qd_layer_ops *qd_layer_ops_of(enum qd_layer_kind kind)
{
    static const qd_layer_ops *const table[QD_LAYER_COUNT] = {
#define QD_LAYER_ENTRY(name) [QD_LAYER_##name] = &qd_layer_##name,
        QD_LAYER_LIST(QD_LAYER_ENTRY)
#undef QD_LAYER_ENTRY
    };
    return (unsigned)kind < QD_LAYER_COUNT ? table[kind] : NULL;
}
