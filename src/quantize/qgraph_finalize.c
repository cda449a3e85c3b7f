/* From calibrated ranges to scales, integer weights, multipliers and tables: docs/quantization.md sections 1 and 3.
 */
#include "base/error.h"
#include "quantize/qgraph.h"
#include "quantize/qgraph_build.h"
#include <math.h>
#include <string.h>

/* Rows (of codes in memory order) belonging to output channel o: index of its k-th weight. */
static int64_t weight_index(const qd_qconv *conv, int64_t o, int64_t k)
{
    return conv->depthwise ? k * conv->config.out_channels + o : o * conv->filter + k;
}

/* The bias that is quantized; the float network keeps `bias`. */
static float quantized_bias(const qd_qconv *conv, int64_t o)
{
    return conv->bias[o] + conv->bias_correction[o];
}

/* Largest |weight| and |bias| of channels first … end-1. */
static void peaks(const qd_qconv *conv, int64_t first, int64_t end, double *weight, double *bias)
{
    double widest_weight = 0.0, widest_bias = 0.0;

    for (int64_t o = first; o < end; o++) {
        widest_bias = fmax(widest_bias, fabs((double)quantized_bias(conv, o)));
        for (int64_t k = 0; k < conv->filter; k++) {
            double w = fabs((double)conv->weight[weight_index(conv, o, k)]);
            /* No fmax(): gcc 12 for aarch64 fails to compile this loop with it at -O3. */
            widest_weight = w > widest_weight ? w : widest_weight;
        }
    }
    *weight = widest_weight;
    *bias = widest_bias;
}

bool qd_qgraph_has_integer_form(const qd_qgraph *q)
{
    int widest = 0;

    for (int i = 0; i < q->quantizer_count; i++)
        widest = q->quantizers[i].bits > widest && !q->quantizers[i].is_float ? q->quantizers[i].bits : widest;
    for (int i = 0; i < q->conv_count; i++)
        widest = q->convs[i].bits > widest && !q->convs[i].is_float ? q->convs[i].bits : widest;
    return widest <= 8 && !q->scheme.activation_dynamic && !q->scheme.fused_silu;
}

static void choose_weight_scales(qd_qconv *conv, bool integer_bias, float input_scale)
{
    int64_t channels = conv->config.out_channels;
    int64_t group = conv->per_channel ? 1 : channels;
    double largest_code = (1 << (conv->bits - 1)) - 1;

    for (int64_t first = 0; first < channels; first += group) {
        double weight, bias;
        peaks(conv, first, first + group, &weight, &bias);
        if (conv->scale_given) /* exact: a float32 times 15 bits at most */
            weight = (double)conv->scale[first] * largest_code;
        float scale = qd_quant_weight_scale(conv->bits, weight, integer_bias ? bias : 0.0, input_scale);
        for (int64_t o = first; o < first + group; o++)
            conv->scale[o] = scale;
    }
}

/* Weights and biases as the scheme stores them. Codes of more than 8 bits are kept dequantized only. */
static void quantize_conv(qd_qgraph *q, const qd_qstep *step, float input_scale)
{
    qd_qconv *conv = &q->convs[step->conv];
    const float *weight = conv->rounded != NULL ? conv->rounded : conv->weight;
    bool integer_bias = qd_qgraph_has_integer_bias(q, step);

    if (!conv->is_float)
        choose_weight_scales(conv, integer_bias, input_scale);
    for (int64_t o = 0; o < conv->config.out_channels; o++) {
        float scale = conv->scale[o];
        if (integer_bias)
            conv->bias_codes[o] = qd_quant_bias_code(quantized_bias(conv, o), input_scale, scale);
        else
            conv->bias_simulated[o] = quantized_bias(conv, o);
        for (int64_t k = 0; k < conv->filter; k++) {
            int64_t index = weight_index(conv, o, k);
            if (conv->is_float) {
                conv->weight_simulated[index] = conv->weight[index];
                continue;
            }
            int32_t code = qd_quant_weight_code(conv->bits, weight[index], scale);
            if (conv->bits <= 8)
                conv->codes[index] = (int8_t)code;
            else
                conv->weight_simulated[index] = qd_dequantize_value(code, scale, 0);
        }
    }
}

/* What runs need of codes and scales. output_scale 0: logits, whose multiplier is S_x·S_w. */
static void derive_conv(qd_qgraph *q, const qd_qstep *step, float input_scale, float output_scale)
{
    qd_qconv *conv = &q->convs[step->conv];
    bool integer_bias = qd_qgraph_has_integer_bias(q, step);
    bool coded = !conv->is_float && conv->bits <= 8;

    for (int64_t o = 0; o < conv->config.out_channels; o++) {
        float scale = conv->scale[o];
        if (integer_bias && conv->bias_simulated != NULL)
            conv->bias_simulated[o] = (float)((double)input_scale * (double)scale * conv->bias_codes[o]);
        conv->multiplier[o] = qd_quant_multiplier(input_scale, scale, output_scale > 0.0f ? output_scale : 1.0f);
        for (int64_t k = 0; coded && conv->weight_simulated != NULL && k < conv->filter; k++) {
            int64_t index = weight_index(conv, o, k);
            conv->weight_simulated[index] = qd_dequantize_value(conv->codes[index], scale, 0);
        }
    }
}

