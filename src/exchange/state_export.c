#include "exchange/state_export.h"
#include "base/error.h"
#include "formats/pth.h"
#include "formats/safetensors.h"
#include "graph/state_tensors.h"
#include <stdio.h>
#include <string.h>

/* Gives "<head>.weight" and "<head>.bias" torchvision's names, which `names` then holds. */
static void rename_head(const qd_model_info *model, qd_state_tensors *list, char names[2][QD_NAME_BYTES])
{
    static const char *const kinds[] = {"weight", "bias"};
    for (int k = 0; k < 2; k++) {
        char ours[QD_NAME_BYTES];
        snprintf(ours, sizeof ours, "%s.%s", model->head, kinds[k]);
        snprintf(names[k], QD_NAME_BYTES, "%s.%s", model->torchvision_head, kinds[k]);
        for (int i = 0; i < list->weight_count; i++)
            if (strcmp(list->tensors[i].name, ours) == 0)
                list->tensors[i].name = names[k];
    }
}

enum qd_status qd_state_write(qd_context *ctx, const char *path, const qd_model_info *model, const qd_state *state,
                              const qd_state_export *options)
{
    static const qd_metadata_entry metadata[] = {{"format", "pt"}}; /* what Hugging Face's loaders ask for */
    char head_names[2][QD_NAME_BYTES];
    qd_state_tensors list;
    QD_TRY(qd_state_tensors_list(ctx, state, &list));
    if (options->torchvision_head)
        rename_head(model, &list, head_names);
    enum qd_status status = options->pth
                                ? qd_pth_write(ctx, path, list.tensors, list.weight_count)
                                : qd_safetensors_write(ctx, path, list.tensors, list.weight_count, metadata, 1);
    qd_state_tensors_free(&list);
    return status;
}
