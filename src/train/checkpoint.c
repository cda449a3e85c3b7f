/* Network state to and from safetensors. */
#include "train/checkpoint.h"
#include "base/arena.h"
#include "base/error.h"
#include "formats/quantized_file.h"
#include "graph/state_tensors.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Raised when a reader of an older file would misunderstand it. */
#define CHECKPOINT_VERSION "1"

/* Texts of an epoch under way; the caller lists as many entries as are returned. */
typedef struct begun_text {
    char start[QD_RNG_TEXT_BYTES], consumed[QD_RNG_TEXT_BYTES];
    char batches[24], count[24], correct[24], loss_sum[40];
} begun_text;

static int list_begun(const qd_epoch_state *begun, begun_text *text, qd_metadata_entry *entries)
{
    if (begun->batches == 0)
        return 0;
    qd_rng_to_text(&begun->start, text->start);
    qd_rng_to_text(&begun->consumed, text->consumed);
    snprintf(text->batches, sizeof text->batches, "%lld", (long long)begun->batches);
    snprintf(text->count, sizeof text->count, "%lld", (long long)begun->totals.count);
    snprintf(text->correct, sizeof text->correct, "%lld", (long long)begun->totals.correct);
    snprintf(text->loss_sum, sizeof text->loss_sum, "%a", begun->totals.loss_sum); /* every bit */
    const qd_metadata_entry list[] = {{"epoch_batches", text->batches}, {"epoch_start_rng", text->start},
                                      {"epoch_rng", text->consumed},    {"epoch_images", text->count},
                                      {"epoch_correct", text->correct}, {"epoch_loss_sum", text->loss_sum}};
    memcpy(entries, list, sizeof list);
    return (int)(sizeof list / sizeof list[0]);
}

enum qd_status qd_checkpoint_write(qd_context *ctx, const char *path, const qd_state *state,
                                   const qd_checkpoint_info *info)
{
    char rng[QD_RNG_TEXT_BYTES], num_classes[24], image_size[24], epoch[24], step[24];
    qd_rng_to_text(&info->rng, rng);
    snprintf(num_classes, sizeof num_classes, "%lld", (long long)info->config.num_classes);
    snprintf(image_size, sizeof image_size, "%lld", (long long)info->config.image_size);
    snprintf(epoch, sizeof epoch, "%lld", (long long)info->epoch);
    snprintf(step, sizeof step, "%lld", (long long)info->step);
    enum { ENTRIES = 12, BEGUN_ENTRIES = 6 };
    qd_metadata_entry metadata[ENTRIES + BEGUN_ENTRIES] = {
        {"format", "pt"}, /* what Hugging Face's loaders ask for: tensors laid out as PyTorch's */
        {"quantdrift_checkpoint", CHECKPOINT_VERSION},
        {"model", info->model},
        {"head", qd_head_names[info->config.head]},
        {"num_classes", num_classes},
        {"image_size", image_size},
        {"epoch", epoch},
        {"step", step},
        {"rng", rng},
        {"config_hash", info->config_hash},
        {"data_fingerprint", info->data_fingerprint},
        {"training_history", info->history_json ? info->history_json : "[]"},
    };
    begun_text begun;
    const int entries = ENTRIES + list_begun(&info->begun, &begun, metadata + ENTRIES);
    qd_state_tensors list;
    QD_TRY(qd_state_tensors_list(ctx, state, &list));
    enum qd_status status = qd_safetensors_write(ctx, path, list.tensors, list.count, metadata, entries);
    qd_state_tensors_free(&list);
    return status;
}

/* ---- metadata ---- */

static enum qd_status read_integer(qd_context *ctx, const char *path, const qd_safetensors *file, const char *key,
                                   int64_t *out)
{
    const char *text = qd_safetensors_metadata(file, key);
    char *end = NULL;
    errno = 0;
    long long value = text ? strtoll(text, &end, 10) : -1;
    if (!text || errno || end == text || *end || value < 0)
        return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s': metadata '%s' must be a whole number, found '%.40s'",
                       path, key, text ? text : "nothing");
    *out = value;
    return QD_OK;
}

static enum qd_status read_text(qd_context *ctx, const char *path, const qd_safetensors *file, const char *key,
                                char *out, size_t size)
{
    const char *text = qd_safetensors_metadata(file, key);
    if (!text || strlen(text) >= size)
        return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s': metadata '%s' is %s", path, key,
                       text ? "too long" : "missing");
    memcpy(out, text, strlen(text) + 1);
    return QD_OK;
}

static enum qd_status read_head(qd_context *ctx, const char *path, const qd_safetensors *file, enum qd_head *head)
{
    char text[32];
    QD_TRY(read_text(ctx, path, file, "head", text, sizeof text));
    if (qd_head_parse(text, head))
        return QD_OK;
    return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s': unknown head '%s'", path, text);
}

static enum qd_status read_rng(qd_context *ctx, const char *path, const qd_safetensors *file, const char *key,
                               qd_rng *out)
{
    const char *text = qd_safetensors_metadata(file, key);
    if (!text || !qd_rng_from_text(out, text))
        return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s': the generator's state '%s' is missing or damaged", path,
                       key);
    return QD_OK;
}

