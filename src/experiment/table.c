/* The closing table: per model and epoch, accuracies beside ranges. It reads results files only and states what they
 * hold. */
#include "base/error.h"
#include "base/file.h"
#include "experiment/post_layers.h"
#include "experiment/run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CELL_BYTES 128

enum column {
    COLUMN_MODEL,
    COLUMN_EPOCH,
    COLUMN_FLOAT,
    COLUMN_INT8,
    COLUMN_DROP,
    COLUMN_RANGE,
    COLUMN_MODULE,
    COLUMN_FIRST_RATIO
};

#define COLUMN_COUNT (COLUMN_FIRST_RATIO + QD_POST_LAYER_COUNT)

static const char *const titles[COLUMN_FIRST_RATIO] = {"model", "epoch",        "val acc %", "INT8 acc %",
                                                       "drop",  "widest range", "at module"};

typedef char row[COLUMN_COUNT][CELL_BYTES];

typedef struct table {
    row *rows; /* the first is the header */
    int count;
} table;

/* "-" for what was not measured. */
static void print_number(char *cell, double value, int decimals)
{
    if (isfinite(value))
        snprintf(cell, CELL_BYTES, "%.*f", decimals, value);
    else
        snprintf(cell, CELL_BYTES, "-");
}

static double range_ratio(const qd_epoch_log *log, const qd_post_layer *layer)
{
    const qd_module_record *batchnorm = qd_epoch_log_find(log, layer->batchnorm);
    const qd_module_record *convolution = qd_epoch_log_find(log, layer->convolution);
    return batchnorm && convolution && convolution->range > 0.0 ? batchnorm->range / convolution->range : NAN;
}

static double history_accuracy(const qd_results *results, int64_t epoch)
{
    for (int i = 0; i < results->history_count; i++)
        if (results->history[i].epoch == epoch)
            return results->history[i].val_acc;
    return NAN;
}

static void fill_row(const qd_results *results, const qd_epoch_log *log, row cells)
{
    const qd_quantized_epoch *quantized = qd_results_find_quantized(results, log->epoch);
    const qd_module_record *widest = NULL;
    for (int m = 0; m < log->count; m++)
        if (!widest || log->modules[m].range > widest->range)
            widest = &log->modules[m];
    snprintf(cells[COLUMN_MODEL], CELL_BYTES, "%s", results->model->display_name);
    snprintf(cells[COLUMN_EPOCH], CELL_BYTES, "%lld", (long long)log->epoch);
    print_number(cells[COLUMN_FLOAT], history_accuracy(results, log->epoch), 2);
    print_number(cells[COLUMN_INT8], quantized ? quantized->int8_accuracy : NAN, 2);
    /* Both on the images that INT8 was evaluated on. */
    print_number(cells[COLUMN_DROP], quantized ? quantized->float_accuracy - quantized->int8_accuracy : NAN, 2);
    print_number(cells[COLUMN_RANGE], widest ? widest->range : NAN, 2);
    /* The network itself, which log_all logs too, has an empty path. */
    const char *path = !widest ? "-" : widest->path[0] ? widest->path : "(network)";
    snprintf(cells[COLUMN_MODULE], CELL_BYTES, "%s", path);
    for (int r = 0; r < QD_POST_LAYER_COUNT; r++)
        print_number(cells[COLUMN_FIRST_RATIO + r], range_ratio(log, &qd_post_layers[r]), 3);
}

static enum qd_status add_row(qd_context *ctx, table *t, row **added)
{
    row *larger = realloc(t->rows, ((size_t)t->count + 1) * sizeof *larger);
    if (!larger)
        return qd_fail(ctx, QD_ERR_MEMORY, "table: out of memory");
    t->rows = larger;
    *added = &t->rows[t->count++];
    memset(*added, 0, sizeof **added);
    return QD_OK;
}

/* The network trained for quantization, which comes after every epoch. */
static void fill_qat_row(const qd_results *results, row cells)
{
    const qd_qat_record *qat = &results->qat;
    snprintf(cells[COLUMN_MODEL], CELL_BYTES, "%s", results->model->display_name);
    snprintf(cells[COLUMN_EPOCH], CELL_BYTES, "qat");
    print_number(cells[COLUMN_FLOAT], qat->trained_float_accuracy, 2);
    print_number(cells[COLUMN_INT8], qat->int8_accuracy, 2);
    print_number(cells[COLUMN_DROP], qat->trained_float_accuracy - qat->int8_accuracy, 2);
    for (int c = COLUMN_RANGE; c < COLUMN_COUNT; c++)
        snprintf(cells[c], CELL_BYTES, "-");
}

