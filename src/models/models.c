/* The list of networks, and names of their heads. */
#include "models/models.h"

#include <string.h>

#define QD_MODEL_ENTRY(name) &qd_model_##name,
static const qd_model_info *const models[] = {QD_MODEL_LIST(QD_MODEL_ENTRY) NULL};
#undef QD_MODEL_ENTRY

enum qd_status qd_model_build(qd_context *ctx, const qd_model_info *model, const qd_model_config *config,
                              qd_graph **out)
{
    return model->build(ctx, model, config, out);
}

const qd_model_info *const *qd_model_list(void)
{
    return models;
}

const qd_model_info *qd_model_find(const char *name)
{
    for (int i = 0; models[i]; i++)
        if (strcmp(models[i]->name, name) == 0)
            return models[i];
    return NULL;
}

const char *const qd_head_names[] = {[QD_HEAD_LINEAR] = "num_classes", [QD_HEAD_BINARY] = "binary", NULL};

bool qd_head_parse(const char *name, enum qd_head *out)
{
    for (int i = 0; qd_head_names[i]; i++) {
        if (strcmp(qd_head_names[i], name) != 0)
            continue;
        *out = (enum qd_head)i;
        return true;
    }
    return false;
}
