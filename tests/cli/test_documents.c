/* What the documents tell people to type: the example program, and every command of the README. */
#include "base/file.h"
#include "cli/program.h"
#include "support/fixture.h"
#include "support/slow_build.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    cr_assert_not_null(value, "%s is not set; run this with `make check SUITE=cli`", name);
    return value;
}

Test(documents, the_example_builds_and_runs)
{
    char *folder = test_folder_create(), *library = program_build_path("libquantdrift.a");
    char *source = fixture_source_path("docs/example.c"), *include = fixture_source_path("include");
    char *program_path = test_folder_path(folder, "example");
    char *build = qd_format("%s %s -Werror -I'%s' -o '%s' '%s' '%s' %s", environment("QD_CC"),
                            environment("QD_CFLAGS"), include, program_path, source, library, environment("QD_LIBS"));
    outcome built = program_run(NULL, (const char *const[]){"sh", "-c", build, NULL});
    expect_done(&built);
    outcome_free(&built);
    outcome ran = program_run(
        NULL, (const char *const[]){"sh", "-c", "$QD_EMULATOR \"$0\" efficientnet_b0", program_path, NULL});
    expect_done(&ran);
    cr_assert_eq(strncmp(ran.out, "EfficientNet-B0: 328 modules, the widest range is ", 50), 0, "%s", ran.out);
    outcome_free(&ran);
    ran =
        program_run(NULL, (const char *const[]){"sh", "-c", "$QD_EMULATOR \"$0\" no_such_model", program_path, NULL});
    cr_assert_eq(ran.code, 1);
    cr_assert_not_null(strstr(ran.err, "no_such_model"), "%s", ran.err);
    outcome_free(&ran);
    free(build);
    free(program_path);
    free(source);
    free(include);
    free(library);
    test_folder_remove(folder);
}

/* Every line of the README's sh blocks must stand here: with NULL it is run as it stands, in a scratch folder that
 * sees the checkout; else with where it is covered. A new command in the README needs a decision. */