/* Rows of one model; none when it has no results yet. */
static enum qd_status add_model(qd_context *ctx, const qd_config *config, const qd_model_info *model, table *t)
{
    qd_results results = {0};
    enum qd_status status = QD_OK;
    char *path = qd_results_path(config->output_dir, model);
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "table: out of memory");
    if (!qd_file_exists(path))
        goto fail;
    QD_TRY_GOTO(qd_results_read(ctx, path, model, &results));
    for (int i = 0; i < results.log_count; i++) {
        row *cells = NULL;
        QD_TRY_GOTO(add_row(ctx, t, &cells));
        fill_row(&results, &results.logs[i], *cells);
    }
    if (results.qat.settings) {
        row *cells = NULL;
        QD_TRY_GOTO(add_row(ctx, t, &cells));
        fill_qat_row(&results, *cells);
    }
fail:
    qd_results_free(&results);
    free(path);
    return status;
}

/* Names left, numbers right. */
static bool is_left_aligned(int column)
{
    return column == COLUMN_MODEL || column == COLUMN_MODULE;
}

static void print_row(FILE *stream, const table *t, int r, const int *width, bool markdown)
{
    for (int c = 0; c < COLUMN_COUNT; c++) {
        const char *cell = t->rows[r][c];
        if (markdown)
            fprintf(stream, "| %s ", cell);
        else
            fprintf(stream, is_left_aligned(c) ? "%s%-*s" : "%s%*s", c ? "  " : "", width[c], cell);
    }
    fprintf(stream, markdown ? "|\n" : "\n");
}

/* The table as text; freed with free(); NULL when memory is short. */
static char *print_table(const table *t, bool markdown)
{
    int width[COLUMN_COUNT] = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    for (int r = 0; r < t->count; r++)
        for (int c = 0; c < COLUMN_COUNT; c++)
            if ((int)strlen(t->rows[r][c]) > width[c])
                width[c] = (int)strlen(t->rows[r][c]);
    for (int r = 0; r < t->count; r++) {
        print_row(stream, t, r, width, markdown);
        for (int c = 0; markdown && r == 0 && c < COLUMN_COUNT; c++)
            fprintf(stream, is_left_aligned(c) ? "|---" : "|--:");
        if (markdown && r == 0)
            fprintf(stream, "|\n");
    }
    bool failed = ferror(stream);
    if (fclose(stream) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

static enum qd_status write_markdown(qd_context *ctx, const qd_config *config, const table *t)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    char *path = qd_format("%s/table.md", config->output_dir);
    char *text = print_table(t, true);
    if (!path || !text) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "table: out of memory");
        goto fail;
    }
    QD_TRY_GOTO(qd_atomic_open(ctx, path, &file));
    fputs(text, file.stream);
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(path);
    free(text);
    return status;
}

enum qd_status qd_experiment_table(qd_experiment *experiment, char **text)
{
    qd_context *ctx = experiment->ctx;
    const qd_config *config = &experiment->config;
    enum qd_status status = QD_OK;
    table t = {0};
    row *header = NULL;
    QD_TRY_GOTO(add_row(ctx, &t, &header));
    for (int c = 0; c < COLUMN_COUNT; c++)
        snprintf((*header)[c], CELL_BYTES, "%s",
                 c < COLUMN_FIRST_RATIO ? titles[c] : qd_post_layers[c - COLUMN_FIRST_RATIO].title);
    for (int i = 0; i < config->model_count; i++)
        QD_TRY_GOTO(add_model(ctx, config, config->models[i], &t));
    if (t.count == 1) {
        status = qd_fail(ctx, QD_ERR_INPUT, "table: '%s' holds no results of the experiment's models; run it first",
                         config->output_dir);
        goto fail;
    }
    QD_TRY_GOTO(write_markdown(ctx, config, &t));
    char *printed = print_table(&t, false);
    if (printed)
        *text = printed;
    else
        status = qd_fail(ctx, QD_ERR_MEMORY, "table: out of memory");
fail:
    free(t.rows);
    return status;
}