static enum qd_status read_begun(qd_context *ctx, const char *path, const qd_safetensors *file, qd_epoch_state *begun)
{
    if (!qd_safetensors_metadata(file, "epoch_batches"))
        return QD_OK;
    QD_TRY(read_integer(ctx, path, file, "epoch_batches", &begun->batches));
    QD_TRY(read_integer(ctx, path, file, "epoch_images", &begun->totals.count));
    QD_TRY(read_integer(ctx, path, file, "epoch_correct", &begun->totals.correct));
    QD_TRY(read_rng(ctx, path, file, "epoch_start_rng", &begun->start));
    QD_TRY(read_rng(ctx, path, file, "epoch_rng", &begun->consumed));
    const char *text = qd_safetensors_metadata(file, "epoch_loss_sum");
    char *end = NULL;
    begun->totals.loss_sum = text ? strtod(text, &end) : 0.0;
    if (!text || end == text || *end)
        return qd_fail(ctx, QD_ERR_INPUT,
                       "checkpoint '%s': metadata 'epoch_loss_sum' must be a number, found '%.40s'", path,
                       text ? text : "nothing");
    return QD_OK;
}

static enum qd_status read_metadata(qd_context *ctx, const char *path, const qd_safetensors *file,
                                    qd_checkpoint_info *info)
{
    const char *version = qd_safetensors_metadata(file, "quantdrift_checkpoint");
    info->quantized = qd_quantized_file_recognise(file);
    if (!version || info->quantized)
        return QD_OK; /* plain weights */
    if (strcmp(version, CHECKPOINT_VERSION) != 0)
        return qd_fail(ctx, QD_ERR_INPUT,
                       "checkpoint '%s': version %.20s, this program reads version " CHECKPOINT_VERSION, path,
                       version);
    QD_TRY(read_text(ctx, path, file, "model", info->model, sizeof info->model));
    QD_TRY(read_head(ctx, path, file, &info->config.head));
    QD_TRY(read_integer(ctx, path, file, "num_classes", &info->config.num_classes));
    QD_TRY(read_integer(ctx, path, file, "image_size", &info->config.image_size));
    QD_TRY(read_integer(ctx, path, file, "epoch", &info->epoch));
    QD_TRY(read_integer(ctx, path, file, "step", &info->step));
    QD_TRY(read_text(ctx, path, file, "config_hash", info->config_hash, sizeof info->config_hash));
    QD_TRY(read_text(ctx, path, file, "data_fingerprint", info->data_fingerprint, sizeof info->data_fingerprint));
    QD_TRY(read_rng(ctx, path, file, "rng", &info->rng));
    QD_TRY(read_begun(ctx, path, file, &info->begun));
    const char *history = qd_safetensors_metadata(file, "training_history");
    if (history) {
        info->history_json = strdup(history);
        if (!info->history_json)
            return qd_fail(ctx, QD_ERR_MEMORY, "checkpoint '%s': out of memory", path);
    }
    return QD_OK;
}

enum qd_status qd_checkpoint_read_info(qd_context *ctx, const char *path, qd_checkpoint_info *info)
{
    qd_safetensors *file = NULL;
    qd_checkpoint_info read = {0};
    QD_TRY(qd_safetensors_open(ctx, path, &file));
    enum qd_status status = read_metadata(ctx, path, file, &read);
    qd_safetensors_close(file);
    if (status == QD_OK)
        *info = read;
    else
        qd_checkpoint_info_free(&read);
    return status;
}

void qd_checkpoint_info_free(qd_checkpoint_info *info)
{
    free(info->history_json);
    *info = (qd_checkpoint_info){0};
}

/* ---- reading tensors ---- */

static bool is_momentum(const char *name)
{
    return strncmp(name, QD_MOMENTUM_PREFIX, strlen(QD_MOMENTUM_PREFIX)) == 0;
}

enum qd_status qd_checkpoint_read(qd_context *ctx, const char *path, qd_state *state)
{
    enum qd_status status = QD_OK;
    qd_safetensors *file = NULL;
    qd_state_tensors list = {0};
    qd_tensor *have = NULL;
    int count = 0;
    bool momentum = false;
    char source[300];
    const qd_fill_options options = {.source = source, .model = state->graph->model_name};
    snprintf(source, sizeof source, "checkpoint '%.280s'", path);
    QD_TRY_GOTO(qd_safetensors_open(ctx, path, &file));
    QD_TRY_GOTO(qd_state_tensors_list(ctx, state, &list));
    have = qd_calloc((size_t)qd_safetensors_count(file), sizeof *have);
    if (!have) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "checkpoint '%s': out of memory", path);
        goto fail;
    }
    for (int i = 0; i < qd_safetensors_count(file); i++) {
        const qd_tensor *tensor = qd_safetensors_get(file, i);
        momentum = momentum || is_momentum(tensor->name);
        if (state->momentum || !is_momentum(tensor->name)) /* a network that does not train has no use for it */
            have[count++] = *tensor;
    }
    QD_TRY_GOTO(qd_state_tensors_fill(ctx, &list, momentum ? list.count : list.weight_count, have, count, &options));
fail:
    free(have);
    qd_state_tensors_free(&list);
    qd_safetensors_close(file);
    return status;
}
