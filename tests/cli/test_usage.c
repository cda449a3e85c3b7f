/* Help, versions, and what happens to those who ask for what does not exist. */
#include "cli/program.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static void expect_in_output(const char *const argv[], const char *const pieces[])
{
    outcome result = program_run(NULL, argv);
    expect_done(&result);
    for (; *pieces; pieces++)
        cr_assert_not_null(strstr(result.out, *pieces), "'%s' is not in: %s", *pieces, result.out);
    cr_assert_str_empty(result.err);
    outcome_free(&result);
}

/* Wrong options: the sentence first, argp's hint where help stands behind it. */
static void expect_usage_error(outcome result, const char *piece)
{
    cr_assert_eq(result.code, 2, "exit code %d: %s", result.code, result.err);
    cr_assert_not_null(strstr(result.err, piece), "'%s' is not in: %s", piece, result.err);
    cr_assert_str_empty(result.out);
    outcome_free(&result);
}

#define PIECES(...)                                                                                                  \
    (const char *const[])                                                                                            \
    {                                                                                                                \
        __VA_ARGS__, NULL                                                                                            \
    }

Test(usage, help_lists_every_command)
{
    expect_in_output(PIECES("quantdrift", "--help"),
                     PIECES("run ", "synth ", "dataset ", "quantize ", "grid ", "eval ", "observe ", "bench ",
                            "profile ", "init-study ", "batch ", "status ", "verify ", "--version", "Exit codes",
                            "Example"));
}

Test(usage, every_command_has_help_with_an_example)
{
    static const char *const commands[] = {"run",     "synth",   "dataset",    "quantize", "eval",   "observe",
                                           "bench",   "profile", "init-study", "batch",    "import", "export",
                                           "inspect", "status",  "verify",     "grid"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char example[64];
        snprintf(example, sizeof example, "quantdrift %s", commands[i]);
        expect_in_output(
            PIECES("quantdrift", commands[i], "--help"),
            PIECES("Usage: quantdrift ", "Example: ", example, "--threads", "--cpu", "--quiet", "default"));
    }
}

Test(usage, version_tells_commit_compiler_libraries_and_cpu)
{
    expect_in_output(PIECES("quantdrift", "--version"),
                     PIECES("quantdrift 0.", "commit ", "compiler ", "OpenBLAS 0.", "libjpeg-turbo ", "libpng 1.",
                            "cJSON 1.", "cpu        ref"));
}

Test(usage, unknown_things_are_refused_with_code_2)
{
    expect_refusal(QUANTDRIFT("trian"), 2, "unknown command 'trian'");
    expect_refusal(QUANTDRIFT("\033[2J"), 2, "unknown command '\\x1B[2J'");
    expect_usage_error(QUANTDRIFT("run"), "name an experiment file");
    expect_usage_error(QUANTDRIFT("run", "a.json", "--jobs", "0"), "--jobs: expected a whole number from 1");
    expect_usage_error(QUANTDRIFT("run", "a.json", "--rate", "-3"), "--rate: expected a number above 0");
    expect_usage_error(QUANTDRIFT("status"), "name a folder");
    expect_usage_error(QUANTDRIFT("verify", "a", "b"), "'b' is too much");
    expect_usage_error(QUANTDRIFT("run", "a.json", "--fast"), "--fast");
    expect_usage_error(QUANTDRIFT("run", "a.json", "--threads", "0"), "--threads: expected a whole number from 1");
    expect_usage_error(QUANTDRIFT("run", "a.json", "--threads", "two"), "got 'two'");
    expect_refusal(QUANTDRIFT("run", "a.json", "--threads", "9999"), 2, "to 1024 threads, got 9999");
    expect_usage_error(QUANTDRIFT("run", "a.json", "--cpu", "sse9"),
                       "there are ref, avx2, avxvnni, avx512, avx512vnni and amx");
    expect_usage_error(QUANTDRIFT("synth"), "--out is missing");
    expect_usage_error(QUANTDRIFT("dataset"), "name a folder");
    expect_usage_error(QUANTDRIFT("eval", "x.safetensors"), "--data is missing");
    expect_usage_error(QUANTDRIFT("observe", "x.safetensors"), "at least one image");
    expect_usage_error(QUANTDRIFT("bench", "train"), "--model is missing");
    expect_usage_error(QUANTDRIFT("bench", "sprint"), "expected one of train|forward|infer, got 'sprint'");
    expect_usage_error(QUANTDRIFT("profile"), "name a model");
    expect_refusal(QUANTDRIFT("profile", "vgg"), 2, "unknown model 'vgg'");
    expect_refusal(QUANTDRIFT("init_study"), 2, "unknown command 'init_study'");
    expect_usage_error(QUANTDRIFT("init-study", "x"), "unexpected argument 'x'");
    expect_usage_error(QUANTDRIFT("init-study", "--seed", "-1"), "--seed: expected a whole number");
    expect_usage_error(QUANTDRIFT("batch", "-o", "x", "--data", "x"), "--model is missing");
    expect_usage_error(QUANTDRIFT("batch", "--model", "resnet18", "--data", "x"), "--out is missing");
    expect_usage_error(QUANTDRIFT("batch", "--model", "resnet18", "-o", "x"), "--data is missing");
    expect_usage_error(QUANTDRIFT("batch", "a.json", "b.json"), "'b.json' is too much");
    expect_usage_error(QUANTDRIFT("batch", "--count", "0"), "--count: expected a whole number from 1");
}

Test(usage, nothing_at_all_shows_the_help_with_code_2)
{
    outcome result = program_run(NULL, PIECES("quantdrift"));
    cr_assert_eq(result.code, 2);
    cr_assert_not_null(strstr(result.err, "Usage: quantdrift COMMAND"));
    outcome_free(&result);
}

Test(usage, output_that_cannot_be_written_is_a_failure)
{
    const program full = {.stdout_path = "/dev/full"};
    expect_refusal(program_run(&full, PIECES("quantdrift", "--version")), 1, "No space left on device");
}

Test(usage, ref_is_there_on_every_processor)
{
    expect_refusal(QUANTDRIFT("dataset", "no/such/folder", "--cpu", "ref"), 3, "no/such/folder");
}
