/* Training batches into a file and onto a contact sheet. */
#include <quantdrift/batches.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "dataset/image_io.h"
#include "experiment/replay.h"
#include "formats/safetensors.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Batches decoded ahead of the copy. */
#define PREFETCH_BATCHES 2

/* images, bytes, labels, indices */
#define TENSORS_PER_BATCH 4
#define TENSOR_NAME_BYTES 48

/* White between the images of a sheet, pixels: enough to tell neighbours apart. */
#define SHEET_GAP 2

/* Pillow warns beyond it, and so refuses this program's own reader (dataset.h). */
#define MAX_SHEET_PIXELS 178956970

/* One batch, copied out of the loader. */
typedef struct kept_batch {
    int64_t n, ordinal;
    float *images;             /* [n][size][size][3] */
    uint8_t *bytes;            /* the same */
    int64_t *labels, *indices; /* [n] */
} kept_batch;

typedef struct batch_list {
    kept_batch *batches;
    int64_t count, images;
} batch_list;

static void free_batches(batch_list *list)
{
    for (int64_t i = 0; list->batches && i < list->count; i++) {
        free(list->batches[i].images);
        free(list->batches[i].bytes);
        free(list->batches[i].labels);
        free(list->batches[i].indices);
    }
    free(list->batches);
    *list = (batch_list){0};
}

static enum qd_status keep_batch(qd_context *ctx, const qd_batch *batch, size_t values, batch_list *list)
{
    size_t n = (size_t)batch->n;
    kept_batch *kept = &list->batches[list->count++];
    *kept = (kept_batch){.n = batch->n,
                         .ordinal = batch->ordinal,
                         .images = qd_calloc(n * values, sizeof(float)),
                         .bytes = qd_calloc(n * values, 1),
                         .labels = qd_calloc(n, sizeof(int64_t)),
                         .indices = qd_calloc(n, sizeof(int64_t))};
    if (!kept->images || !kept->bytes || !kept->labels || !kept->indices)
        return qd_fail(ctx, QD_ERR_MEMORY, "batches: out of memory for batch %lld; ask for fewer at a time",
                       (long long)batch->ordinal);
    memcpy(kept->images, batch->images, n * values * sizeof(float));
    memcpy(kept->bytes, batch->bytes, n * values);
    memcpy(kept->labels, batch->labels, n * sizeof(int64_t));
    memcpy(kept->indices, batch->indices, n * sizeof(int64_t));
    list->images += batch->n;
    return QD_OK;
}

/* ---- loading ---- */

/* Columns of a sheet that is about as wide as it is high. */
static int64_t sheet_columns(int64_t images)
{
    return (int64_t)ceil(sqrt((double)images));
}

static enum qd_status check_request(const qd_run *run, const qd_batches_request *request, int64_t batch_count)
{
    const qd_config *config = run->config;
    if (request->count < 1 || request->first_batch < 0 || request->first_batch >= batch_count)
        return qd_fail(run->ctx, QD_ERR_USAGE,
                       "batches: an epoch of '%s' in batches of %lld has batches 0 to %lld; %lld from batch %lld on "
                       "are not there",
                       config->data_dir, (long long)config->batch_size, (long long)(batch_count - 1),
                       (long long)request->count, (long long)request->first_batch);
    int64_t batches = batch_count - request->first_batch;
    if (batches > request->count)
        batches = request->count;
    double columns = (double)sheet_columns(batches * config->batch_size);
    double side = columns * (double)(config->image_size + SHEET_GAP);
    if (request->png_path && side * side > MAX_SHEET_PIXELS)
        return qd_fail(run->ctx, QD_ERR_USAGE,
                       "batches: a sheet of %lld images of %lld px has more than %d pixels, which image readers "
                       "refuse; ask for fewer batches",
                       (long long)(batches * config->batch_size), (long long)config->image_size, MAX_SHEET_PIXELS);
    return QD_OK;
}

