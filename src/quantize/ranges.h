/* What calibration images show of every tensor of a folded network, and ranges chosen from it: docs/quantization.md.
 */
#ifndef QD_QUANTIZE_RANGES_H
#define QD_QUANTIZE_RANGES_H

#include "quantize/calibrators/calibrator.h"
#include "quantize/quantize.h"

typedef struct qd_ranges qd_ranges;

/*
 * Observes for a qgraph, which must outlive it. `histograms`: for the calibrators that need them; up to about half a
 * megabyte a tensor, else next to nothing. Any calibrator can choose from what was observed once. Errors:
 * QD_ERR_MEMORY.
 */
enum qd_status qd_ranges_create(qd_qgraph *qgraph, bool histograms, qd_ranges **out);
void qd_ranges_destroy(qd_ranges *ranges);

/* Runs the folded float network over float32 [n][h][w][3], any n, and adds what it shows; may be called repeatedly. A
 * batch, for moving averages, is what the network runs at a time: its max_batch, and the rest of each call. Errors:
 * QD_ERR_NUMERIC (a value that is not finite, its tensor named), QD_ERR_MEMORY. */
enum qd_status qd_ranges_observe(qd_ranges *ranges, const float *images, int64_t n);

/* Sets the range of every tensor of `qgraph` but those that stay float: the network that was observed, or another one
 * with the same tensors and float weights. Uses its tensors' own bits and symmetry, so overrides come first. Errors:
 * QD_ERR_USAGE (nothing observed; other tensors; an unknown calibrator; a setting out of range; no histograms),
 * QD_ERR_MEMORY. */
enum qd_status qd_ranges_choose(const qd_ranges *ranges, const qd_calibrator_settings *settings, qd_qgraph *qgraph);

/* Whether the calibrator that the settings name needs histograms. Errors: as qd_calibrator_find(). */
enum qd_status qd_ranges_need_histograms(qd_context *ctx, const qd_calibrator_settings *settings, bool *out);

/* Minimum and maximum of the values of tensor `index`, count >= 1. Errors: QD_ERR_NUMERIC (not all finite; named). */
enum qd_status qd_ranges_extremes(const qd_qgraph *qgraph, int index, const float *values, int64_t count,
                                  qd_extremes *out);

#endif
