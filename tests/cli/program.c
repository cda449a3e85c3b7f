#include "cli/program.h"
#include "base/file.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nothing a test starts takes minutes, but sanitizers (twenty times as slow) and loaded machines do. */
#define LIMIT_S 1800

static char *environment_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return strdup(value && value[0] != '\0' ? value : fallback);
}

char *program_build_path(const char *name)
{
    char *folder = environment_or("QD_BUILD_DIR", "build/gcc");
    char *absolute = realpath(folder, NULL);
    cr_assert_not_null(absolute, "no build folder '%s'", folder);
    char *path = NULL;
    cr_assert_gt(asprintf(&path, "%s/%s", absolute, name), 0);
    free(absolute);
    free(folder);
    return path;
}

static void redirect(int descriptor, const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || dup2(file, descriptor) < 0)
        _exit(126);
    close(file);
}

/* In the child: sets everything up and becomes the program. */
_Noreturn static void become(const program *settings, const char *const argv[], const char *binary,
                             const char *out_path, const char *err_path)
{
    alarm(LIMIT_S);
    redirect(STDOUT_FILENO, settings->stdout_path ? settings->stdout_path : out_path);
    redirect(STDERR_FILENO, settings->stderr_path ? settings->stderr_path : err_path);
    close(STDIN_FILENO);
    if (open("/dev/null", O_RDONLY) != STDIN_FILENO)
        _exit(126);
    if (settings->folder && chdir(settings->folder) != 0)
        _exit(126);
    if (settings->environment)
        putenv(strdup(settings->environment));
    if (settings->max_file_bytes > 0) {
        /* The signal would end the program; ignored, write() fails with EFBIG. */
        signal(SIGXFSZ, SIG_IGN);
        const struct rlimit limit = {settings->max_file_bytes, settings->max_file_bytes};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(126);
    }
    const char *full[64] = {0};
    size_t n = 0;
    const char *emulator = getenv("QD_EMULATOR");
    if (strcmp(argv[0], "quantdrift") == 0 && emulator && emulator[0] != '\0')
        full[n++] = emulator;
    full[n++] = strcmp(argv[0], "quantdrift") == 0 ? binary : argv[0];
    for (size_t i = 1; argv[i] && n + 1 < sizeof full / sizeof full[0]; i++)
        full[n++] = argv[i];
    execvp(full[0], (char *const *)full);
    _exit(127);
}

pid_t program_start(const program *settings, const char *const argv[], const char *out_path, const char *err_path)
{
    static const program none = {0};
    char *binary = program_build_path("quantdrift");
    fflush(NULL);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        become(settings ? settings : &none, argv, binary, out_path, err_path);
    free(binary);
    return child;
}

static char *read_all(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t size = 0;
    cr_assert_not_null(file);
    if (getdelim(&text, &size, '\0', file) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(file);
    return text;
}

outcome program_run(const program *settings, const char *const argv[])
{
    char *scratch = test_folder_create();
    char *out_path = test_folder_path(scratch, "out"), *err_path = test_folder_path(scratch, "err");
    test_file_write(out_path, "", 0);
    test_file_write(err_path, "", 0);
    pid_t child = program_start(settings, argv, out_path, err_path);
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    outcome result = {
        .code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
        .out = read_all(out_path),
        .err = read_all(err_path),
    };
    free(out_path);
    free(err_path);
    test_folder_remove(scratch);
    return result;
}

void outcome_free(outcome *result)
{
    free(result->out);
    free(result->err);
    *result = (outcome){0};
}

void expect_refusal(outcome result, int code, const char *piece)
{
    cr_assert_eq(result.code, code, "exit code %d instead of %d: %s%s", result.code, code, result.out, result.err);
    cr_assert_not_null(strstr(result.err, piece), "'%s' is not in: %s", piece, result.err);
    const char *line_end = strchr(result.err, '\n');
    cr_assert(line_end && line_end[1] == '\0', "more or less than one line: %s", result.err);
    for (const char *c = result.err; c < line_end; c++)
        cr_assert(*c != '\033' && (unsigned char)*c >= 0x20, "a control character reached the terminal");
    outcome_free(&result);
}

void expect_done(const outcome *result)
{
    cr_assert_eq(result->code, 0, "exit code %d: %s%s", result->code, result->out, result->err);
}

void expect_success(outcome result)
{
    expect_done(&result);
    outcome_free(&result);
}

char *program_read_file(const char *path, size_t *size)
{
    char *text = NULL;
    size_t bytes = 0;
    cr_assert_eq(qd_file_read(NULL, path, 1 << 26, &text, &bytes), QD_OK, "cannot read '%s'", path);
    if (size)
        *size = bytes;
    return text;
}

void expect_same_file(const char *a, const char *b)
{
    size_t size_a, size_b;
    char *text_a = program_read_file(a, &size_a), *text_b = program_read_file(b, &size_b);
    cr_assert_eq(size_a, size_b, "'%s' and '%s' have different sizes", a, b);
    cr_assert_eq(memcmp(text_a, text_b, size_a), 0, "'%s' and '%s' differ", a, b);
    free(text_a);
    free(text_b);
}
