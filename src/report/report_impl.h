/* What report/ keeps of the files it read. */
#ifndef QD_REPORT_REPORT_IMPL_H
#define QD_REPORT_REPORT_IMPL_H

#include "base/json.h"
#include "base/proportion.h"
#include "report/names.h"
#include <quantdrift/report.h>
#include <stdio.h>

/* NaN stands for what a file does not say, -1 for names and counts. */

typedef struct report_history {
    int64_t epoch;
    double train_loss, train_acc, val_loss, val_acc;
} report_history;

typedef struct report_module {
    int path, type; /* names */
    double min, max, mean, std, range, outlier_ratio;
} report_module;

typedef struct report_log {
    int64_t epoch;
    report_module *modules; /* [count], in the order of the file: of computation */
    int count;
} report_log;

typedef struct report_tensor {
    int name;
    double min, max, scale, zero_point, sqnr_rounding_db, sqnr_accumulated_db;
} report_tensor;

/* A logged epoch in INT8. Accuracies in percent, of the same images. */
typedef struct report_quantized {
    int64_t epoch, images;
    double float_accuracy, int8_accuracy;
    double drop, low, high; /* points; 95 % interval */
    bool paired;            /* the interval is that of paired shares */
    report_tensor *tensors; /* [count], in the order of computation */
    int count;
} report_quantized;

/* Quantization-aware training, all percent of the same images: of the network it began with, and of what it made. */
typedef struct report_qat {
    double float_accuracy, static_int8_accuracy, trained_float_accuracy, int8_accuracy;
    double images, epochs;
} report_qat;

/* One training of one model: a results file. */
typedef struct report_series {
    int file, run;
    char *model; /* "EfficientNet-B0" */
    char *key;   /* "efficientnet_b0": what the file is named by; "" when it is named otherwise */
    char *seed;  /* "" when the file has no configuration */
    int *prefixes;
    int prefix_count;
    cJSON *configuration; /* without what differs between repetitions; NULL: none */
    report_history *history;
    int history_count;
    report_log *logs, *mixed_logs;
    int log_count, mixed_log_count;
    report_quantized *quantized;
    int quantized_count;
    report_qat *qat; /* NULL: none was done */
} report_series;

typedef struct report_score {
    double accuracy, drop, kl, mse, agree_pct;
} report_score;

typedef struct report_mode {
    int name;
    report_score score;
} report_mode;

typedef struct report_layer {
    int name, kind;
    report_score only, without;
} report_layer;

/* A file of `quantdrift sensitivity`. */
typedef struct report_sensitivity {
    int file, run;
    char *model, *key;
    int sha256; /* name; of the checkpoint */
    double epoch, images, max_drop;
    report_score real, int8;
    report_mode *modes;
    int mode_count;
    report_layer *layers; /* most harmful first */
    int layer_count;
    int *kept; /* layers that stay float */
    int kept_count;
    bool kept_known, kept_reached;
    report_score kept_score;
} report_sensitivity;

/* A file of `quantdrift analyze`, as it was read. */
typedef struct report_analysis {
    int file, run;
    char *model, *key;
    int sha256; /* name; of the checkpoint */
    double epoch;
    cJSON *json;
} report_analysis;

/* A row of the quantization grid. */
typedef struct report_grid_row {
    int file;
    int model, checkpoint, sha256, form, recipe; /* names; the model's is its key */
    double float_accuracy, accuracy, drop, low, high, recovered;
} report_grid_row;

enum report_file_kind {
    REPORT_RESULTS,
    REPORT_MANIFEST,
    REPORT_ANALYSIS,
    REPORT_SENSITIVITY,
    REPORT_GRID,
    REPORT_QUIET,  /* known to hold nothing for a report: a run's configuration, encodings */
    REPORT_SKIPPED /* damaged or foreign */
};

typedef struct report_file {
    char *path;
    enum report_file_kind kind;
    char *reason; /* of a skipped one: a sentence that names it */
    int run;
} report_file;

/* A folder that holds files of a run. */
typedef struct report_run {
    char *folder, *name;
    char *state;   /* of its manifest; NULL: none */
    cJSON *models; /* names its configuration asks for; NULL: unknown */
    cJSON *hashes; /* of the files its manifest lists; NULL: unknown */
    char *answers[QD_REPORT_ANSWERS];
} report_run;

struct qd_report {
    qd_context *ctx;
    qd_names names;
    report_file *files;
    int file_count;
    report_run *runs;
    int run_count;
    report_series *series;
    int series_count;
    report_sensitivity *sensitivities;
    int sensitivity_count;
    report_analysis *analyses;
    int analysis_count;
    report_grid_row *grid;
    int grid_count;
    char **skipped, **lacks;
    int skipped_count, lack_count;
    char *answers[QD_REPORT_ANSWERS];
};

/* Appends a zeroed element of `size` bytes to an array of *count; NULL when memory is short. */
void *qd_report_append(void *array, int *count, size_t size);

/* ---- reading one file (read_*.c): what the tree holds goes into the report, or a sentence about it into the context
 * and QD_ERR_INPUT. `json` is only read unless said otherwise. ---- */

enum qd_status qd_report_read_results(qd_report *report, int file, const cJSON *json);
enum qd_status qd_report_read_sensitivity(qd_report *report, int file, const cJSON *json);
enum qd_status qd_report_read_analysis(qd_report *report, int file, cJSON **json); /* takes the tree */
enum qd_status qd_report_read_grid(qd_report *report, int file, const cJSON *json);

/* A number of an object; NaN when it is not there or no number. */
double qd_report_number(const cJSON *object, const char *key);

/* A text of an object; NULL when it is not there or no text. */
const char *qd_report_text(const cJSON *object, const char *key);

/* The name under `key` as a number of report->names, -1 when it is not there; *ok is cleared when memory is short or
 * the name is longer than any of ours. */
int qd_report_name(qd_report *report, const cJSON *object, const char *key, bool *ok);

/* Of report.md: gammas, raw ranges and the ten-value example of every analysis. */
void qd_report_print_batchnorm(FILE *out, const qd_report *report);

/* ---- finding ---- */

/* Whether a model of a file of one kind is that of another: by the key where both have one, else by the shown name.
 */
bool qd_report_same_model(const char *model_a, const char *key_a, const char *model_b, const char *key_b);

const report_quantized *qd_report_last_quantized(const report_series *series); /* NULL: none */
const report_quantized *qd_report_find_quantized(const report_series *series, int64_t epoch);
const report_log *qd_report_find_log(const report_series *series, int64_t epoch);
const report_module *qd_report_find_module(const report_log *log, int path);
double qd_report_val_accuracy(const report_series *series, int64_t epoch);
const report_sensitivity *qd_report_find_sensitivity(const qd_report *report, const report_series *series);
const report_analysis *qd_report_find_analysis(const qd_report *report, const report_series *series);

bool qd_report_run_has_series(const qd_report *report, int run);

/* Whether a finding is about a run: its file lies in the run's folder, or in no run's and its checkpoint is one that
 * the run's manifest lists, or nobody's while there is one run alone. */
bool qd_report_belongs(const qd_report *report, int run, int file_run, int sha256);

/* Name of a module for readers: the network itself has an empty path. */
const char *qd_report_module_name(const qd_report *report, int path);

#endif
