/* Network state to and from safetensors. */
#include "train/checkpoint.h"
#include "base/arena.h"
#include "base/error.h"
#include "formats/safetensors.h"
#include "graph/state_tensors.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Raised when a reader of an older file would misunderstand it. */
#define CHECKPOINT_VERSION "1"
static const char *const head_names[] = {[QD_HEAD_LINEAR] = "num_classes", [QD_HEAD_BINARY] = "binary"};

enum qd_status qd_checkpoint_write(qd_context *ctx, const char *path, const qd_state *state,
                                   const qd_checkpoint_info *info)
{
    char rng[QD_RNG_TEXT_BYTES], num_classes[24], image_size[24], epoch[24], step[24];
    qd_rng_to_text(&info->rng, rng);
    snprintf(num_classes, sizeof num_classes, "%lld", (long long)info->config.num_classes);
    snprintf(image_size, sizeof image_size, "%lld", (long long)info->config.image_size);
    snprintf(epoch, sizeof epoch, "%lld", (long long)info->epoch);
    snprintf(step, sizeof step, "%lld", (long long)info->step);
    const qd_metadata_entry metadata[] = {
        {"format", "pt"}, /* what Hugging Face's loaders ask for: tensors laid out as PyTorch's */
        {"quantdrift_checkpoint", CHECKPOINT_VERSION},
        {"model", info->model},
        {"head", head_names[info->config.head]},
        {"num_classes", num_classes},
        {"image_size", image_size},
        {"epoch", epoch},
        {"step", step},
        {"rng", rng},
        {"config_hash", info->config_hash},
        {"data_fingerprint", info->data_fingerprint},
        {"training_history", info->history_json ? info->history_json : "[]"},
    };
    qd_state_tensors list;
    QD_TRY(qd_state_tensors_list(ctx, state, &list));
    enum qd_status status = qd_safetensors_write(ctx, path, list.tensors, list.count, metadata,
                                                 (int)(sizeof metadata / sizeof metadata[0]));
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
    for (size_t i = 0; i < sizeof head_names / sizeof head_names[0]; i++) {
        if (strcmp(text, head_names[i]) == 0) {
            *head = (enum qd_head)i;
            return QD_OK;
        }
    }
    return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s': unknown head '%s'", path, text);
}

static enum qd_status read_metadata(qd_context *ctx, const char *path, const qd_safetensors *file,
                                    qd_checkpoint_info *info)
{
    const char *version = qd_safetensors_metadata(file, "quantdrift_checkpoint");
    if (!version)
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
    const char *rng = qd_safetensors_metadata(file, "rng");
    if (!rng || !qd_rng_from_text(&info->rng, rng))
        return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s': the generator's state is missing or damaged", path);
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
