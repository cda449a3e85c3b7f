/* A sensitivity analysis as JSON: docs/results-format.md. */
#include "base/error.h"
#include "experiment/analysis_head.h"
#include "experiment/sensitivity_impl.h"

static void put_score(qd_json_writer *w, cJSON *object, const char *key, const qd_sensitivity_score *score)
{
    cJSON *child = qd_json_add_object(w, object, key);
    qd_json_put_double(w, child, "accuracy", score->accuracy);
    qd_json_put_double(w, child, "drop", score->drop);
    qd_json_put_double(w, child, "kl", score->kl);
    qd_json_put_double(w, child, "mse", score->mse);
    qd_json_put_double(w, child, "agree_pct", score->agree_pct);
}

static void put_interval(qd_json_writer *w, cJSON *object, double low, double high)
{
    cJSON *interval = qd_json_add_array(w, object, "drop_interval");
    qd_json_push_double(w, interval, low);
    qd_json_push_double(w, interval, high);
}

static void put_networks(qd_json_writer *w, cJSON *root, const qd_sensitivity *s)
{
    const qd_sensitivity_score reference = {.accuracy = s->float_accuracy, .agree_pct = 100.0};
    put_score(w, root, "float", &reference);
    put_score(w, root, "int8", &s->int8);
    put_interval(w, cJSON_GetObjectItemCaseSensitive(root, "int8"), s->int8_low, s->int8_high);
    cJSON *modes = qd_json_add_array(w, root, "modes");
    for (int i = 0; i < s->form_count; i++) {
        cJSON *mode = qd_json_push_object(w, modes);
        qd_json_put_string(w, mode, "name", s->forms[i].name);
        put_score(w, mode, "score", &s->forms[i].score);
    }
}

static void put_layer(qd_json_writer *w, cJSON *object, const qd_sensitivity_layer *layer)
{
    qd_json_put_string(w, object, "name", layer->name);
    qd_json_put_string(w, object, "kind", layer->kind);
    qd_json_put(w, object, "weight", layer->weight ? cJSON_CreateString(layer->weight) : cJSON_CreateNull());
    cJSON *tensors = qd_json_add_array(w, object, "tensors");
    for (int t = 0; t < layer->tensor_count; t++)
        qd_json_push(w, tensors, cJSON_CreateString(layer->tensors[t]));
    put_score(w, object, "only", &layer->only);
    put_score(w, object, "without", &layer->without);
    cJSON *rank = qd_json_add_object(w, object, "rank");
    qd_json_put_int(w, rank, "accuracy", layer->rank_accuracy);
    qd_json_put_int(w, rank, "kl", layer->rank_kl);
    qd_json_put_int(w, rank, "mse", layer->rank_mse);
}

static void put_kept(qd_json_writer *w, cJSON *root, const qd_sensitivity *s, const char *encodings)
{
    cJSON *kept = qd_json_add_object(w, root, "kept");
    cJSON *layers = qd_json_add_array(w, kept, "layers");
    for (int i = 0; i < s->kept_count; i++)
        qd_json_push(w, layers, cJSON_CreateString(s->layers[s->kept[i]].name));
    qd_json_put(w, kept, "reached", cJSON_CreateBool(s->reached));
    put_score(w, kept, "score", &s->kept_score);
    put_interval(w, cJSON_GetObjectItemCaseSensitive(kept, "score"), s->kept_low, s->kept_high);
    qd_json_put_string(w, kept, "ranking", s->ranking);
    cJSON *path = qd_json_add_array(w, kept, "path");
    for (int i = 0; i < s->trial_count; i++) {
        cJSON *trial = qd_json_push_object(w, path);
        qd_json_put_string(w, trial, "ranking", s->trials[i].ranking);
        qd_json_put_int(w, trial, "layers", s->trials[i].layers);
        qd_json_put_double(w, trial, "drop", s->trials[i].drop);
    }
    qd_json_put(w, kept, "encodings", encodings ? cJSON_CreateString(encodings) : cJSON_CreateNull());
}

static enum qd_status fill(qd_json_writer *w, cJSON *root, const qd_sensitivity *s, const qd_network *network,
                           const qd_sensitivity_options *options, const char *encodings)
{
    const qd_analysis_head head = {.format = "quantdrift-sensitivity",
                                   .checkpoint = options->checkpoint,
                                   .data = options->data,
                                   .quantization = options->quantization,
                                   .calibration_images = s->calibration_images};
    QD_TRY(qd_analysis_head_write(w, root, network, &head));
    qd_json_put_int(w, root, "images", s->images);
    qd_json_put_double(w, root, "max_drop", options->max_drop);
    put_networks(w, root, s);
    cJSON *layers = qd_json_add_array(w, root, "layers");
    for (int i = 0; i < s->layer_count; i++)
        put_layer(w, qd_json_push_object(w, layers), &s->layers[i]);
    put_kept(w, root, s, encodings);
    return QD_OK;
}

enum qd_status qd_sensitivity_write(const qd_sensitivity *sensitivity, const qd_network *network,
                                    const qd_sensitivity_options *options, const char *encodings, const char *path)
{
    qd_json_writer w = {.ok = true, .digits = QD_ANALYSIS_DIGITS};
    cJSON *root = cJSON_CreateObject();
    enum qd_status status = fill(&w, root, sensitivity, network, options, encodings);
    if (status == QD_OK)
        status = root && w.ok ? qd_json_write_line(network->ctx, path, root)
                              : qd_fail(network->ctx, QD_ERR_MEMORY, "sensitivity '%s': out of memory", path);
    cJSON_Delete(root);
    return status;
}
