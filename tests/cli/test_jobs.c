/* The main job and what reads its files, end to end on a tiny set. */
#include "base/file.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include "support/slow_build.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_keys(const cJSON *object, const char *const keys[])
{
    const cJSON *item = object->child;
    for (; *keys; keys++, item = item->next) {
        cr_assert_not_null(item, "'%s' is missing", *keys);
        cr_assert_str_eq(item->string, *keys);
    }
    cr_assert_null(item, "more than the agreed keys");
}

Test(jobs, synth_writes_the_same_bytes_again)
{
    char *folder = test_folder_create();
    char *a = test_folder_path(folder, "a"), *b = test_folder_path(folder, "b");
    const char *const folders[] = {a, b};
    char *prints[2];
    for (int i = 0; i < 2; i++) {
        outcome made = QUANTDRIFT("synth", "--out", folders[i], "--train", "3", "--val", "2", "--size", "40");
        expect_done(&made);
        cr_assert_not_null(strstr(made.out, "3 training and 2 validation images a class"), "%s", made.out);
        outcome_free(&made);
        outcome scan = QUANTDRIFT("dataset", folders[i]);
        expect_done(&scan);
        cr_assert_not_null(strstr(scan.out, "30 images, 10 classes"), "%s", scan.out);
        cr_assert_not_null(strstr(scan.out, "20 images, 10 classes"), "%s", scan.out);
        prints[i] = strdup(strstr(scan.out, "fingerprint"));
        outcome_free(&scan);
    }
    const char *const diff[] = {"diff", "-r", a, b, NULL};
    outcome same = program_run(NULL, diff);
    expect_done(&same);
    outcome_free(&same);
    /* The second fingerprint stands behind the other folder's name: only the first line is compared. */
    cr_assert_eq(strncmp(prints[0], prints[1], strcspn(prints[0], "\n")), 0, "%s against %s", prints[0], prints[1]);
    free(prints[0]);
    free(prints[1]);
    free(a);
    free(b);
    test_folder_remove(folder);
}

static void expect_observation(const tiny *t, const char *checkpoint)
{
    char *first = tiny_image(t, "val", 0), *second = tiny_image(t, "val", 1);
    char *json_path = test_folder_path(t->folder, "observed.json");
    outcome seen = QUANTDRIFT("observe", checkpoint, first, second, "--json", json_path);
    expect_done(&seen);
    /* What forward hooks on torchvision's EfficientNet-B0 report, the network itself (path "") included. */
    cr_assert_not_null(strstr(seen.out, "total layers captured: 328\n"), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "worst ranges:\n"), "%s", seen.out);
    cJSON *json = test_json_read(json_path);
    cr_assert_eq(cJSON_GetArraySize(json), 328);
    cr_assert_not_null(cJSON_GetObjectItemCaseSensitive(json, ""), "the network itself, as hooks name it");
    cr_assert_not_null(strstr(seen.out, "\n(network) "), "and as readers do: %s", seen.out);
    const cJSON *conv = cJSON_GetObjectItemCaseSensitive(json, "features.1.0.block.0.0");
    cr_assert_not_null(conv);
    expect_keys(conv, (const char *const[]){"shape", "min", "max", "mean", "std", "range", "zeros_pct",
                                            "outlier_ratio", "layer_type", NULL});
    char *shape = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(conv, "shape"));
    cr_assert_str_eq(shape, "[2,32,16,16]");
    cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(conv, "layer_type")->valuestring, "Conv2d");
    double range = cJSON_GetObjectItemCaseSensitive(conv, "range")->valuedouble;
    double max = cJSON_GetObjectItemCaseSensitive(conv, "max")->valuedouble;
    double min = cJSON_GetObjectItemCaseSensitive(conv, "min")->valuedouble;
    cr_assert_eq(range, max - min);
    cr_assert_gt(range, 0);
    free(shape);
    cJSON_Delete(json);
    outcome_free(&seen);
    free(first);
    free(second);
    free(json_path);
}