/* The functions of one code. */
static double activation_value(enum qd_activation kind, double x)
{
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return fmax(x, 0.0);
    case QD_ACTIVATION_RELU6:
        return fmin(fmax(x, 0.0), 6.0);
    case QD_ACTIVATION_HARDSWISH:
        return x * fmin(fmax(x + 3.0, 0.0), 6.0) / 6.0;
    case QD_ACTIVATION_SIGMOID:
    case QD_ACTIVATION_SILU: /* its inner tensor */
        return 1.0 / (1.0 + exp(-x));
    case QD_ACTIVATION_NONE:
        break;
    }
    return x;
}

static void fill_table(enum qd_activation kind, const qd_quant_params *in, const qd_quant_params *out,
                       uint8_t table[256])
{
    const qd_code_range *range = &out->range;

    for (int q = -128; q < 128; q++) {
        double x = (double)in->scale * (q - in->range.zero);
        double code = rint(activation_value(kind, x) / out->scale) + range->zero;
        table[q + QD_STORED_OFFSET] = (uint8_t)(fmin(fmax(code, range->low), range->high) + QD_STORED_OFFSET);
    }
}

static void fill_silu_table(qd_qstep *step, const qd_quant_params *in, const qd_quant_params *inner,
                            const qd_quant_params *out)
{
    float multiplier = qd_quant_multiplier(in->scale, inner->scale, out->scale);

    for (int q = -128; q < 128; q++) {
        int32_t sigmoid = step->inner_table[q + QD_STORED_OFFSET] - QD_STORED_OFFSET;
        int32_t product = (q - in->range.zero) * (sigmoid - inner->range.zero);
        step->table[q + QD_STORED_OFFSET] =
            (uint8_t)(qd_requantize_value(product, multiplier, out->range) + QD_STORED_OFFSET);
    }
}

qd_quant_params qd_quantizer_params(const qd_quantizer *quantizer, double min, double max)
{
    return qd_quant_params_of_range(quantizer->bits, quantizer->symmetric, min, max);
}

static const qd_quant_params *params_of(const qd_qgraph *q, int value)
{
    int quantizer = value < 0 ? -1 : q->values[value].quantizer;

    return quantizer < 0 ? NULL : &q->quantizers[quantizer].params;
}

static bool is_float_value(const qd_qgraph *q, int value)
{
    return value >= 0 && q->values[value].quantizer >= 0 && q->quantizers[q->values[value].quantizer].is_float;
}

/* Whether a value is codes of 8 bits at most, with parameters that are known before it runs. */
static bool has_codes(const qd_qgraph *q, int value)
{
    int quantizer = q->values[value].quantizer;

    return quantizer >= 0 && !q->quantizers[quantizer].is_float && q->quantizers[quantizer].bits <= 8 &&
           !q->scheme.activation_dynamic;
}

bool qd_qgraph_has_integer_bias(const qd_qgraph *q, const qd_qstep *step)
{
    return !q->convs[step->conv].is_float && q->convs[step->conv].bits <= 8 && has_codes(q, step->input[0]);
}

void qd_qgraph_mark_float_steps(qd_qgraph *q)
{
    q->mixed = false;
    for (int i = 0; i < q->step_count; i++) {
        qd_qstep *step = &q->steps[i];
        step->in_float = is_float_value(q, step->input[0]) || is_float_value(q, step->input[1]) ||
                         is_float_value(q, step->inner) || is_float_value(q, step->output) ||
                         (step->conv >= 0 && q->convs[step->conv].is_float);
        if (step->conv >= 0)
            q->convs[step->conv].in_float = step->in_float;
        q->mixed = q->mixed || step->in_float;
    }
}

uint8_t *qd_qgraph_function_table(const qd_qgraph *q, qd_qstep *step, int *quantizer)
{
    if (step->in_float || !has_codes(q, step->input[0]))
        return NULL;
    if (step->kind == QD_QSTEP_TABLE && has_codes(q, step->output)) {
        *quantizer = q->values[step->output].quantizer;
        return step->table;
    }
    if (step->kind == QD_QSTEP_SILU && has_codes(q, step->inner)) {
        *quantizer = q->values[step->inner].quantizer;
        return step->inner_table;
    }
    return NULL;
}

/* Codes of weights and biases, and tables of functions: what rounding decides. */
static void quantize_step(qd_qgraph *q, qd_qstep *step)
{
    const qd_quant_params *in = params_of(q, step->input[0]);
    int quantizer = -1;
    uint8_t *table = qd_qgraph_function_table(q, step, &quantizer);

    if (step->kind == QD_QSTEP_CONV)
        quantize_conv(q, step, in->scale);
    if (table != NULL)
        fill_table(step->activation, in, &q->quantizers[quantizer].params, table);
}

