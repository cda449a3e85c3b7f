/* The list of calibrators as a table. */
#include "base/error.h"
#include "quantize/calibrators/calibrator.h"
#include <stdio.h>
#include <string.h>

static const qd_calibrator_ops *const calibrators[] = {
#define QD_CALIBRATOR_ENTRY(name) &qd_calibrator_##name,
    QD_CALIBRATOR_LIST(QD_CALIBRATOR_ENTRY) NULL,
#undef QD_CALIBRATOR_ENTRY
};

qd_calibrator_settings qd_calibrator_settings_defaults(void)
{
    return (qd_calibrator_settings){.name = "minmax", .moving_average = 0.01, .percentile = 99.99};
}

const char *qd_calibrator_name(int index)
{
    for (int i = 0; calibrators[i] != NULL; i++)
        if (i == index)
            return calibrators[i]->name;
    return NULL;
}

enum qd_status qd_calibrator_find(qd_context *ctx, const qd_calibrator_settings *settings,
                                  const qd_calibrator_ops **out)
{
    const char *name = settings->name == NULL ? "minmax" : settings->name;
    char known[128] = "";

    for (int i = 0; calibrators[i] != NULL; i++) {
        if (strcmp(calibrators[i]->name, name) == 0) {
            if (calibrators[i]->check != NULL)
                QD_TRY(calibrators[i]->check(ctx, settings));
            *out = calibrators[i];
            return QD_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", calibrators[i]->name);
    }
    return qd_fail(ctx, QD_ERR_USAGE, "calibrator '%s': there is none of this name; there are %s", name, known);
}
