/* Network state to and from safetensors. The tensor list is walked the same way for writing and reading. */
#include "train/checkpoint.h"
#include "base/arena.h"
#include "base/error.h"
#include "formats/safetensors.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Raised when a reader of an older file would misunderstand it. */
#define CHECKPOINT_VERSION "1"
#define MOMENTUM_PREFIX    "momentum."
#define TRACKED_SUFFIX     ".num_batches_tracked"
#define NAME_BYTES         (QD_NAME_BYTES + 64)

static const char *const head_names[] = {[QD_HEAD_LINEAR] = "num_classes", [QD_HEAD_BINARY] = "binary"};

/* Everything a checkpoint holds, as views into the state. */
typedef struct tensor_list {
    qd_tensor *tensors;
    char (*names)[NAME_BYTES];
    int count;
    int weight_count; /* the tensors of torchvision's state_dict; momentum follows */
} tensor_list;

static void free_list(tensor_list *list)
{
    free(list->tensors);
    free(list->names);
    *list = (tensor_list){0};
}

static void append(tensor_list *list, qd_tensor tensor, const char *prefix, const char *name, const char *suffix)
{
    char *text = list->names[list->count];
    snprintf(text, NAME_BYTES, "%s%s%s", prefix, name, suffix);
    tensor.name = text;
    list->tensors[list->count++] = tensor;
}

