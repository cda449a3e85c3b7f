/*
 * Packed INT8 weights.
 *
 * Products: panels (panels.h) of neighbouring columns; in a panel of width W, [group][W][4]: groups of four
 * neighbouring weights of a tap's depth, tap after tap, each tap's last group filled up with zeros, and all of them
 * to a multiple of the layout's `groups`. A processor's dot product takes such four bytes of each lane.
 *
 * Depthwise: blocks of 4·lanes channels, [kw][group of four kh][vector 0 … 3][lane][4]: the dot product sums over
 * four taps of a column, whose lines a kernel interleaves byte by byte. Interleaving works within 16 bytes, so lane e
 * of vector v is the block's channel 16·(e / 4) + 4·v + e % 4; biases and multipliers lie in the same order.
 */
#ifndef QD_KERNELS_INT8_PACK_H
#define QD_KERNELS_INT8_PACK_H

#include "kernels/int8.h"

/* Groups of four weights of one tap. */
static inline int64_t qd_u8_tap_groups(int64_t depth)
{
    return (depth + 3) / 4;
}

/* Groups of a panel. */
static inline int64_t qd_u8_panel_groups(qd_u8_layout l, int64_t taps, int64_t depth)
{
    return (taps * qd_u8_tap_groups(depth) + l.groups - 1) / l.groups * l.groups;
}

/* Where weight k of `tap` and the panel's column lies in the packed matrix. */
static inline int64_t qd_u8_panel_index(qd_u8_layout l, const qd_panel *panel, int64_t taps, int64_t depth,
                                        int64_t tap, int64_t k, int64_t column)
{
    const int64_t group = tap * qd_u8_tap_groups(depth) + k / 4;
    return (panel->first_width * qd_u8_panel_groups(l, taps, depth) + group * panel->width + column) * 4 + k % 4;
}

/* Bytes of a packed matrix. */
static inline int64_t qd_u8_panel_bytes(qd_u8_layout l, int64_t taps, int64_t depth, int64_t columns)
{
    return 4 * qd_u8_panel_groups(l, taps, depth) * qd_panel_total_width(l.panels, columns);
}

/* Channels of a depthwise block. */
static inline int64_t qd_u8_block_channels(qd_u8_layout l)
{
    return 4 * l.panels.lanes;
}

static inline int64_t qd_u8_block_count(qd_u8_layout l, int64_t channels)
{
    return (channels + qd_u8_block_channels(l) - 1) / qd_u8_block_channels(l);
}

/* Place of a block's channel among its 4·lanes: vector·lanes + lane. */
static inline int64_t qd_u8_block_place(qd_u8_layout l, int64_t channel)
{
    return channel / 4 % 4 * l.panels.lanes + channel / 16 * 4 + channel % 4;
}

/* Where the weight of tap (y, x) and a channel lies. */
static inline int64_t qd_u8_block_index(qd_u8_layout l, int64_t kh, int64_t kw, int64_t y, int64_t x, int64_t channel)
{
    const int64_t channels = qd_u8_block_channels(l), groups = (kh + 3) / 4;
    const int64_t step = (channel / channels * kw + x) * groups + y / 4;
    return (step * channels + qd_u8_block_place(l, channel % channels)) * 4 + y % 4;
}

static inline int64_t qd_u8_block_bytes(qd_u8_layout l, int64_t kh, int64_t kw, int64_t channels)
{
    return 4 * qd_u8_block_count(l, channels) * qd_u8_block_channels(l) * kw * ((kh + 3) / 4);
}

/* Most lines of a depthwise kernel. */
#define QD_U8_MOST_LINES 16

/* Rows that a matrix extension multiplies at once. */
#define QD_U8_MATRIX_ROWS 32

/* Scratch of one tile_rows call: rows copied side by side for a matrix extension, and a cache line between them. */
static inline size_t qd_u8_scratch_bytes(qd_u8_layout l, int64_t taps, int64_t depth)
{
    return l.groups > 1 ? (size_t)(QD_U8_MATRIX_ROWS * (4 * qd_u8_panel_groups(l, taps, depth) + 64)) : 0;
}

#endif
