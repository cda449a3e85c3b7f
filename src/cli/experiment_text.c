#include "cli/experiment_text.h"
#include "base/file.h"
#include "base/json.h"
#include <stdlib.h>

enum qd_status cli_experiment_set_text(qd_experiment *experiment, const char *key, const char *text)
{
    cJSON *json = cJSON_CreateString(text);
    char *value = json ? qd_json_print_line(json) : NULL;
    char *assignment = value ? qd_format("%s=%s", key, value) : NULL;
    enum qd_status status = assignment ? qd_experiment_set(experiment, assignment) : QD_ERR_MEMORY;
    free(assignment);
    free(value);
    cJSON_Delete(json);
    return status;
}
