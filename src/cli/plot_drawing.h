/* Where reports go, and drawing their plots with gnuplot. */
#ifndef QD_CLI_PLOT_DRAWING_H
#define QD_CLI_PLOT_DRAWING_H

#include "cli/options.h"

/* *out stays when it was given; else it becomes the only path, which must be a folder. A sentence when it cannot. */
const char *cli_report_folder(const cli_list *paths, const char **out);

/* Runs gnuplot on each script (NULL behind the last) inside `folder`. *drawn is false, and a line says so, where
 * there is no gnuplot. Errors: QD_ERR_IO (gnuplot failed). */
enum qd_status cli_draw_plots(qd_context *ctx, const char *folder, const char *const *names, bool *drawn);

#endif
