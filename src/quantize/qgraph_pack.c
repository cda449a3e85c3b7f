/* Integer weights in the forms that kernels read: kernels/int8_pack.h. */
#include "kernels/int8_pack.h"
#include "quantize/qgraph.h"

/* With so few channels a tap is too short a run: a line of the kernel is one. */
#define FEW_CHANNELS 4

qd_qproduct qd_qconv_product(const qd_qconv *conv)
{
    const qd_conv2d_config *config = &conv->config;
    qd_qproduct p = {.groups = config->groups, .columns = config->out_channels / config->groups};

    p.bands = config->groups == 1 && config->in_channels <= FEW_CHANNELS && config->kernel > 1;
    p.taps = p.bands ? config->kernel : config->kernel * config->kernel;
    p.weights = conv->filter / p.taps;
    /* the copy with margins may be read beyond a line: whole groups have the faster kernel */
    p.depth = p.bands ? 4 * qd_u8_tap_groups(p.weights) : p.weights;
    return p;
}

size_t qd_qconv_packed_bytes(const qd_qconv *conv, qd_u8_layout layout)
{
    const qd_qproduct p = qd_qconv_product(conv);
    const int64_t kernel = conv->config.kernel;

    return (size_t)(conv->depthwise ? qd_u8_block_bytes(layout, kernel, kernel, conv->config.out_channels)
                                    : p.groups * qd_u8_panel_bytes(layout, p.taps, p.depth, p.columns));
}

int64_t qd_qconv_packed_width(const qd_qconv *conv, qd_u8_layout layout)
{
    const qd_qproduct p = qd_qconv_product(conv);

    return conv->depthwise ? qd_u8_block_count(layout, conv->config.out_channels) * qd_u8_block_channels(layout)
                           : p.groups * qd_panel_total_width(layout.panels, p.columns);
}

/* Bias, less what the zero point of the input adds to the sum of stored codes, and multiplier of channel o. */
static void pack_channel(qd_qconv *conv, int64_t o, int64_t place, int64_t weight_sum, int32_t stored_zero)
{
    conv->packed_bias[place] = (int32_t)(conv->bias_codes[o] - weight_sum * stored_zero);
    conv->packed_multiplier[place] = conv->multiplier[o];
}

static void pack_blocks(qd_qconv *conv, qd_u8_layout layout, int32_t stored_zero)
{
    const int64_t kernel = conv->config.kernel, channels = conv->config.out_channels;
    const int64_t block = qd_u8_block_channels(layout);

    for (int64_t c = 0; c < channels; c++) {
        int64_t sum = 0;
        for (int64_t tap = 0; tap < conv->filter; tap++) {
            const int8_t code = conv->codes[tap * channels + c];
            conv->packed[qd_u8_block_index(layout, kernel, kernel, tap / kernel, tap % kernel, c)] = code;
            sum += code;
        }
        pack_channel(conv, c, c / block * block + qd_u8_block_place(layout, c % block), sum, stored_zero);
    }
}

static void pack_panels(qd_qconv *conv, qd_u8_layout layout, int64_t group, int32_t stored_zero)
{
    const qd_qproduct p = qd_qconv_product(conv);
    int8_t *packed = conv->packed + group * qd_u8_panel_bytes(layout, p.taps, p.depth, p.columns);
    const int64_t first_place = group * qd_panel_total_width(layout.panels, p.columns);

    for (int64_t i = 0; i < qd_panel_count(layout.panels, p.columns); i++) {
        const qd_panel panel = qd_panel_at(layout.panels, p.columns, i);
        for (int64_t c = 0; c < panel.columns; c++) {
            const int64_t o = group * p.columns + panel.first_column + c;
            const int8_t *codes = conv->codes + o * conv->filter;
            int64_t sum = 0;
            for (int64_t tap = 0; tap < p.taps; tap++)
                for (int64_t k = 0; k < p.weights; k++, codes++) {
                    packed[qd_u8_panel_index(layout, &panel, p.taps, p.depth, tap, k, c)] = *codes;
                    sum += *codes;
                }
            pack_channel(conv, o, first_place + panel.first_width + c, sum, stored_zero);
        }
    }
}

void qd_qconv_pack(qd_qconv *conv, qd_u8_layout layout, int32_t input_zero)
{
    const int32_t stored_zero = input_zero + QD_STORED_OFFSET;

    memset(conv->padding, stored_zero, (size_t)conv->config.in_channels);
    if (conv->depthwise) {
        pack_blocks(conv, layout, stored_zero);
        return;
    }
    for (int64_t group = 0; group < conv->config.groups; group++)
        pack_panels(conv, layout, group, stored_zero);
}
