#include "experiment/tracking.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "formats/event_file.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of an epoch's training; NaN at epoch 0, before it. */
static double learning_rate(const qd_config *config, int64_t epoch)
{
    return epoch == 0 ? NAN : qd_schedule_cosine(config->lr, epoch - 1, config->num_epochs);
}

/* ---- metrics.csv ---- */

static const char header[] = "model,epoch,lr,train_loss,train_acc,val_loss,val_acc\n";

/* Appends ",<number>" in the shortest form that reads back equal, or "," alone. */
static bool put_number(FILE *stream, double value)
{
    cJSON *number = isfinite(value) ? qd_json_double(value) : NULL;
    char *text = number ? qd_json_print_line(number) : NULL;
    const bool ok = (text || !isfinite(value)) && fprintf(stream, ",%s", text ? text : "") > 0;
    free(text);
    cJSON_Delete(number);
    return ok;
}

static bool put_rows(FILE *stream, const qd_config *config, const qd_results *results)
{
    bool ok = true;
    for (int i = 0; ok && i < results->history_count; i++) {
        const qd_history_entry *entry = &results->history[i];
        ok = fprintf(stream, "%s,%lld", results->model->name, (long long)entry->epoch) > 0 &&
             put_number(stream, learning_rate(config, entry->epoch)) && put_number(stream, entry->train_loss) &&
             put_number(stream, entry->train_acc) && put_number(stream, entry->val_loss) &&
             put_number(stream, entry->val_acc) && fputc('\n', stream) != EOF;
    }
    return ok;
}

enum qd_status qd_metrics_write(qd_context *ctx, const qd_config *config, const char *done, const qd_results *results)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    char *path = qd_format("%s/metrics.csv", config->output_dir);
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing metrics.csv: out of memory");
    QD_TRY_GOTO(qd_atomic_open(ctx, path, &file));
    fputs(header, file.stream);
    fputs(done ? done : "", file.stream);
    if (results && !put_rows(file.stream, config, results)) {
        status = qd_fail(ctx, QD_ERR_IO, "writing '%s': the rows of %s could not be written", path,
                         results->model->display_name);
        goto fail;
    }
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(path);
    return status;
}

enum qd_status qd_metrics_add(qd_context *ctx, const qd_config *config, char **done, const qd_results *results)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    bool ok = stream && fputs(*done ? *done : "", stream) >= 0 && put_rows(stream, config, results);
    if (stream && fclose(stream) != 0)
        ok = false;
    if (!ok) {
        free(text);
        return qd_fail(ctx, QD_ERR_MEMORY, "metrics.csv: out of memory");
    }
    free(*done);
    *done = text;
    return QD_OK;
}

/* ---- TensorBoard ---- */

enum qd_status qd_tracking_open(qd_context *ctx, const qd_config *config, const qd_model_info *model,
                                int64_t first_epoch, qd_event_file **out)
{
    *out = NULL;
    if (!config->tensorboard)
        return QD_OK;
    char *folder = qd_format("%s/tensorboard/%s", config->output_dir, model->name);
    if (!folder)
        return qd_fail(ctx, QD_ERR_MEMORY, "event file of %s: out of memory", model->display_name);
    enum qd_status status = qd_folder_create(ctx, folder);
    if (status == QD_OK)
        status = qd_event_file_create(ctx, folder, first_epoch, out);
    free(folder);
    return status;
}

/* A curve has no point where nothing was measured. */
static enum qd_status add_point(qd_event_file *file, const char *tag, int64_t epoch, double value)
{
    return isnan(value) ? QD_OK : qd_event_file_scalar(file, tag, epoch, value);
}

static enum qd_status add_parameters(qd_event_file *file, int64_t epoch, const qd_state *state)
{
    for (int p = 0; p < state->graph->param_count; p++) {
        const qd_param *param = &state->graph->params[p];
        char tag[sizeof param->name + 16];
        snprintf(tag, sizeof tag, "parameters/%s", param->name);
        QD_TRY(qd_event_file_histogram(file, tag, epoch, (const float *)state->params + param->offset, param->count));
    }
    return QD_OK;
}

enum qd_status qd_tracking_add(qd_event_file *file, const qd_config *config, const qd_results *results,
                               const qd_state *state)
{
    if (!file)
        return QD_OK;
    const qd_history_entry *entry = &results->history[results->history_count - 1];
    const qd_quantized_epoch *quantized = qd_results_find_quantized(results, entry->epoch);
    const struct {
        const char *tag;
        double value;
    } points[] = {{"loss/train", entry->train_loss},
                  {"loss/val", entry->val_loss},
                  {"loss/int8", quantized ? quantized->int8_loss : NAN},
                  {"accuracy/train", entry->train_acc},
                  {"accuracy/val", entry->val_acc},
                  {"accuracy/int8", quantized ? quantized->int8_accuracy : NAN},
                  {"lr", learning_rate(config, entry->epoch)}};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        QD_TRY(add_point(file, points[i].tag, entry->epoch, points[i].value));
    if (state)
        QD_TRY(add_parameters(file, entry->epoch, state));
    return qd_event_file_flush(file);
}
