#include "cli/run_lines.h"
#include "cli/cli.h"
#include <inttypes.h>
#include <stdio.h>

/* States in a column of their own. */
enum { STATE_WIDTH = 24 };

static void describe_state(const qd_run_report *report, char *text, size_t size)
{
    const bool running = report->state == QD_RUN_RUNNING;
    /* A process that ends without a word leaves no lock behind. */
    const char *name = running && !report->locked ? "killed" : qd_run_state_name(report->state);
    if (report->locked)
        snprintf(text, size, "%s%s (process %" PRId64 ")", running ? "" : "locked, ", name, report->locked_by);
    else
        snprintf(text, size, "%s", name);
}

void cli_print_run_state(const qd_run_report *report)
{
    char state[64];
    describe_state(report, state, sizeof state);
    cli_print_padded(state, STATE_WIDTH);
    putchar(' ');
    cli_print_padded(report->folder, 0);
    if (report->reason[0]) {
        fputs(": ", stdout);
        cli_print_padded(report->reason, 0);
    }
    putchar('\n');
}

void cli_print_run_models(const qd_run_report *report)
{
    for (int m = 0; m < report->model_count; m++) {
        const qd_model_report *model = &report->models[m];
        printf("    %-32s ", model->model);
        if (model->epoch < 0) {
            printf("not begun\n");
            continue;
        }
        printf("epoch %" PRId64 "/%" PRId64 "  val %.2f %%", model->epoch, model->epoch_count, model->val_acc);
        if (model->int8_epoch >= 0)
            printf("  INT8 %.2f %% (epoch %" PRId64 ")", model->int8_acc, model->int8_epoch);
        putchar('\n');
    }
}