static enum qd_status list_tensors(qd_context *ctx, const qd_state *state, tensor_list *list)
{
    const qd_graph *graph = state->graph;
    size_t most = 2 * (size_t)graph->param_count + (size_t)graph->buffer_count + (size_t)graph->batches_tracked_count;
    *list = (tensor_list){.tensors = qd_calloc(most, sizeof(qd_tensor)), .names = qd_calloc(most, NAME_BYTES)};
    if (!list->tensors || !list->names) {
        free_list(list);
        return qd_fail(ctx, QD_ERR_MEMORY, "checkpoint: out of memory for a list of %zu tensors", most);
    }
    for (int n = 0; n < graph->node_count; n++) {
        const qd_node *node = &graph->nodes[n];
        for (int i = 0; i < QD_MAX_PARAMS; i++)
            if (node->param[i] >= 0)
                append(list, qd_state_param(state, QD_BLOCK_PARAMS, node->param[i]), "",
                       graph->params[node->param[i]].name, "");
        for (int i = 0; i < QD_MAX_BUFFERS; i++)
            if (node->buffer[i] >= 0)
                append(list, qd_state_buffer(state, node->buffer[i]), "", graph->buffers[node->buffer[i]].name, "");
        if (node->batches_tracked >= 0)
            append(list, qd_tensor_contiguous(QD_S64, 0, NULL, &state->batches_tracked[node->batches_tracked]), "",
                   node->name, TRACKED_SUFFIX);
    }
    list->weight_count = list->count;
    for (int p = 0; state->momentum && p < graph->param_count; p++)
        append(list, qd_state_param(state, QD_BLOCK_MOMENTUM, p), MOMENTUM_PREFIX, graph->params[p].name, "");
    return QD_OK;
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
    tensor_list list;
    QD_TRY(list_tensors(ctx, state, &list));
    enum qd_status status = qd_safetensors_write(ctx, path, list.tensors, list.count, metadata,
                                                 (int)(sizeof metadata / sizeof metadata[0]));
    free_list(&list);
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

/* One kind of difference between a file and a state: a count and the first few names. */
typedef struct name_list {
    char text[500];
    size_t used;
    int count;
} name_list;

/* Enough to recognise what is wrong; a checkpoint of another model differs in all of its hundred tensors. */
#define NAMES_SHOWN 6

static void add_name(name_list *list, const char *name, const char *detail)
{
    if (list->count++ >= NAMES_SHOWN || list->used >= sizeof list->text)
        return;
    list->used += (size_t)snprintf(list->text + list->used, sizeof list->text - list->used, "%s%s%s",
                                   list->count > 1 ? ", " : "", name, detail);
}

static void print_list(const name_list *list, const char *what, char *text, size_t size)
{
    if (list->count == 0)
        text[0] = '\0';
    else if (list->count > NAMES_SHOWN)
        snprintf(text, size, "; %d %s: %s and %d more", list->count, what, list->text, list->count - NAMES_SHOWN);
    else
        snprintf(text, size, "; %d %s: %s", list->count, what, list->text);
}

static void print_shape(const qd_tensor *tensor, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s[", qd_dtype_name(tensor->dtype));
    for (int d = 0; d < tensor->rank && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", d ? "," : "", (long long)tensor->shape[d]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

static bool is_float(enum qd_dtype dtype)
{
    return dtype == QD_F32 || dtype == QD_F64;
}

static bool fits(const qd_tensor *have, const qd_tensor *need)
{
    bool same_kind = have->dtype == need->dtype || (is_float(have->dtype) && is_float(need->dtype));
    return same_kind && have->rank == need->rank &&
           memcmp(have->shape, need->shape, (size_t)need->rank * sizeof need->shape[0]) == 0;
}

static bool has_momentum(const qd_safetensors *file)
{
    for (int i = 0; i < qd_safetensors_count(file); i++)
        if (strncmp(qd_safetensors_get(file, i)->name, MOMENTUM_PREFIX, strlen(MOMENTUM_PREFIX)) == 0)
            return true;
    return false;
}

static bool is_listed(const tensor_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return true;
    return false;
}

/* Compares names and shapes of the first `needed` tensors with the file's. */
static enum qd_status check_file(qd_context *ctx, const char *path, const char *model, const qd_safetensors *file,
                                 const tensor_list *list, int needed)
{
    name_list missing = {0}, extra = {0}, misshapen = {0};
    for (int i = 0; i < needed; i++) {
        const qd_tensor *have = qd_safetensors_find(file, list->names[i]);
        if (!have) {
            add_name(&missing, list->names[i], "");
        } else if (!fits(have, &list->tensors[i])) {
            char expected[64], found[64], detail[160];
            print_shape(&list->tensors[i], expected, sizeof expected);
            print_shape(have, found, sizeof found);
            snprintf(detail, sizeof detail, " (expected %s, found %s)", expected, found);
            add_name(&misshapen, list->names[i], detail);
        }
    }
    for (int i = 0; i < qd_safetensors_count(file); i++) {
        const char *name = qd_safetensors_get(file, i)->name;
        bool is_momentum = strncmp(name, MOMENTUM_PREFIX, strlen(MOMENTUM_PREFIX)) == 0;
        if (!is_listed(list, is_momentum ? name + strlen(MOMENTUM_PREFIX) : name))
            add_name(&extra, name, "");
    }
    if (missing.count + extra.count + misshapen.count == 0)
        return QD_OK;
    char parts[3][560];
    print_list(&missing, "missing", parts[0], sizeof parts[0]);
    print_list(&extra, "unknown", parts[1], sizeof parts[1]);
    print_list(&misshapen, "of another shape or type", parts[2], sizeof parts[2]);
    return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s' does not fit the network '%s'%s%s%s", path, model, parts[0],
                   parts[1], parts[2]);
}

enum qd_status qd_checkpoint_read(qd_context *ctx, const char *path, qd_state *state)
{
    enum qd_status status = QD_OK;
    qd_safetensors *file = NULL;
    tensor_list list = {0};
    QD_TRY_GOTO(qd_safetensors_open(ctx, path, &file));
    QD_TRY_GOTO(list_tensors(ctx, state, &list));
    int needed = has_momentum(file) ? list.count : list.weight_count;
    QD_TRY_GOTO(check_file(ctx, path, state->graph->model_name, file, &list, needed));
    for (int i = 0; i < needed; i++)
        QD_TRY_GOTO(qd_tensor_copy(ctx, &list.tensors[i], qd_safetensors_find(file, list.names[i])));
fail:
    free_list(&list);
    qd_safetensors_close(file);
    return status;
}
