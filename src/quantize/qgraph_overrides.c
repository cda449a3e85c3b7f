/* What differs from the scheme: bits and symmetry of single tensors and weights, and what stays float. */
#include "base/error.h"
#include "quantize/qgraph.h"
#include <string.h>

static enum qd_status check_bits(const qd_qgraph *q, const char *name, int bits)
{
    if (bits == 0 || (bits >= 2 && bits <= 16))
        return QD_OK;
    return qd_fail(q->ctx, QD_ERR_USAGE, "override '%s': expected 2 to 16 bits, or 0 for the scheme's, got %d", name,
                   bits);
}

enum qd_status qd_qgraph_override_tensor(qd_qgraph *qgraph, const qd_tensor_override *override)
{
    QD_TRY(check_bits(qgraph, override->name, override->bits));
    for (int i = 0; i < qgraph->quantizer_count; i++) {
        qd_quantizer *quantizer = &qgraph->quantizers[i];
        if (strcmp(quantizer->name, override->name) != 0)
            continue;
        if (override->bits != 0)
            quantizer->bits = override->bits;
        if (override->symmetric != QD_AS_SCHEME)
            quantizer->symmetric = override->symmetric != 0;
        quantizer->is_float = override->is_float;
        qgraph->finalized = false;
        return QD_OK;
    }
    return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                   "override '%s': the quantized network has no tensor of this name; tensors are named as in results",
                   override->name);
}

enum qd_status qd_qgraph_override_weight(qd_qgraph *qgraph, const qd_weight_override *override)
{
    QD_TRY(check_bits(qgraph, override->name, override->bits));
    for (int i = 0; i < qgraph->conv_count; i++) {
        qd_qconv *conv = &qgraph->convs[i];
        if (strcmp(conv->name, override->name) != 0)
            continue;
        if (override->bits != 0)
            conv->bits = override->bits;
        if (override->per_channel != QD_AS_SCHEME)
            conv->per_channel = override->per_channel != 0;
        conv->is_float = override->is_float;
        qgraph->finalized = false;
        return QD_OK;
    }
    return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                   "override '%s': the quantized network has no weights of this name; they are named as in a "
                   "checkpoint (\"layer1.0.conv1.weight\")",
                   override->name);
}

/* Whether `name` is the module itself, one of its numbered calls, or lies within it. */
static bool belongs_to(const char *name, const char *module)
{
    size_t length = strlen(module);

    return strncmp(name, module, length) == 0 && (name[length] == '\0' || name[length] == '.' || name[length] == '#');
}

static bool value_belongs_to(const qd_qgraph *q, int value, const char *module)
{
    int quantizer = value < 0 ? -1 : q->values[value].quantizer;

    return quantizer >= 0 && belongs_to(q->quantizers[quantizer].name, module);
}

static void keep_value_float(qd_qgraph *q, int value)
{
    if (value >= 0 && q->values[value].quantizer >= 0)
        q->quantizers[q->values[value].quantizer].is_float = true;
}

enum qd_status qd_qgraph_exclude(qd_qgraph *qgraph, const char *module)
{
    bool found = false;

    if (value_belongs_to(qgraph, qgraph->input, module)) {
        keep_value_float(qgraph, qgraph->input);
        found = true;
    }
    for (int i = 0; i < qgraph->step_count; i++) {
        const qd_qstep *step = &qgraph->steps[i];
        /* A max-pool's tensor is its input's: it stays as it is. */
        if (step->kind == QD_QSTEP_MAXPOOL ||
            !(belongs_to(step->name, module) || value_belongs_to(qgraph, step->output, module)))
            continue;
        keep_value_float(qgraph, step->inner);
        keep_value_float(qgraph, step->output);
        if (step->conv >= 0)
            qgraph->convs[step->conv].is_float = true;
        found = true;
    }
    if (!found)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                       "exclude '%s': the quantized network has no module of this name (a BatchNorm belongs to its "
                       "convolution); names are those of the activation log",
                       module);
    qgraph->finalized = false;
    return QD_OK;
}
