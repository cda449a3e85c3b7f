/* The list of networks. */
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
