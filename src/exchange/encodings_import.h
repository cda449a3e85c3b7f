/* Encodings that were edited, given back to a network that is being quantized. */
#ifndef QD_EXCHANGE_ENCODINGS_IMPORT_H
#define QD_EXCHANGE_ENCODINGS_IMPORT_H

#include "formats/encodings.h"
#include "quantize/quantize.h"

/*
 * Everywhere: `path` names the encodings in errors, the qgraph was made from a network of 8 bits at most.
 *
 * A tensor's or weight's entry replaces what the scheme says of bits, form and granularity, and what was calibrated.
 * Numbers of an activation: its range decides; scale and zero point, when both pairs are there, must belong to it.
 * Of a weight: its scale decides (finalizing raises it where a bias needs it), and its codes must reach the range
 * when that is there too; without one the range decides. The text "float" leaves either in float32.
 */

/* Sets `*complete` when the encodings name every activation tensor, so that nothing is left to calibrate. Errors:
 * QD_ERR_INPUT (of another model; a tensor that this network does not have). */
enum qd_status qd_encodings_match(qd_context *ctx, const char *path, const qd_encodings *encodings,
                                  const qd_qgraph *qgraph, bool *complete);

/* After calibration, before qd_qgraph_finalize(). Errors: QD_ERR_INPUT (tensor named: numbers that do not belong
 * together, a range of 0 only, a form that tensors of its kind cannot have). */
enum qd_status qd_encodings_apply(qd_context *ctx, const char *path, const qd_encodings *encodings,
                                  qd_qgraph *qgraph);

#endif
