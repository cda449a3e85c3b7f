#include "experiment/analysis_head.h"
#include "base/file.h"
#include <quantdrift/build_info.h>
#include <stdio.h>

/* Of the files' keys and their meaning; a reader refuses higher ones. */
#define FORMAT_VERSION 1

enum qd_status qd_analysis_head_identify(qd_json_writer *w, cJSON *root, const qd_network *network,
                                         const char *checkpoint)
{
    char hash[65];
    const bool ours = network->info.model[0] != '\0';
    QD_TRY(qd_file_sha256(network->ctx, checkpoint, hash));
    qd_json_put_string(w, root, "model", network->model->name);
    qd_json_put_string(w, root, "display_name", network->model->display_name);
    qd_json_put_string(w, root, "checkpoint", checkpoint);
    qd_json_put_string(w, root, "checkpoint_sha256", hash);
    qd_json_put(w, root, "epoch", ours ? qd_json_int(network->info.epoch) : cJSON_CreateNull());
    return QD_OK;
}

static void put_scheme(qd_json_writer *w, cJSON *object, const qd_quantize_options *options)
{
    const qd_quant_scheme scheme = qd_quantize_options_scheme(options);
    qd_json_put_int(w, object, "weight_bits", scheme.weight_bits);
    qd_json_put(w, object, "weight_per_channel", cJSON_CreateBool(scheme.weight_per_channel));
    qd_json_put_int(w, object, "activation_bits", scheme.activation_bits);
    qd_json_put(w, object, "activation_signed", cJSON_CreateBool(scheme.activation_signed));
    qd_json_put(w, object, "activation_symmetric", cJSON_CreateBool(scheme.activation_symmetric));
    qd_json_put_string(w, object, "calibrator", qd_quantize_options_calibrator(options));
}

enum qd_status qd_analysis_head_write(qd_json_writer *w, cJSON *root, const qd_network *network,
                                      const qd_analysis_head *head)
{
    char producer[64];
    snprintf(producer, sizeof producer, "quantdrift %s", qd_build_info_get().version);
    qd_json_put_string(w, root, "format", head->format);
    qd_json_put_int(w, root, "version", FORMAT_VERSION);
    qd_json_put_string(w, root, "producer", producer);
    QD_TRY(qd_analysis_head_identify(w, root, network, head->checkpoint));
    qd_json_put_int(w, root, "image_size", network->config.image_size);
    qd_json_put_int(w, root, "classes", network->config.num_classes);
    put_scheme(w, qd_json_add_object(w, root, "scheme"), head->quantization);
    qd_json_put(w, root, "data", head->data ? cJSON_CreateString(head->data) : cJSON_CreateNull());
    qd_json_put_int(w, root, "calibration_images", head->calibration_images);
    qd_json_put_int(w, root, "calibration_seed", (int64_t)head->quantization->calibration_seed);
    return QD_OK;
}
