/* The encodings of a quantized network, written down and given back. */
#ifndef QD_EXCHANGE_ENCODINGS_EXPORT_H
#define QD_EXCHANGE_ENCODINGS_EXPORT_H

#include "formats/encodings.h"
#include "quantize/quantize.h"

/* Encodings of every tensor and weight of a finalized qgraph; `calibrator` found the ranges that name no other one.
 * Weights have the range of their folded values, or neither range nor scale. Freed with qd_encodings_free(). Errors:
 * QD_ERR_USAGE (not finalized, or read from a file), QD_ERR_MEMORY. */
enum qd_status qd_qgraph_describe(qd_context *ctx, const char *model, const char *calibrator, const qd_qgraph *qgraph,
                                  bool weight_ranges, qd_encodings *out);

/* Writes them, weights with ranges. Errors: QD_ERR_IO as well. */
enum qd_status qd_qgraph_write_encodings(qd_context *ctx, const char *path, const char *model, const char *calibrator,
                                         const qd_qgraph *qgraph);

#endif
