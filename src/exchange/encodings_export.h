/* The encodings of a quantized network. */
#ifndef QD_EXCHANGE_ENCODINGS_EXPORT_H
#define QD_EXCHANGE_ENCODINGS_EXPORT_H

#include "quantize/quantize.h"

/* Writes the encodings of every tensor and weight of a finalized qgraph; `calibrator` found its ranges. Weights have
 * the range of their folded values. Errors: QD_ERR_USAGE (not finalized), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_qgraph_write_encodings(qd_context *ctx, const char *path, const char *model, const char *calibrator,
                                         const qd_qgraph *qgraph);

#endif
