/* What a run leaves for other programs: the trained networks in the formats its configuration lists. */
#include "base/error.h"
#include "base/file.h"
#include "experiment/run.h"
#include <ctype.h>
#include <quantdrift/network.h>
#include <stdlib.h>
#include <string.h>

/* How files are called after "<model>_<dataset>". */
static const char *const suffixes[QD_EXPORT_FORMAT_COUNT] = {[QD_EXPORT_SAFETENSORS] = ".safetensors",
                                                             [QD_EXPORT_PTH] = ".pth",
                                                             [QD_EXPORT_ONNX] = ".onnx",
                                                             [QD_EXPORT_ONNX_QDQ] = "_qdq.onnx",
                                                             [QD_EXPORT_ENCODINGS] = "_encodings.json"};

static size_t digits_before(const char *text, size_t end)
{
    size_t count = 0;
    while (count < end && isdigit((unsigned char)text[end - 1 - count]))
        count++;
    return count;
}

/*
 * Name of the data set in a folder's name: of the form "<name><version>-<pixels>", which fastai gives the sizes of
 * its sets, the name alone ("imagewoof2-320": "imagewoof"); of any other form all of it.
 */
static size_t dataset_length(const char *folder)
{
    const size_t length = strlen(folder), pixels = digits_before(folder, length);
    if (pixels == 0 || pixels + 1 >= length || folder[length - pixels - 1] != '-')
        return length;
    const size_t dash = length - pixels - 1, name = dash - digits_before(folder, dash);
    return name > 0 ? name : length;
}

char *qd_export_path(const qd_config *config, const qd_model_info *model, enum qd_export_format format)
{
    size_t end = strlen(config->data_dir);
    while (end > 1 && config->data_dir[end - 1] == '/')
        end--;
    char *folder = strndup(config->data_dir, end);
    if (!folder)
        return NULL;
    const char *slash = strrchr(folder, '/'), *name = slash && slash[1] ? slash + 1 : folder;
    char *path =
        qd_format("%s/%s_%.*s%s", config->output_dir, model->name, (int)dataset_length(name), name, suffixes[format]);
    free(folder);
    return path;
}

static enum qd_status export_format(qd_run *run, const qd_model_info *model, qd_network *network,
                                    enum qd_export_format format)
{
    const qd_config *config = run->config;
    const qd_export_options options = {.format = format,
                                       .quantization = {
                                           .calibration = run->training,
                                           .calibration_images = config->quantization.calibration_images,
                                           .calibration_seed = (uint64_t)config->quantization.calibration_seed,
                                           .recipe = &config->quantization.recipe,
                                       }};
    char *path = qd_export_path(config, model, format);
    if (!path)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "exporting %s: out of memory", model->display_name);
    enum qd_status status = qd_network_export(network, &options, path);
    if (status == QD_OK)
        qd_log(run->ctx, QD_LOG_INFO, "%s: exported to %s", model->display_name, path);
    free(path);
    return status;
}

enum qd_status qd_run_export(qd_run *run, const qd_model_info *model)
{
    qd_network *network = NULL;
    enum qd_status status = QD_OK;
    if (run->config->export_formats == 0)
        return QD_OK;
    char *checkpoint = qd_checkpoint_path(run, model, "last");
    const qd_network_config config = {.checkpoint = checkpoint, .max_batch = 1};
    if (!checkpoint)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "exporting %s: out of memory", model->display_name);
    QD_TRY_GOTO(qd_network_load(run->ctx, &config, &network));
    for (int format = 0; format < QD_EXPORT_FORMAT_COUNT; format++)
        if (run->config->export_formats & 1u << format)
            QD_TRY_GOTO(export_format(run, model, network, (enum qd_export_format)format));
fail:
    qd_network_destroy(network);
    free(checkpoint);
    return status;
}