Test(jobs, a_run_leaves_results_table_and_checkpoints)
{
    tiny t = tiny_create();
    char *steps = test_folder_path(t.folder, "steps.jsonl");
    outcome run = QUANTDRIFT("run", t.experiment, "--step-log", steps);
    expect_done(&run);
    cr_assert_not_null(strstr(run.out, "EfficientNet-B0"), "the table names the model: %s", run.out);
    cr_assert_not_null(strstr(run.err, "EfficientNet-B0 epoch 1/1 train"), "plain progress lines: %s", run.err);
    cr_assert_null(strchr(run.err, '\r'), "no line is rewritten where there is no terminal");
    char *table = test_folder_path(t.out, "table.md"),
         *results = test_folder_path(t.out, "efficientnet_b0_results.json");
    cr_assert(qd_file_exists(table));
    cJSON *json = test_json_read(results);
    const cJSON *logs = cJSON_GetObjectItemCaseSensitive(json, "activation_logs");
    expect_keys(logs, (const char *const[]){"epoch_0", "epoch_1", NULL});
    cJSON_Delete(json);

    char *text = NULL;
    size_t size = 0;
    cr_assert_eq(qd_file_read(NULL, steps, SIZE_MAX, &text, &size), QD_OK);
    int lines = 0;
    for (size_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    cr_assert_eq(lines, 5, "one line a step: %s", text);
    free(text);

    char *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_last.safetensors");
    outcome eval = QUANTDRIFT("eval", checkpoint, "--data", t.data);
    expect_done(&eval);
    cr_assert_not_null(strstr(eval.out, "EfficientNet-B0 float32 at 32 px: loss "), "%s", eval.out);
    cr_assert_not_null(strstr(eval.out, "20 images, 10 classes"), "%s", eval.out);
    outcome_free(&eval);
    expect_observation(&t, checkpoint);

    /* A complete model is not trained again: the same table, at once. */
    outcome again = QUANTDRIFT("run", t.experiment, "--resume", "--quiet");
    expect_done(&again);
    cr_assert_str_eq(again.out, run.out);
    outcome_free(&again);
    outcome_free(&run);
    expect_refusal(QUANTDRIFT("run", t.experiment, "--resume", "--quiet", "--set", "lr=0.5"), 2, "lr");
    free(checkpoint);
    free(results);
    free(table);
    free(steps);
    tiny_destroy(&t);
}

/* Waits until a file exists, at most `seconds`. */
static bool wait_for_file(const char *path, int seconds)
{
    for (int i = 0; i < seconds * 50; i++) {
        if (qd_file_exists(path))
            return true;
        usleep(20000);
    }
    return false;
}

/* Starts a run, and returns when its first checkpoint is there. */
static pid_t start_run(const tiny *t, const char *const argv[], const char *err_path)
{
    char *out_path = test_folder_path(t->folder, "stdout");
    char *first = tiny_checkpoint(t, "efficientnet_b0_epoch_0.safetensors");
    pid_t child = program_start(NULL, argv, out_path, err_path);
    cr_assert(wait_for_file(first, 300), "the first checkpoint did not come");
    free(first);
    free(out_path);
    return child;
}

static int wait_for(pid_t child)
{
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

/* Epochs enough that a signal after the first checkpoint comes in the middle. */
#define LONG_RUN "--set", "num_epochs=8", "--set", "log_every=8", "--set", "quantization.enabled=false"

Test(jobs, an_interrupt_ends_with_130_and_resumes)
{
    tiny t = tiny_create();
    char *err_path = test_folder_path(t.folder, "stderr");
    pid_t child =
        start_run(&t, (const char *const[]){"quantdrift", "run", t.experiment, "--quiet", LONG_RUN, NULL}, err_path);
    cr_assert_eq(kill(child, SIGINT), 0);
    int status = wait_for(child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 130, "status %x", (unsigned)status);
    char *said = NULL;
    cr_assert_eq(qd_file_read(NULL, err_path, SIZE_MAX, &said, &(size_t){0}), QD_OK);
    cr_assert_not_null(strstr(said, "--resume"), "the sentence tells how to go on: %s", said);
    free(said);
    outcome resumed = QUANTDRIFT("run", t.experiment, "--quiet", "--resume", LONG_RUN);
    expect_done(&resumed);
    cr_assert_not_null(strstr(resumed.out, "EfficientNet-B0"), "%s", resumed.out);
    outcome_free(&resumed);
    free(err_path);
    tiny_destroy(&t);
}

Test(jobs, a_second_signal_does_not_wait)
{
    tiny t = tiny_create();
    char *err_path = test_folder_path(t.folder, "stderr");
    /* Steps of seconds: the second signal comes while the first one waits for the end of a step. */
    pid_t child = start_run(&t,
                            (const char *const[]){"quantdrift", "run", t.experiment, "--quiet", LONG_RUN, "--set",
                                                  "image_size=224", "--set", "batch_size=40", NULL},
                            err_path);
    usleep(500000);
    cr_assert_eq(kill(child, SIGTERM), 0);
    usleep(100000);
    kill(child, SIGTERM);
    int status = wait_for(child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "status %x", (unsigned)status);
    free(err_path);
    tiny_destroy(&t);
}

/* The scripts of tests/faults/ that take long, cut short. */
static void run_script(const char *name, const char *amount)
{
    char *script = fixture_source_path(name), *binary = program_build_path("quantdrift");
    outcome proved = program_run(NULL, (const char *const[]){"bash", script, binary, amount, NULL});
    expect_done(&proved);
    outcome_free(&proved);
    free(script);
    free(binary);
}

Test(jobs, killed_at_any_moment_a_run_goes_on_to_the_same_end)
{
    run_script("tests/faults/kill_and_resume.sh", "3");
}

Test(jobs, memory_does_not_grow)
{
    if (TESTS_SANITIZED)
        cr_skip_test("a sanitizer keeps freed memory");
    run_script("tests/faults/flat_memory.sh", "300");
}

Test(jobs, a_run_outlives_the_reader_of_its_progress)
{
    tiny t = tiny_create();
    char *binary = program_build_path("quantdrift"), *code = test_folder_path(t.folder, "code");
    /* `head` ends after the first line; the run must not. */
    outcome piped = program_run(
        NULL,
        (const char *const[]){"sh", "-c",
                              "{ $QD_EMULATOR \"$0\" run \"$1\" --set quantization.enabled=false >\"$2.table\"; "
                              "echo $? >\"$2\"; } 2>&1 | head -n 1",
                              binary, t.experiment, code, NULL});
    expect_done(&piped);
    outcome_free(&piped);
    char *said = NULL;
    cr_assert_eq(qd_file_read(NULL, code, SIZE_MAX, &said, &(size_t){0}), QD_OK);
    cr_assert_str_eq(said, "0\n");
    free(said);
    free(code);
    free(binary);
    tiny_destroy(&t);
}

Test(jobs, a_terminal_gets_one_line_rewritten)
{
    tiny t = tiny_create();
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const struct winsize narrow = {.ws_row = 24, .ws_col = 60};
    cr_assert_eq(ioctl(master, TIOCSWINSZ, &narrow), 0);
    /* Held open here too, so that what was written can be read after the program has ended. */
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert_geq(slave, 0);
    char *out_path = test_folder_path(t.folder, "stdout");
    const program terminal = {.stderr_path = ptsname(master)};
    pid_t child = program_start(
        &terminal,
        (const char *const[]){"quantdrift", "run", t.experiment, "--set", "quantization.enabled=false", NULL},
        out_path, out_path);
    static char text[1 << 16];
    size_t used = 0;
    int status = 0;
    for (bool ended = false; used + 1 < sizeof text;) {
        struct pollfd ready = {.fd = master, .events = POLLIN};
        if (poll(&ready, 1, 50) > 0) {
            ssize_t n = read(master, text + used, sizeof text - 1 - used);
            used += n > 0 ? (size_t)n : 0;
        } else if (ended) {
            break;
        } else {
            ended = waitpid(child, &status, WNOHANG) == child;
        }
    }
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", text);
    cr_assert_not_null(strstr(text, "\r\033[KEfficientNet-B0 epoch 1/1 train 5/5"), "%s", text);
    /* No progress line is as wide as the terminal: it would wrap. */
    for (const char *line = strstr(text, "\033[K"); line; line = strstr(line + 1, "\033[K"))
        cr_assert_lt(strcspn(line + 3, "\r\n"), 60, "%.80s", line + 3);
    close(slave);
    close(master);
    free(out_path);
    tiny_destroy(&t);
}

Test(jobs, real_photographs)
{
    /* Beside the checkout where there is one; never part of it. */
    char *photos = fixture_source_path("../shared/data/imagewoof-mini");
    if (!qd_file_exists(photos)) {
        free(photos);
        cr_skip("no photographs in ../shared/data/imagewoof-mini");
    }
    outcome scan = QUANTDRIFT("dataset", photos);
    expect_done(&scan);
    cr_assert_not_null(strstr(scan.out, "500 images, 10 classes"), "%s", scan.out);
    cr_assert_not_null(strstr(scan.out, "250 images, 10 classes"), "%s", scan.out);
    outcome_free(&scan);
    free(photos);
}
