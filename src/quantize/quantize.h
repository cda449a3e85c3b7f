/*
 * From a trained float network to integers: BatchNorm folded, ranges calibrated, scales chosen, and the network run
 * in integer arithmetic. docs/quantization.md has the formulas; this is their interface.
 */
#ifndef QD_QUANTIZE_QUANTIZE_H
#define QD_QUANTIZE_QUANTIZE_H

#include "graph/graph.h"
#include <quantdrift/recipe.h>

typedef struct qd_qgraph qd_qgraph; /* owns everything: lives without the float graph */

/* One quantized activation tensor as results report it. */
typedef struct qd_quant_tensor {
    const char *name;           /* module path of the value it quantizes; "input" */
    bool is_float;              /* marked to stay float32: no scale */
    double min, max;            /* calibrated range, 0 included; min > max: none yet */
    double scale;               /* a float32 */
    int32_t zero_point;         /* in the scheme's signedness */
    double sqnr_rounding_db;    /* of this tensor's own rounding and clamping; NaN until measured */
    double sqnr_accumulated_db; /* of everything before it as well; NaN until measured */
} qd_quant_tensor;

/* Folds BatchNorm and lays out the quantized network; no ranges yet. Errors: QD_ERR_MEMORY, QD_ERR_USAGE,
 * QD_ERR_NUMERIC (a non-finite weight, named). */
enum qd_status qd_qgraph_create(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                                const qd_quant_scheme *scheme, int64_t max_batch, qd_qgraph **out);
void qd_qgraph_destroy(qd_qgraph *qgraph);

/* Bytes a qgraph takes at most, when it has run in float, simulated and as integers; allocates next to nothing.
 * Errors: as qd_qgraph_create(). */
enum qd_status qd_qgraph_bytes(qd_context *ctx, const qd_graph *graph, const qd_quant_scheme *scheme,
                               int64_t max_batch, size_t *bytes);

/*
 * Everywhere below: images are float32 [n][h][w][3], any n (run max_batch at a time); a qgraph is used by one caller
 * at a time and runs on the context's threads; results do not depend on their number.
 */

/* Runs the folded float network and widens every tensor's range to its minimum and maximum (0 included). Ranges
 * already chosen take effect with the next qd_qgraph_finalize(). Errors: QD_ERR_NUMERIC (a value that is not finite,
 * its tensor named), QD_ERR_MEMORY. */
enum qd_status qd_qgraph_calibrate(qd_qgraph *qgraph, const float *images, int64_t n);

/* Sets the range of tensor `index` instead: other calibrators, edited encodings. Errors: QD_ERR_USAGE (no such
 * tensor; ends not finite or in the wrong order). */
enum qd_status qd_qgraph_set_range(qd_qgraph *qgraph, int index, double min, double max);

/* Leaves tensor `index`, or the weights of layer `index`, in float32: docs/quantization.md section 9. Takes effect
 * with the next qd_qgraph_finalize(). Errors: QD_ERR_USAGE (no such one). */
enum qd_status qd_qgraph_keep_float(qd_qgraph *qgraph, int index);
enum qd_status qd_qgraph_keep_weight_float(qd_qgraph *qgraph, int index);

/* Other bits, symmetry or none at all for one tensor or weight, found by name; float for the weights and tensors of
 * every step that is, or belongs to, a module. Before calibrating; they take effect with the next
 * qd_qgraph_finalize(). Errors: QD_ERR_USAGE (no such name; bits out of 2 to 16). */
enum qd_status qd_qgraph_override_tensor(qd_qgraph *qgraph, const qd_tensor_override *override);
enum qd_status qd_qgraph_override_weight(qd_qgraph *qgraph, const qd_weight_override *override);
enum qd_status qd_qgraph_exclude(qd_qgraph *qgraph, const char *module);

/* Receives the values of tensor `index`, [n] samples of NHWC memory, valid during the call. A status other than QD_OK
 * ends the pass. */
typedef enum qd_status qd_quant_visitor(void *user, int index, const float *values, int64_t n, const qd_dims *dims);

/* One pass of the folded float network that shows every tensor to `visitor`, in order, batch by batch: what a
 * calibrator or an analysis needs. `quantizers`: the simulated network instead, values after rounding. */
enum qd_status qd_qgraph_visit(qd_qgraph *qgraph, bool quantizers, const float *images, int64_t n,
                               qd_quant_visitor *visitor, void *user);

/* Chooses scales and zero points, quantizes weights and biases, fills tables. Errors: QD_ERR_USAGE (a tensor without
 * range, unless ranges are dynamic). */
enum qd_status qd_qgraph_finalize(qd_qgraph *qgraph);

/* Integer arithmetic; float only in the logits [n][classes]. Errors: QD_ERR_USAGE (not finalized; what is simulated
 * only: more than 8 bits anywhere, dynamic ranges, a fused SiLU), QD_ERR_MEMORY. */
enum qd_status qd_qgraph_run_integer(qd_qgraph *qgraph, const float *images, int64_t n, float *logits);

/* The folded network in float: quantizers off (the float network again) or simulated at the scheme's bits. Errors:
 * QD_ERR_USAGE (quantizers of a network that is not finalized), QD_ERR_NUMERIC (dynamic ranges of a value that is not
 * finite), QD_ERR_MEMORY. */
enum qd_status qd_qgraph_run_float(qd_qgraph *qgraph, bool quantizers, const float *images, int64_t n, float *logits);

/* Whether there is an integer network: 8 bits at most everywhere, static ranges, no fused SiLU. What is different
 * exists in simulation only. */
bool qd_qgraph_has_integer_form(const qd_qgraph *qgraph);

/* The quantized network's logits, from integers where it has that form, else simulated. Errors: as for the two. */
enum qd_status qd_qgraph_run(qd_qgraph *qgraph, const float *images, int64_t n, float *logits);

/* Measures both signal-to-quantization-noise ratios of every tensor over images (may be called repeatedly: signal and
 * noise energies accumulate until qd_qgraph_finalize(); the ratios are 10·log10(signal/noise), +inf without noise).
 * "Accumulated" compares with the integer network, with the simulated one where there is none. Errors: as for running
 * them.
 */
enum qd_status qd_qgraph_measure_sqnr(qd_qgraph *qgraph, const float *images, int64_t n);

int qd_qgraph_tensor_count(const qd_qgraph *qgraph);
qd_quant_tensor qd_qgraph_tensor(const qd_qgraph *qgraph, int index);

/* Bytes of what a file of the network must hold: folded weights and biases in float32, or codes, biases and scales.
 */
int64_t qd_qgraph_stored_bytes(const qd_qgraph *qgraph, bool integer);

/* Weight tensors: name, scale of channel `channel` (0 when per tensor; nothing when they stay float). */
int qd_qgraph_weight_count(const qd_qgraph *qgraph);
const char *qd_qgraph_weight_name(const qd_qgraph *qgraph, int index);
double qd_qgraph_weight_scale(const qd_qgraph *qgraph, int index, int64_t channel);
bool qd_qgraph_weight_has_one_scale(const qd_qgraph *qgraph, int index); /* neither a scale a channel nor float */

#endif
