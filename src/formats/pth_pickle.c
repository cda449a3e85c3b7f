/*
 * What a .pth file's pickle says: the state_dict's tensors, each a view into a storage.
 * Source: torch/serialization.py and torch/_utils.py of PyTorch 1.13.
 */
#include "base/arena.h"
#include "base/error.h"
#include "formats/pickle.h"
#include "formats/pth_impl.h"
#include <stdlib.h>
#include <string.h>

/* Globals a state_dict needs. The storages come first: their place is their enum qd_pth_storage. */
#define STORAGE_GLOBAL(name, type, dtype) {"torch", #name, false},
static const qd_pickle_global globals[] = {
    QD_PTH_STORAGES(STORAGE_GLOBAL) /* and behind them */
    {"torch._utils", "_rebuild_tensor_v2", false},
    {"torch._utils", "_rebuild_tensor", false},
    {"torch._utils", "_rebuild_parameter", false},
    {"collections", "OrderedDict", true},
    {"torch", "Size", false},
    {"torch", "device", false},
};
#undef STORAGE_GLOBAL
enum { REBUILD_TENSOR_V2 = QD_PTH_STORAGE_COUNT, REBUILD_TENSOR, REBUILD_PARAMETER };

/* The file being read, for errors, and what was found in it. */
typedef struct reader {
    qd_context *ctx;
    const char *path;
    qd_pth_described *tensors;
    int count;
} reader;

enum qd_status qd_pth_refuse_tensor(qd_context *ctx, const char *path, const char *name, const char *problem)
{
    return qd_fail(ctx, QD_ERR_INPUT, "reading '%s': tensor '%.200s': %s; the file is damaged", path, name, problem);
}

static enum qd_status refuse_tensor(const reader *r, const char *name, const char *problem)
{
    return qd_pth_refuse_tensor(r->ctx, r->path, name, problem);
}

/* Value of a text key; NULL when there is none. */
static enum qd_status dict_get(const reader *r, const qd_pickle_value *dict, const char *key,
                               const qd_pickle_value **out)
{
    *out = NULL;
    for (size_t i = 0; i + 1 < dict->count; i += 2) {
        if (dict->items[i]->kind != QD_PICKLE_TEXT || strcmp(dict->items[i]->text, key) != 0)
            continue;
        if (*out)
            return refuse_tensor(r, key, "it is there twice");
        *out = dict->items[i + 1];
    }
    return QD_OK;
}

/* The state_dict: the root, or what the root holds under one of the usual names. */
static enum qd_status find_state_dict(const reader *r, const qd_pickle_value *root, const qd_pickle_value **out)
{
    static const char *const wrappers[] = {"model_state_dict", "state_dict", "model"};
    if (root->kind != QD_PICKLE_DICT)
        return qd_fail(r->ctx, QD_ERR_INPUT,
                       "reading '%s': expected a dict of tensors, found a %s; save model.state_dict()", r->path,
                       qd_pickle_kind_name(root->kind));
    *out = root;
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        const qd_pickle_value *inner;
        QD_TRY(dict_get(r, root, wrappers[i], &inner));
        if (!inner || inner->kind != QD_PICKLE_DICT)
            continue;
        *out = inner;
        return QD_OK;
    }
    return QD_OK;
}

static bool is_call(const qd_pickle_value *value, int global)
{
    return value->kind == QD_PICKLE_CALL && value->items[0]->global == global;
}

/* Sizes or strides: a tuple of whole numbers that are not negative. */
static enum qd_status read_sizes(const reader *r, const char *name, const qd_pickle_value *tuple, int *rank,
                                 int64_t sizes[QD_MAX_RANK])
{
    if (tuple->kind != QD_PICKLE_TUPLE)
        return refuse_tensor(r, name, "expected a tuple of sizes");
    if (tuple->count > QD_MAX_RANK)
        return qd_fail(r->ctx, QD_ERR_INPUT,
                       "reading '%s': tensor '%.200s': expected at most %d dimensions, found %zu", r->path, name,
                       QD_MAX_RANK, tuple->count);
    *rank = (int)tuple->count;
    for (size_t i = 0; i < tuple->count; i++) {
        if (tuple->items[i]->kind != QD_PICKLE_INT || tuple->items[i]->integer < 0)
            return refuse_tensor(r, name, "expected whole sizes of at least 0");
        sizes[i] = tuple->items[i]->integer;
    }
    return QD_OK;
}

/* ('storage', torch.FloatStorage, '0', 'cpu', 64) */
static enum qd_status read_storage(const reader *r, const qd_pickle_value *value, qd_pth_described *out)
{
    const qd_pickle_value *id = value->kind == QD_PICKLE_PERSISTENT ? value->items[0] : NULL;
    if (!id || id->kind != QD_PICKLE_TUPLE || id->count != 5 || id->items[0]->kind != QD_PICKLE_TEXT ||
        strcmp(id->items[0]->text, "storage") != 0 || id->items[1]->kind != QD_PICKLE_GLOBAL ||
        id->items[1]->global >= QD_PTH_STORAGE_COUNT || id->items[2]->kind != QD_PICKLE_TEXT ||
        id->items[4]->kind != QD_PICKLE_INT || id->items[4]->integer < 0 ||
        strlen(id->items[2]->text) > QD_PTH_KEY_LENGTH)
        return refuse_tensor(r, out->name, "expected a storage of torch.save");
    out->storage = (enum qd_pth_storage)id->items[1]->global;
    out->key = id->items[2]->text;
    out->storage_count = id->items[4]->integer;
    return QD_OK;
}

