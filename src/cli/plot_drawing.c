#include "cli/plot_drawing.h"
#include "base/error.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *cli_report_folder(const cli_list *paths, const char **out)
{
    struct stat info;
    if (*out)
        return NULL;
    if (paths->count > 1)
        return "-o is missing: of several folders, say where to write";
    if (stat(paths->items[0], &info) == 0 && !S_ISDIR(info.st_mode))
        return "-o is missing: of a file, say where to write";
    *out = paths->items[0];
    return NULL;
}

/* What a child ends with when the program is not there, as shells have it. */
enum { NOT_FOUND = 127 };

/* gnuplot's exit code, NOT_FOUND without one; -1 when no process could be made. */
static int run_gnuplot(const char *folder, const char *name)
{
    int status;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        if (chdir(folder) == 0)
            execlp("gnuplot", "gnuplot", name, (char *)NULL);
        _exit(errno == ENOENT ? NOT_FOUND : NOT_FOUND - 1);
    }
    if (child < 0)
        return -1;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum qd_status cli_draw_plots(qd_context *ctx, const char *folder, const char *const *names, bool *drawn)
{
    *drawn = false;
    for (int i = 0; names[i]; i++) {
        const int code = run_gnuplot(folder, names[i]);
        if (code == NOT_FOUND) {
            printf("plots: skipped, there is no gnuplot (Debian's gnuplot-nox has it); the scripts are in ");
            cli_print_padded(folder, 0);
            putchar('\n');
            return QD_OK;
        }
        if (code != 0)
            return qd_fail(ctx, QD_ERR_IO, "plots: gnuplot failed on '%s/%s'", folder, names[i]);
    }
    *drawn = names[0] != NULL;
    return QD_OK;
}
