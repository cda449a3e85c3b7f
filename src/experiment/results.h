/* A model's results file: what training, observing and quantizing found, in memory and as JSON. */
#ifndef QD_EXPERIMENT_RESULTS_H
#define QD_EXPERIMENT_RESULTS_H

#include "experiment/config.h"
#include "observe/observe.h"

/* NaN where nothing was measured; written as null. */
typedef struct qd_history_entry {
    int64_t epoch;
    double train_loss, train_acc, val_loss, val_acc;
} qd_history_entry;

typedef struct qd_module_record {
    char path[QD_NAME_BYTES];
    char layer_type[48];
    int rank;
    int64_t shape[QD_MAX_RANK];
    double min, max, mean, std, range;
    double zeros_pct, outlier_ratio; /* written with log_all only */
} qd_module_record;

typedef struct qd_epoch_log {
    int64_t epoch;
    qd_module_record *modules; /* owned */
    int count;
} qd_epoch_log;

typedef struct qd_tensor_record {
    char name[QD_NAME_BYTES];
    double min, max, scale;
    int64_t zero_point;
    double sqnr_rounding_db, sqnr_accumulated_db; /* +infinity and NaN are written as null */
} qd_tensor_record;

typedef struct qd_weight_record {
    char name[QD_NAME_BYTES + 24];
    double scale;
} qd_weight_record;

typedef struct qd_quantized_epoch {
    int64_t epoch;
    int64_t calibration_images, eval_images, sqnr_images; /* as many as there were */
    double float_loss, float_accuracy, int8_loss, int8_accuracy;
    /* Images of the same prediction, and those that one network alone gets right; agree is negative where the file
     * does not tell. */
    int64_t agree, only_float, only_int8;
    qd_tensor_record *tensors; /* owned */
    int tensor_count;
    qd_weight_record *weights; /* owned */
    int weight_count;
} qd_quantized_epoch;

/* What quantization-aware training made of a checkpoint, all on the same images: float and int8 of the network it
 * began with, and of the one it ended with. */
typedef struct qd_qat_record {
    char *settings; /* the keys that decide it in one line, owned; NULL: none was done */
    char *from;     /* the checkpoint as the configuration calls it, owned */
    char source_sha256[65];
    qd_history_entry *history; /* owned; epochs from 1; validation of the simulated network */
    int history_count;
    bool reestimated; /* BatchNorm, at the end */
    int64_t eval_images;
    double float_loss, float_accuracy, static_int8_loss, static_int8_accuracy;
    double trained_float_loss, trained_float_accuracy, int8_loss, int8_accuracy;
} qd_qat_record;

/* Seconds over the whole run of the model, interruptions left out, and what else differs from run to run. */
typedef struct qd_timing {
    double train_s, validate_s, observe_s, quantize_s, data_wait_s;
    int64_t train_images;
    int64_t threads, loader_threads;
} qd_timing;

typedef struct qd_results {
    const qd_model_info *model;
    qd_history_entry *history; /* all arrays owned, in the order of epochs */
    int history_count;
    qd_epoch_log *logs, *mixed_logs;
    int log_count, mixed_log_count;
    qd_quantized_epoch *quantized;
    int quantized_count;
    char *quantization_settings; /* as the file that was read says, owned; NULL: made in this run */
    qd_qat_record qat;
    qd_timing timing;
} qd_results;

/* What the file says beside the results themselves; all borrowed. */
typedef struct qd_results_sources {
    const qd_config *config;
    const char *config_hash;
    const qd_dataset *training, *validation;
    int64_t mixed_batch_images;
} qd_results_sources;

void qd_results_init(const qd_model_info *model, qd_results *results);
void qd_results_free(qd_results *results);

/* Append one entry; the arrays inside `log` and `quantized` change their owner on success. Errors: QD_ERR_MEMORY. */
enum qd_status qd_results_add_history(qd_context *ctx, qd_results *results, const qd_history_entry *entry);
enum qd_status qd_results_add_log(qd_context *ctx, qd_results *results, bool mixed, qd_epoch_log *log);
enum qd_status qd_results_add_quantized(qd_context *ctx, qd_results *results, qd_quantized_epoch *quantized);

/* Drops everything that belongs to epochs after `epoch`. */
void qd_results_truncate(qd_results *results, int64_t epoch);

/* Drops all quantization. */
void qd_results_drop_quantized(qd_results *results);

/* Empties a record of quantization-aware training. */
void qd_qat_record_free(qd_qat_record *record);

/* The entry of an epoch; NULL when there is none. */
const qd_history_entry *qd_results_find_history(const qd_results *results, int64_t epoch);
const qd_epoch_log *qd_results_find_log(const qd_results *results, int64_t epoch);
const qd_quantized_epoch *qd_results_find_quantized(const qd_results *results, int64_t epoch);
const qd_module_record *qd_epoch_log_find(const qd_epoch_log *log, const char *path);

/* The quantization settings of a configuration in one line, as results files record them; freed with free(), NULL
 * when memory is short. */
char *qd_quantization_settings(const qd_config *config);

/* Likewise all that decides quantization-aware training beside the checkpoint it begins with. */
char *qd_qat_settings(const qd_config *config);

/* "<output_dir>/<model>_results.json"; NULL when memory is short; freed with free(). */
char *qd_results_path(const char *output_dir, const qd_model_info *model);

/* Writes the file atomically. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_results_write(qd_context *ctx, const char *path, const qd_results *results,
                                const qd_results_sources *sources);

/* Reads what qd_results_write() wrote. Writing again what was read gives the same bytes. Errors: QD_ERR_INPUT,
 * QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_results_read(qd_context *ctx, const char *path, const qd_model_info *model, qd_results *results);

/* training_history alone, as checkpoints keep it: one line of JSON, freed with free(); NULL when memory is short. */
char *qd_history_print(const qd_results *results);

/* Replaces the history by what qd_history_print() made. Errors: QD_ERR_INPUT, QD_ERR_MEMORY. */
enum qd_status qd_history_parse(qd_context *ctx, const char *text, qd_results *results);

#endif