static void derive_step(qd_qgraph *q, qd_qstep *step)
{
    const qd_quant_params *a = params_of(q, step->input[0]), *b = params_of(q, step->input[1]);
    const qd_quant_params *out = params_of(q, step->output);
    const qd_dims *in = &q->values[step->input[0]].dims;

    switch (step->kind) {
    case QD_QSTEP_CONV:
        derive_conv(q, step, a->scale, out == NULL ? 0.0f : out->scale);
        if (!step->in_float && qd_qgraph_has_integer_bias(q, step))
            qd_qconv_pack(&q->convs[step->conv], q->int8.layout, a->range.zero);
        break;
    case QD_QSTEP_TABLE:
        break;
    case QD_QSTEP_SILU:
        if (!step->in_float && has_codes(q, step->input[0]) && has_codes(q, step->inner) &&
            has_codes(q, step->output))
            fill_silu_table(step, a, params_of(q, step->inner), out);
        break;
    case QD_QSTEP_ADD:
        step->multiplier[0] = qd_quant_multiplier(a->scale, 1.0f, out->scale);
        step->multiplier[1] = qd_quant_multiplier(b->scale, 1.0f, out->scale);
        break;
    case QD_QSTEP_GATE:
        step->multiplier[0] = qd_quant_multiplier(a->scale, b->scale, out->scale);
        break;
    case QD_QSTEP_MEAN:
        step->multiplier[0] = qd_quant_multiplier(a->scale, 1.0f, out->scale * (float)(in->h * in->w));
        break;
    case QD_QSTEP_MAXPOOL:
        break;
    }
}

void qd_qgraph_finalize_step(qd_qgraph *q, qd_qstep *step)
{
    quantize_step(q, step);
    derive_step(q, step);
}

void qd_qgraph_derive(qd_qgraph *q)
{
    for (int i = 0; i < q->step_count; i++)
        derive_step(q, &q->steps[i]);
    q->finalized = true;
}

/* −L below which SiLU stays within `tolerance` of 0: L / (1 + e^L) = tolerance beyond SiLU's minimum at −1.278. */
static double silu_tail(double tolerance)
{
    double low = 1.2784645427610738, high = 128.0;

    for (int i = 0; i < 64; i++) { /* halvings: more than a double has bits */
        double middle = 0.5 * (low + high);
        if (middle / (1.0 + exp(middle)) > tolerance)
            low = middle;
        else
            high = middle;
    }
    return -high;
}

/* What a fused SiLU reads ends where its result is within a quarter of an output code of 0. */
static void narrow_silu_inputs(qd_qgraph *q)
{
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        qd_quantizer *from = &q->quantizers[q->values[step->input[0]].quantizer];
        if (step->kind != QD_QSTEP_SILU || !from->feeds_silu || from->is_float)
            continue;
        const qd_quant_params *out = params_of(q, step->output);
        from->params = qd_quantizer_params(from, fmax(from->min, silu_tail((double)out->scale / 4.0)), from->max);
    }
}

void qd_qgraph_simulate_weights(qd_qgraph *q)
{
    for (int i = 0; i < q->quantizer_count; i++) {
        qd_quantizer *quantizer = &q->quantizers[i];
        const bool seen = !quantizer->is_float && quantizer->min <= quantizer->max;
        quantizer->params = qd_quantizer_params(quantizer, seen ? quantizer->min : 0.0, seen ? quantizer->max : 0.0);
    }
    qd_qgraph_mark_float_steps(q);
#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        if (step->kind != QD_QSTEP_CONV)
            continue;
        const float input_scale = params_of(q, step->input[0])->scale;
        quantize_conv(q, step, input_scale);
        derive_conv(q, step, input_scale, 0.0f);
    }
}

enum qd_status qd_qgraph_finalize(qd_qgraph *qgraph)
{
    if (qgraph->restored)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                       "quantize: a network read from a quantized model file has no float weights to quantize again");
    for (int i = 0; i < qgraph->quantizer_count; i++) {
        qd_quantizer *quantizer = &qgraph->quantizers[i];
        quantizer->signal = quantizer->noise_rounding = quantizer->noise_accumulated = 0.0;
        quantizer->measured = false; /* with other parameters */
        if (quantizer->is_float || qgraph->scheme.activation_dynamic) {
            quantizer->params = (qd_quant_params){.scale = 1.0f}; /* not used */
            continue;
        }
        if (quantizer->min > quantizer->max)
            return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                           "quantize: tensor '%s' has no range; calibrate with at least one image first",
                           quantizer->name);
        quantizer->params = qd_quantizer_params(quantizer, quantizer->min, quantizer->max);
    }
    if (!qgraph->scheme.activation_dynamic)
        narrow_silu_inputs(qgraph);
    qd_qgraph_mark_float_steps(qgraph);
    for (int i = 0; i < qgraph->step_count; i++)
        quantize_step(qgraph, &qgraph->steps[i]);
    qd_qgraph_derive(qgraph);
    return QD_OK;
}
