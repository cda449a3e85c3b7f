/* The public face of a configuration. */
#include "base/error.h"
#include "experiment/config.h"
#include <stdlib.h>

/* An experiment file is written by hand. */
#define MAX_EXPERIMENT_BYTES ((size_t)1 << 20)

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
    cJSON *json = NULL;
    enum qd_status status = qd_json_read(experiment->ctx, path, MAX_EXPERIMENT_BYTES, true, &json);
    /* What the file says is the caller's choice, not input data: a file that is no JSON is misuse as well. */
    if (status == QD_ERR_INPUT)
        status = QD_ERR_USAGE;
    if (status == QD_OK)
        status = qd_config_apply(experiment->ctx, &experiment->config, path, json);
    cJSON_Delete(json);
    return status;
}

enum qd_status qd_experiment_set(qd_experiment *experiment, const char *assignment)
{
    return qd_config_assign(experiment->ctx, &experiment->config, assignment);
}

char *qd_experiment_print(const qd_experiment *experiment)
{
    cJSON *json = qd_config_json(&experiment->config, false);
    char *text = json ? qd_json_print(json) : NULL;
    cJSON_Delete(json);
    return text;
}
