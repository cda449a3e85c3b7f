/* The public face of a configuration. */
#include "base/error.h"
#include "experiment/experiment_file.h"
#include <stdlib.h>

enum qd_status qd_experiment_create(qd_context *ctx, qd_experiment **out)
{
    qd_experiment *experiment = calloc(1, sizeof *experiment);
    if (!experiment)
        return qd_fail(ctx, QD_ERR_MEMORY, "experiment: out of memory");
    experiment->ctx = ctx;
    enum qd_status status = qd_config_init(ctx, &experiment->config);
    if (status != QD_OK) {
        qd_experiment_destroy(experiment);
        return status;
    }
    *out = experiment;
    return QD_OK;
}

void qd_experiment_destroy(qd_experiment *experiment)
{
    if (!experiment)
        return;
    qd_config_free(&experiment->config);
    free(experiment);
}

enum qd_status qd_experiment_read(qd_experiment *experiment, const char *path)
{
    qd_experiment_file file;
    QD_TRY(qd_experiment_file_open(experiment->ctx, path, &file));
    enum qd_status status =
        file.grid ? qd_fail(experiment->ctx, QD_ERR_USAGE,
                            "%s: a grid of %lld runs, and one run is wanted here; name the configuration of one of "
                            "them, such as config.json in its folder",
                            path, (long long)file.point_count)
                  : qd_experiment_file_apply(experiment->ctx, &file, &experiment->config);
    qd_experiment_file_close(&file);
    return status;
}

enum qd_status qd_experiment_set(qd_experiment *experiment, const char *assignment)
{
    return qd_config_assign(experiment->ctx, &experiment->config, assignment);
}

const char *qd_experiment_folder(const qd_experiment *experiment)
{
    return experiment->config.output_dir;
}

char *qd_experiment_print(const qd_experiment *experiment)
{
    cJSON *json = qd_config_json(&experiment->config, false);
    char *text = json ? qd_json_print(json) : NULL;
    cJSON_Delete(json);
    return text;
}