/* The view must stay inside its storage. */
static enum qd_status check_bounds(const reader *r, const qd_pth_described *t)
{
    int64_t last = t->offset, count = 1;
    bool empty = false;
    for (int d = 0; d < t->rank; d++) {
        int64_t reach;
        if (__builtin_mul_overflow(count, t->shape[d] > 0 ? t->shape[d] : 1, &count) ||
            __builtin_mul_overflow(t->shape[d] > 0 ? t->shape[d] - 1 : 0, t->stride[d], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return refuse_tensor(r, t->name, "its shape is too large");
        empty = empty || t->shape[d] == 0;
    }
    if (count > INT64_MAX / (int64_t)sizeof(double))
        return refuse_tensor(r, t->name, "its shape is too large");
    if (empty ? t->offset > t->storage_count : last >= t->storage_count)
        return refuse_tensor(r, t->name, "it reaches beyond its storage");
    return QD_OK;
}

/* _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks), or a parameter made of one. */
static enum qd_status describe(const reader *r, const char *name, const qd_pickle_value *value, qd_pth_described *out)
{
    *out = (qd_pth_described){.name = name};
    if (is_call(value, REBUILD_PARAMETER) && value->items[1]->count > 0)
        value = value->items[1]->items[0];
    const bool is_tensor = is_call(value, REBUILD_TENSOR_V2) || is_call(value, REBUILD_TENSOR);
    if (!is_tensor)
        return qd_fail(
            r->ctx, QD_ERR_INPUT,
            "reading '%s': expected a state_dict, whose values are tensors, found '%.200s' of type %s; save "
            "model.state_dict(), or a dict that holds it as 'model_state_dict', 'state_dict' or 'model'",
            r->path, name, qd_pickle_kind_name(value->kind));
    const qd_pickle_value *arguments = value->items[1];
    int stride_rank;
    if (arguments->count < 4 || arguments->items[1]->kind != QD_PICKLE_INT || arguments->items[1]->integer < 0)
        return refuse_tensor(r, name, "expected a storage, an offset, sizes and strides");
    QD_TRY(read_storage(r, arguments->items[0], out));
    out->offset = arguments->items[1]->integer;
    QD_TRY(read_sizes(r, name, arguments->items[2], &out->rank, out->shape));
    QD_TRY(read_sizes(r, name, arguments->items[3], &stride_rank, out->stride));
    if (stride_rank != out->rank)
        return refuse_tensor(r, name, "expected as many strides as sizes");
    return check_bounds(r, out);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const qd_pth_described *)left)->name, ((const qd_pth_described *)right)->name);
}

static enum qd_status describe_all(reader *r, const qd_pickle_value *dict)
{
    r->count = (int)(dict->count / 2);
    r->tensors = qd_calloc((size_t)r->count, sizeof *r->tensors);
    if (!r->tensors)
        return qd_fail(r->ctx, QD_ERR_MEMORY, "reading '%s': memory is short for its list of tensors", r->path);
    for (int i = 0; i < r->count; i++) {
        const qd_pickle_value *key = dict->items[2 * i];
        if (key->kind != QD_PICKLE_TEXT)
            return qd_fail(r->ctx, QD_ERR_INPUT,
                           "reading '%s': expected a state_dict, whose keys are names, found a key of type %s",
                           r->path, qd_pickle_kind_name(key->kind));
        QD_TRY(describe(r, key->text, dict->items[2 * i + 1], &r->tensors[i]));
        r->tensors[i].place = i;
    }
    qsort(r->tensors, (size_t)r->count, sizeof *r->tensors, compare_names);
    for (int i = 1; i < r->count; i++)
        if (strcmp(r->tensors[i - 1].name, r->tensors[i].name) == 0)
            return refuse_tensor(r, r->tensors[i].name, "it is there twice");
    return QD_OK;
}

enum qd_status qd_pth_describe(qd_context *ctx, const char *path, char *pickle_bytes, size_t size,
                               qd_pth_described **tensors, int *count)
{
    enum qd_status status = QD_OK;
    reader r = {.ctx = ctx, .path = path};
    qd_pickle *pickle = NULL;
    const qd_pickle_value *dict = NULL;
    QD_TRY_GOTO(
        qd_pickle_parse(ctx, path, pickle_bytes, size, globals, (int)(sizeof globals / sizeof globals[0]), &pickle));
    QD_TRY_GOTO(find_state_dict(&r, qd_pickle_root(pickle), &dict));
    QD_TRY_GOTO(describe_all(&r, dict));
    *tensors = r.tensors;
    *count = r.count;
    r.tensors = NULL;
fail:
    free(r.tensors);
    qd_pickle_destroy(pickle);
    return status;
}
