/* What the files of `analyze` and `sensitivity` begin with: docs/results-format.md. */
#ifndef QD_EXPERIMENT_ANALYSIS_HEAD_H
#define QD_EXPERIMENT_ANALYSIS_HEAD_H

#include "base/json_writer.h"
#include "experiment/network_impl.h"

/* Numbers of these files have as many digits: more than float32 sums agree to, and a third of the bytes. */
#define QD_ANALYSIS_DIGITS 6

typedef struct qd_analysis_head {
    const char *format;     /* "quantdrift-analysis" */
    const char *checkpoint; /* as named by the user */
    const char *data;       /* likewise; NULL: none */
    const qd_quantize_options *quantization;
    int64_t calibration_images;
} qd_analysis_head;

/* Model, checkpoint with its digest, epoch. Errors: QD_ERR_IO, QD_ERR_INPUT (the file is gone), QD_ERR_MEMORY. */
enum qd_status qd_analysis_head_identify(qd_json_writer *w, cJSON *root, const qd_network *network,
                                         const char *checkpoint);

/* The whole head. Errors: the same. */
enum qd_status qd_analysis_head_write(qd_json_writer *w, cJSON *root, const qd_network *network,
                                      const qd_analysis_head *head);

#endif