static enum qd_status load_batches(const qd_run *run, const qd_graph *graph, const qd_rng *start,
                                   const qd_batches_request *request, batch_list *list)
{
    enum qd_status status = QD_OK;
    qd_loader *loader = NULL;
    qd_loader_config config = qd_run_loader_config(run, graph, true);
    size_t values = (size_t)config.image_size * (size_t)config.image_size * 3;
    config.keep_bytes = true;
    config.cache_images = false; /* nothing is read twice */
    config.prefetch_batches = PREFETCH_BATCHES;
    QD_TRY_GOTO(qd_loader_create(run->ctx, &config, &loader));
    int64_t batch_count = qd_loader_batch_count(loader);
    QD_TRY_GOTO(check_request(run, request, batch_count));
    list->batches = qd_calloc((size_t)batch_count, sizeof *list->batches);
    if (!list->batches) {
        status = qd_fail(run->ctx, QD_ERR_MEMORY, "batches: out of memory");
        goto fail;
    }
    QD_TRY_GOTO(qd_loader_start_epoch(loader, start, request->first_batch));
    while (list->count < request->count) {
        const qd_batch *batch;
        QD_TRY_GOTO(qd_loader_next(loader, &batch));
        if (!batch)
            break;
        QD_TRY_GOTO(keep_batch(run->ctx, batch, values, list));
    }
fail:
    qd_loader_destroy(loader);
    return status;
}

/* ---- the file ---- */

/* [["class/name", …], …], one list a batch, as one line; NULL when memory is short. */
static char *list_files(const qd_run *run, const batch_list *list)
{
    /* Paths are as opened: "<folder>/class/name". */
    size_t prefix = strlen(qd_dataset_folder(run->training)) + 1;
    cJSON *root = cJSON_CreateArray();
    bool ok = root != NULL;
    for (int64_t b = 0; ok && b < list->count; b++) {
        cJSON *names = cJSON_CreateArray();
        ok = cJSON_AddItemToArray(root, names);
        for (int64_t i = 0; ok && i < list->batches[b].n; i++) {
            const char *path = qd_dataset_get(run->training, list->batches[b].indices[i])->path;
            ok = cJSON_AddItemToArray(names, cJSON_CreateString(path + prefix));
        }
    }
    char *text = ok ? qd_json_print_line(root) : NULL;
    cJSON_Delete(root);
    return text;
}

static void name_tensor(qd_tensor *tensor, char name[TENSOR_NAME_BYTES], int64_t ordinal, const char *what)
{
    snprintf(name, TENSOR_NAME_BYTES, "batch_%lld.%s", (long long)ordinal, what);
    tensor->name = name;
}

static void describe_batch(const kept_batch *batch, int64_t size, qd_tensor *tensors,
                           char (*names)[TENSOR_NAME_BYTES])
{
    tensors[0] = qd_tensor_nhwc(QD_F32, batch->n, 3, size, size, batch->images);
    tensors[1] = qd_tensor_nhwc(QD_U8, batch->n, 3, size, size, batch->bytes);
    tensors[2] = qd_tensor_contiguous(QD_S64, 1, &batch->n, batch->labels);
    tensors[3] = qd_tensor_contiguous(QD_S64, 1, &batch->n, batch->indices);
    static const char *const parts[TENSORS_PER_BATCH] = {"images", "bytes", "labels", "indices"};
    for (int i = 0; i < TENSORS_PER_BATCH; i++)
        name_tensor(&tensors[i], names[i], batch->ordinal, parts[i]);
}

static enum qd_status write_tensors(const qd_run *run, const qd_batches_request *request, const batch_list *list)
{
    enum qd_status status = QD_OK;
    const qd_config *config = run->config;
    size_t tensor_count = (size_t)list->count * TENSORS_PER_BATCH;
    qd_tensor *tensors = qd_calloc(tensor_count, sizeof *tensors);
    char(*names)[TENSOR_NAME_BYTES] = qd_calloc(tensor_count, sizeof *names);
    char *files = list_files(run, list);
    if (!tensors || !names || !files) {
        status = qd_fail(run->ctx, QD_ERR_MEMORY, "batches: out of memory");
        goto fail;
    }
    for (int64_t b = 0; b < list->count; b++)
        describe_batch(&list->batches[b], config->image_size, tensors + b * TENSORS_PER_BATCH,
                       names + b * TENSORS_PER_BATCH);
    char seed[24], epoch[24], first[24];
    snprintf(seed, sizeof seed, "%lld", (long long)config->seed);
    snprintf(epoch, sizeof epoch, "%lld", (long long)request->epoch);
    snprintf(first, sizeof first, "%lld", (long long)request->first_batch);
    const qd_metadata_entry metadata[] = {
        {"model", request->model}, {"seed", seed}, {"epoch", epoch}, {"first_batch", first}, {"files", files}};
    status = qd_safetensors_write(run->ctx, request->path, tensors, (int)tensor_count, metadata,
                                  (int)(sizeof metadata / sizeof metadata[0]));
fail:
    free(tensors);
    free(names);
    free(files);
    return status;
}

