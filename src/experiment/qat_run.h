/* What the files of a model's quantization-aware training share. */
#ifndef QD_EXPERIMENT_QAT_RUN_H
#define QD_EXPERIMENT_QAT_RUN_H

#include "experiment/network_impl.h"
#include "experiment/run.h"
#include "quantize/qat.h"

typedef struct qd_qat_run {
    qd_model_run m;  /* over the original graph, which the source owns; its results are this training's history */
    qd_results file; /* the model's results file */
    qd_network *source;
    char *from, *last_path, *checkpoint_path, *encodings_path;
    char source_sha256[65], hash[65];
    qd_qat *qat;
    qd_state *state; /* of its graph */
    qd_trainer *trainer;
    qd_plan *plan; /* simulated network in evaluation, batches of the configuration */
} qd_qat_run;

enum qd_status qd_qat_fail_memory(const qd_qat_run *r);

/*
 * After the last epoch: running statistics estimated again where that helps, the network written as a checkpoint with
 * encodings, both it and the one it began with measured in float and INT8, and the record put into r->file. Errors:
 * those of evaluation and quantization, QD_ERR_IO.
 */
enum qd_status qd_qat_conclude(qd_qat_run *r);

#endif
