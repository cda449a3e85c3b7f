/* Runs the built program (or another one) as a user would and keeps what it said. */
#ifndef TESTS_CLI_PROGRAM_H
#define TESTS_CLI_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

typedef struct program {
    const char *folder;      /* working folder; NULL: this one */
    const char *stdout_path; /* NULL: captured */
    const char *stderr_path; /* NULL: captured */
    size_t max_file_bytes;   /* writes beyond it fail as on a full disk; 0: no limit */
    const char *environment; /* one more NAME=VALUE; NULL: none */
} program;

typedef struct outcome {
    int code; /* exit code; 128 + the signal when one ended it */
    char *out, *err;
} outcome;

/* Runs argv (NULL behind the last one). An argv[0] of "quantdrift" is the program under test. `settings` may be NULL.
 * A program that takes more than half an hour is ended. Freed with outcome_free(). */
outcome program_run(const program *settings, const char *const argv[]);
void outcome_free(outcome *result);

/* The same in two steps, for tests that send signals. */
pid_t program_start(const program *settings, const char *const argv[], const char *out_path, const char *err_path);

/* program_run() of the program under test with the given arguments. */
#define QUANTDRIFT(...) program_run(NULL, (const char *const[]){"quantdrift", __VA_ARGS__, NULL})

/* Absolute path of the program under test and of a file of the build folder. Freed with free(). */
char *program_build_path(const char *name);

/* Expects an exit code, one line on standard error that holds `piece`, and nothing else there. Frees the outcome. */
void expect_refusal(outcome result, int code, const char *piece);

/* Expects exit code 0; shows what was said otherwise. The caller frees the outcome. */
void expect_done(const outcome *result);

/* The same, and frees it. */
void expect_success(outcome result);

/* A whole file with a NUL behind it, freed with free(); size may be NULL. */
char *program_read_file(const char *path, size_t *size);

void expect_same_file(const char *a, const char *b);

#endif