/* ---- the sheet ---- */

/* Copies an image into its place; memory of both is row-major RGB. */
static void paste(const uint8_t *image, int64_t size, qd_image *sheet, int64_t row, int64_t column)
{
    int64_t left = column * (size + SHEET_GAP), top = row * (size + SHEET_GAP);
    for (int64_t y = 0; y < size; y++)
        memcpy(sheet->rgb + ((top + y) * sheet->width + left) * 3, image + y * size * 3, (size_t)size * 3);
}

static enum qd_status write_bytes(qd_context *ctx, const char *path, const uint8_t *bytes, size_t size)
{
    qd_atomic_file file = {0};
    QD_TRY(qd_atomic_open(ctx, path, &file));
    fwrite(bytes, 1, size, file.stream); /* the commit tells of a failure */
    return qd_atomic_commit(&file);
}

static enum qd_status write_sheet(const qd_run *run, const char *path, const batch_list *list)
{
    enum qd_status status = QD_OK;
    int64_t size = run->config->image_size, columns = sheet_columns(list->images), place = 0;
    int64_t rows = (list->images + columns - 1) / columns;
    qd_image sheet = {.width = (int32_t)(columns * (size + SHEET_GAP) - SHEET_GAP),
                      .height = (int32_t)(rows * (size + SHEET_GAP) - SHEET_GAP)};
    size_t sheet_bytes = (size_t)sheet.width * (size_t)sheet.height * 3, png_bytes = 0;
    uint8_t *png = NULL;
    sheet.rgb = malloc(sheet_bytes);
    if (!sheet.rgb) {
        status = qd_fail(run->ctx, QD_ERR_MEMORY, "batches: out of memory for a sheet of %d x %d", sheet.width,
                         sheet.height);
        goto fail;
    }
    memset(sheet.rgb, 255, sheet_bytes);
    for (int64_t b = 0; b < list->count; b++)
        for (int64_t i = 0; i < list->batches[b].n; i++, place++)
            paste(list->batches[b].bytes + i * size * size * 3, size, &sheet, place / columns, place % columns);
    QD_TRY_GOTO(qd_image_encode_png(run->ctx, &sheet, false, &png, &png_bytes));
    QD_TRY_GOTO(write_bytes(run->ctx, path, png, png_bytes));
fail:
    free(png);
    free(sheet.rgb);
    return status;
}

/* ---- the whole ---- */

static enum qd_status find_model(const qd_run *run, const char *name, int *index)
{
    for (*index = 0; *index < run->config->model_count; (*index)++)
        if (strcmp(run->config->models[*index]->name, name) == 0)
            return QD_OK;
    return qd_fail(run->ctx, QD_ERR_USAGE, "batches: the experiment has no model '%s'", name);
}

enum qd_status qd_batches_write(qd_experiment *experiment, const qd_batches_request *request, qd_batches_summary *out)
{
    enum qd_status status = QD_OK;
    qd_context *ctx = experiment->ctx;
    qd_run run = {.ctx = ctx, .config = &experiment->config};
    qd_graph *graph = NULL;
    batch_list list = {0};
    qd_rng start;
    int model = 0;
    run.loader_threads = run.config->loader_threads > 0 ? run.config->loader_threads : qd_context_threads(ctx);
    QD_TRY_GOTO(find_model(&run, request->model, &model));
    QD_TRY_GOTO(qd_run_open_split(&run, "train", &run.training));
    QD_TRY_GOTO(qd_run_count_classes(&run));
    QD_TRY_GOTO(qd_replay_epoch_start(&run, model, request->epoch, &start));
    const qd_model_config config = qd_run_model_config(&run);
    QD_TRY_GOTO(qd_model_build(ctx, run.config->models[model], &config, &graph));
    QD_TRY_GOTO(load_batches(&run, graph, &start, request, &list));
    QD_TRY_GOTO(write_tensors(&run, request, &list));
    if (request->png_path)
        QD_TRY_GOTO(write_sheet(&run, request->png_path, &list));
    *out = (qd_batches_summary){.batches = list.count, .images = list.images};
fail:
    free_batches(&list);
    qd_graph_destroy(graph);
    qd_dataset_destroy(run.training);
    return status;
}