static const struct {
    const char *line, *covered_by;
} commands[] = {
    {"make run", "takes minutes; .ci/run calls it"},
    {"make all", "what built the program under test"},
    {"build/gcc/quantdrift synth --out data/synth", NULL},
    {"build/gcc/quantdrift dataset data/synth", NULL},
    {"build/gcc/quantdrift run experiments/demo.json", "takes minutes; `make run` does it"},
    {"build/gcc/quantdrift eval results/demo/checkpoints/resnet18_last.safetensors --data data/synth", NULL},
    {"build/gcc/quantdrift observe results/demo/checkpoints/resnet18_last.safetensors data/synth/val/*/*0.jpg --json "
     "observed.json",
     NULL},
    {"build/gcc/quantdrift init-study --seed 42", NULL},
    {"build/gcc/quantdrift batch --data data/synth --model resnet18 --batch 16 --size 64 -o batch.safetensors --png "
     "batch.png",
     NULL},
    {"build/gcc/quantdrift export results/demo/checkpoints/resnet18_last.safetensors --format pth -o resnet18.pth",
     NULL},
    {"build/gcc/quantdrift import resnet18.pth --model resnet18 --image-size 64 -o resnet18.safetensors", NULL},
    {"build/gcc/quantdrift export resnet18.safetensors --format onnx-qdq --data data/synth -o resnet18_qdq.onnx",
     NULL},
    {"build/gcc/quantdrift inspect resnet18_qdq.onnx --json resnet18_scales.json", NULL},
    {"build/gcc/quantdrift quantize results/demo/checkpoints/resnet18_last.safetensors --data data/synth -o "
     "resnet18_int8.safetensors",
     NULL},
    {"build/gcc/quantdrift quantize results/demo/checkpoints/resnet18_last.safetensors --encodings "
     "resnet18_int8_encodings.json -o edited.safetensors",
     NULL},
    {"build/gcc/quantdrift eval results/demo/checkpoints/resnet18_last.safetensors resnet18_int8.safetensors --data "
     "data/synth --json scores.json",
     NULL},
    {"build/gcc/quantdrift analyze results/demo/checkpoints/efficientnet_b0_last.safetensors --data data/synth "
     "--compare results/demo/checkpoints/resnet18_last.safetensors --json analysis.json",
     "needs both networks; the tests of analyze"},
    {"build/gcc/quantdrift sensitivity results/demo/checkpoints/efficientnet_b0_last.safetensors --data data/synth "
     "--max-drop 1.0 --json sensitivity.json --encodings kept.json",
     "takes minutes; the tests of sensitivity"},
    {"build/gcc/quantdrift quantize results/demo/checkpoints/efficientnet_b0_last.safetensors --encodings kept.json "
     "-o efficientnet_b0_kept.safetensors",
     "the tests of sensitivity"},
    {"build/gcc/quantdrift run experiments/causes.json --data data/synth --dry-run --rate 100", NULL},
    {"build/gcc/quantdrift status results", NULL},
    {"build/gcc/quantdrift verify results/demo", NULL},
    {"build/gcc/quantdrift report results/demo", NULL},
    {"build/gcc/quantdrift compare results/demo", NULL},
    {"build/gcc/quantdrift bench infer results/demo/checkpoints/*_last.safetensors --frames data/synth/val "
     "--transform "
     "squash --threads 2",
     NULL},
    {"build/gcc/quantdrift grid experiments/calibrators.json results/demo/checkpoints/*_last.safetensors --data "
     "data/synth -o results/calibrators",
     "takes minutes; the tests of grids"},
    {"make MPI=1", "needs MPI; scripts/check_mpi.sh"},
    {"mpirun -np 4 build/gcc/quantdrift-mpi run experiments/imagewoof_divergence.json --data data/imagewoof2-320 "
     "--set "
     "sync_batchnorm=true",
     "needs MPI; scripts/check_mpi.sh"},
    {"scripts/get_imagewoof.sh", "the download tests"},
    {"build/gcc/quantdrift run experiments/imagewoof_divergence.json --data data/imagewoof2-320", "takes hours"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

/* A scratch checkout: the program and the experiments, and a short demo in place of the long one. */
static char *make_checkout(void)
{
    char *folder = test_folder_create(), *binary = program_build_path("quantdrift");
    char *experiments = fixture_source_path("experiments");
    char *source = realpath(experiments, NULL);
    cr_assert_not_null(source, "no folder experiments/");
    char *script = qd_format("set -e; cd '%s'; mkdir -p build/gcc data; ln -s '%s' experiments\n"
                             "printf '#!/bin/sh\\nexec %s '\\''%s'\\'' \"$@\"\\n' > build/gcc/quantdrift\n"
                             "chmod +x build/gcc/quantdrift",
                             folder, source, environment("QD_EMULATOR"), binary);
    cr_assert_eq(system(script), 0);
    free(script);
    free(source);
    free(experiments);
    free(binary);
    return folder;
}

static void run_in(const char *folder, const char *line)
{
    const program settings = {.folder = folder};
    outcome result = program_run(&settings, (const char *const[]){"sh", "-c", line, NULL});
    cr_assert_eq(result.code, 0, "'%s' ended with %d: %s%s", line, result.code, result.out, result.err);
    outcome_free(&result);
}

Test(documents, readme_commands_work)
{
    if (TESTS_SANITIZED)
        cr_skip_test("a quarter of an hour under a sanitizer; each command has tests of its own");
    char *path = fixture_source_path("README.md"), *readme = NULL;
    cr_assert_eq(qd_file_read(NULL, path, 1 << 20, &readme, &(size_t){0}), QD_OK);
    char *folder = make_checkout();
    int seen = 0;
    bool in_block = false, short_demo_ran = false;
    for (char *line = strtok(readme, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "```", 3) == 0) {
            in_block = strcmp(line, "```sh") == 0;
            continue;
        }
        if (!in_block)
            continue;
        int i = 0;
        while (i < COMMAND_COUNT && strcmp(commands[i].line, line) != 0)
            i++;
        cr_assert_lt(i, COMMAND_COUNT, "README command not decided upon: %s", line);
        seen++;
        if (commands[i].covered_by)
            continue;
        if (strstr(line, "results/demo/") && !short_demo_ran) {
            /* What the long run would have left, from one step. */
            run_in(folder, "build/gcc/quantdrift run experiments/demo.json --quiet --set models='[\"resnet18\"]' "
                           "--set num_epochs=1 --set max_steps=1 --set quantization.calibration_images=8 "
                           "--set quantization.eval_images=10 --set quantization.sqnr_images=10");
            short_demo_ran = true;
        }
        run_in(folder, line);
    }
    cr_assert_eq(seen, COMMAND_COUNT, "the README lost commands that are listed here");
    free(readme);
    free(path);
    test_folder_remove(folder);
}
