/* Queues of runs in processes of their own: what goes wrong in one does not reach the others, and nothing is done
 * twice. */
#include "base/file.h"
#include "base/folder_lock.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Keys of the shortest runs: the network as initialised, and its quantization left out. */
#define SHORTEST "\"num_epochs\": 0, \"quantization\": {\"enabled\": false}"

static char *write_experiment(const tiny *t, const char *name, const char *text)
{
    char *path = test_folder_path(t->folder, name);
    test_file_write(path, text, strlen(text));
    return path;
}

static char *read_text(const char *path)
{
    char *text = NULL;
    cr_assert_eq(qd_file_read(NULL, path, SIZE_MAX, &text, &(size_t){0}), QD_OK, "%s", path);
    return text;
}

static void expect_piece(const char *text, const char *piece)
{
    cr_assert_not_null(strstr(text, piece), "'%s' is not in: %s", piece, text);
}

static void replace_in_file(const char *path, const char *from, const char *to)
{
    char *text = read_text(path), *found = strstr(text, from);
    cr_assert_not_null(found, "no %s in %s", from, path);
    cr_assert_eq(strlen(from), strlen(to));
    memcpy(found, to, strlen(to));
    test_file_write(path, text, strlen(text));
    free(text);
}

/* As an array of jobs on a cluster starts them. */
Test(queue, one_run_of_it_can_be_chosen_by_number)
{
    tiny t = tiny_create();
    char *path = write_experiment(&t, "grid.json",
                                  "{\"base\": \"tiny.json\", \"models\": \"resnet18\", \"max_steps\": 1, "
                                  "\"quantization\": {\"enabled\": false}, \"grid\": {\"seed\": [1, 2, 3]}}");
    char *first = test_folder_path(t.out, "seed_1"), *second = test_folder_path(t.out, "seed_2");
    outcome shown = QUANTDRIFT("run", path, "--only", "2", "-q");
    expect_done(&shown);
    expect_piece(shown.out, "ResNet18");
    outcome_free(&shown);
    cr_assert(qd_file_exists(second));
    cr_assert_not(qd_file_exists(first));
    expect_refusal(QUANTDRIFT("run", path, "--only", "4", "-q"), 2, "--only 4: there are 3 runs");
    free(first);
    free(second);
    free(path);
    tiny_destroy(&t);
}

/* Without MPI each of them would train the whole, into the same folder. */
Test(queue, several_processes_are_refused_by_a_build_without_mpi)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    tiny t = tiny_create();
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        setenv(variables[i], "2", 1);
        expect_refusal(QUANTDRIFT("run", t.experiment), 2, "built without MPI");
        setenv(variables[i], "1", 1);
        expect_refusal(QUANTDRIFT("run", t.experiment, "--only", "2"), 2, "there are 1 runs");
        unsetenv(variables[i]);
    }
    cr_assert_not(qd_file_exists(t.out));
    tiny_destroy(&t);
}

Test(queue, a_dry_run_tells_and_touches_nothing)
{
    tiny t = tiny_create();
    char *path =
        write_experiment(&t, "grid.json",
                         "{\"base\": \"tiny.json\", \"grid\": {\"seed\": [1, 2], \"v\": [{\"name\": \"short\","
                         " \"max_steps\": 3}, {\"name\": \"long\", \"num_epochs\": 3}]}}");
    outcome shown = QUANTDRIFT("run", path, "--dry-run", "--rate", "100");
    expect_done(&shown);
    expect_piece(shown.out, "out/seed_1-short\n");
    expect_piece(shown.out, "out/seed_2-long\n");
    /* 40 images in batches of 8: 3 of 5 steps, and three epochs of 5; each twice. */
    expect_piece(shown.out, "to do, at most             36 ");
    expect_piece(shown.out, "at 100 images a second");
    cr_assert_not(qd_file_exists(t.out));
    outcome_free(&shown);
    shown = QUANTDRIFT("run", t.experiment, "--dry-run");
    expect_done(&shown);
    expect_piece(shown.out, "measured here");
    outcome_free(&shown);
    /* Two epochs more, of 5 steps each, in each of the four. */
    shown = QUANTDRIFT("run", path, "--dry-run", "--rate", "100", "--set", "qat.num_epochs=2");
    expect_done(&shown);
    expect_piece(shown.out, "to do, at most             76 ");
    outcome_free(&shown);
    /*
     * At an image a second in training, three forward: 40 + 40/3 + 4 x 8/3 + 2 x (8/3 + 50/3) s for the epoch, its
     * two validations, logs and INT8 networks; then 1.5 x (80 + 40/3) + 5.5 x 8/3 + 2 x 50/3 s.
     */
    shown = QUANTDRIFT("run", t.experiment, "--dry-run", "--rate", "1");
    expect_done(&shown);
    expect_piece(shown.out, " 5    0:01:43 ");
    outcome_free(&shown);
    shown = QUANTDRIFT("run", t.experiment, "--dry-run", "--rate", "1", "--set", "qat.num_epochs=2");
    expect_done(&shown);
    expect_piece(shown.out, " 15    0:04:51 ");
    outcome_free(&shown);
    /* It measures INT8 whether or not logged epochs do. */
    shown = QUANTDRIFT("run", t.experiment, "--dry-run", "--set", "qat.num_epochs=2", "--set",
                       "quantization.enabled=false");
    expect_done(&shown);
    expect_piece(shown.out, "measured here");
    expect_piece(shown.out, "   0:"); /* under an hour */
    outcome_free(&shown);
    expect_refusal(QUANTDRIFT("run", path, "--dry-run", "--rate", "9", "--set", "seed=1"), 2, "'seed' is given");
    free(path);
    tiny_destroy(&t);
}

/* ---- a grid of 24 with three runs that cannot be done ---- */

enum { RUNS = 24, SABOTAGED = 5, LOCKED = 11, FULL = 17 };

static char *write_grid(const tiny *t, const char *bad_data)
{
    char *text =
        qd_format("{\"base\": \"tiny.json\", " SHORTEST ", \"keep_checkpoints\": \"last\", \"grid\": {\"n\": [");
    for (int i = 0; i < RUNS; i++) {
        char *longer = i == SABOTAGED
                           ? qd_format("%s, {\"name\": \"run%d\", \"data_dir\": \"%s\"}", text, i, bad_data)
                           : qd_format("%s%s{\"name\": \"run%d\", \"seed\": %d}", text, i ? ", " : "", i, i);
        free(text);
        text = longer;
    }
    char *whole = qd_format("%s]}}", text);
    char *path = write_experiment(t, "grid.json", whole);
    free(whole);
    free(text);
    return path;
}

/* A copy of the data whose first training image is cut in the middle. */
static char *copy_data(const tiny *t)
{
    char *bad = test_folder_path(t->folder, "bad");
    outcome copied = program_run(NULL, (const char *const[]){"cp", "-r", t->data, bad, NULL});
    expect_done(&copied);
    outcome_free(&copied);
    return bad;
}

static char *first_image(const tiny *t, const char *data)
{
    char *image = tiny_image(t, "train", 0);
    char *path = qd_format("%s%s", data, image + strlen(t->data));
    free(image);
    return path;
}

static char *run_folder(const tiny *t, int run)
{
    char *folder = qd_format("%s/run%d", t->out, run);
    cr_assert(mkdir(folder, 0700) == 0 || errno == EEXIST, "%s", folder);
    return folder;
}

/* The manifests of all runs but those that failed, in one text. */
static char *manifests(const tiny *t)
{
    char *all = strdup("");
    for (int i = 0; i < RUNS; i++) {
        if (i == SABOTAGED || i == LOCKED || i == FULL)
            continue;
        char *path = qd_format("%s/run%d/manifest.json", t->out, i), *text = read_text(path);
        char *longer = qd_format("%s%s", all, text);
        expect_piece(text, "\"state\": \"complete\"");
        free(all);
        free(text);
        free(path);
        all = longer;
    }
    return all;
}

Test(queue, what_goes_wrong_in_some_runs_does_not_reach_the_others, .timeout = 1800)
{
    tiny t = tiny_create();
    qd_context *ctx = test_context_create(1);
    char *bad = copy_data(&t), *image = first_image(&t, bad), *grid = write_grid(&t, bad);
    qd_folder_lock lock = {0};
    cr_assert_eq(mkdir(t.out, 0700), 0);
    char *full = run_folder(&t, FULL), *locked = run_folder(&t, LOCKED);
    /* Headers are read when the data is scanned. */
    cr_assert_eq(truncate(image, 10), 0);
    TEST_OK(ctx, qd_folder_lock_take(ctx, locked, &lock));
    const bool mounted = mount("none", full, "tmpfs", 0, "size=8m") == 0;
    const int failed = mounted ? 3 : 2;

    outcome first = QUANTDRIFT("run", grid, "--quiet", "--jobs", "2");
    if (mounted)
        cr_expect_eq(umount(full), 0);
    else
        fputs("no disk was filled: mounting a small file system needs root\n", stderr);
    qd_folder_lock_release(&lock);
    cr_assert_eq(first.code, 1, "%s%s", first.out, first.err);
    char *summary = qd_format("24 runs: %d complete, %d failed\n", RUNS - failed, failed);
    char *holder =
        qd_format("run%d: folder '%s': process %lld is at work in it", LOCKED, locked, (long long)getpid());
    expect_piece(first.out, summary);
    expect_piece(first.out, image);
    expect_piece(first.out, holder);
    if (mounted)
        expect_piece(first.out, "No space left on device");

    outcome status = QUANTDRIFT("status", t.out);
    expect_done(&status);
    cr_assert_null(strstr(status.out, "running"), "%s", status.out);
    outcome_free(&status);

    /* The second call does what is missing and nothing else. */
    char *before = manifests(&t), *good = first_image(&t, t.data);
    outcome repaired = program_run(NULL, (const char *const[]){"cp", good, image, NULL});
    expect_done(&repaired);
    outcome second = QUANTDRIFT("run", grid, "--quiet");
    expect_done(&second);
    char *rest = qd_format("24 runs: %d complete before, %d complete\n", RUNS - failed, failed);
    expect_piece(second.out, rest);
    char *after = manifests(&t);
    cr_assert_str_eq(before, after, "complete runs were left as they are");
    /* What another version of the program made is told of, and neither trusted in silence nor made again. */
    char *manifest = qd_format("%s/run0/manifest.json", t.out);
    replace_in_file(manifest, "\"version\": \"0.", "\"version\": \"9.");
    outcome third = QUANTDRIFT("run", grid, "--quiet");
    expect_done(&third);
    expect_piece(third.out, "run0: complete, by another version or commit of this program");
    expect_piece(third.out, "24 runs: 23 complete before, 1 by another program\n");

    outcome *outcomes[] = {&first, &second, &third, &repaired};
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        outcome_free(outcomes[i]);
    char *texts[] = {bad, image, grid, full, locked, summary, holder, before, good, rest, after, manifest};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    qd_context_destroy(ctx);
    tiny_destroy(&t);
}

/* ---- signals ---- */

#define LONG_GRID                                                                                                    \
    "{\"base\": \"tiny.json\", \"num_epochs\": 400, \"log_every\": 400, \"quantization\": {\"enabled\": false},"     \
    " \"grid\": {\"seed\": [1, 2, 3]}}"

static bool wait_for_file(const char *path)
{
    for (int i = 0; i < 300 * 50; i++) {
        if (qd_file_exists(path))
            return true;
        usleep(20000);
    }
    return false;
}

/* Starts a queue of long runs, two side by side, and returns when both are training. */
static pid_t start_queue(const tiny *t, const char *grid, const char *out_path, const char *err_path)
{
    const pid_t child = program_start(
        NULL, (const char *const[]){"quantdrift", "run", grid, "--quiet", "--jobs", "2", NULL}, out_path, err_path);
    for (int seed = 1; seed <= 2; seed++) {
        char *path = qd_format("%s/seed_%d/checkpoints/efficientnet_b0_epoch_0.safetensors", t->out, seed);
        cr_assert(wait_for_file(path), "%s did not come", path);
        free(path);
    }
    return child;
}

/* The state in a run's manifest, as "interrupted". */
static void expect_state(const tiny *t, int seed, const char *state)
{
    char *path = qd_format("%s/seed_%d/manifest.json", t->out, seed), *text = read_text(path);
    char *piece = qd_format("\"state\": \"%s\"", state);
    expect_piece(text, piece);
    free(piece);
    free(text);
    free(path);
}

static void expect_unlocked(const tiny *t)
{
    for (int seed = 1; seed <= 2; seed++) {
        char *folder = qd_format("%s/seed_%d", t->out, seed);
        int64_t pid;
        bool held = true;
        for (int i = 0; i < 300 * 50 && held; i++) {
            held = qd_folder_lock_is_held(folder, &pid);
            if (held)
                usleep(20000);
        }
        cr_assert_not(held, "process %lld still works in '%s'", (long long)pid, folder);
        free(folder);
    }
}

Test(queue, a_signal_interrupts_all_runs_which_go_on_later)
{
    tiny t = tiny_create();
    char *grid = write_experiment(&t, "grid.json", LONG_GRID), *out = test_folder_path(t.folder, "stdout"),
         *err = test_folder_path(t.folder, "stderr");
    const pid_t child = start_queue(&t, grid, out, err);
    int status = 0;
    cr_assert_eq(kill(child, SIGINT), 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    char *said = read_text(out);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 130, "status %x: %s", (unsigned)status, said);
    expect_piece(said, "3 runs: 1 not begun, 2 interrupted\n");
    expect_state(&t, 1, "interrupted");
    expect_state(&t, 2, "interrupted");
    expect_unlocked(&t);
    /* A shorter schedule would be another configuration: what was begun can only go on. */
    outcome other = QUANTDRIFT("run", grid, "--quiet", "--set", "num_epochs=2");
    cr_assert_eq(other.code, 1);
    expect_piece(other.out, "num_epochs (was 400, is 2)");
    expect_piece(other.out, "3 runs: 1 complete, 2 failed\n");
    outcome_free(&other);
    free(said);
    free(grid);
    free(out);
    free(err);
    tiny_destroy(&t);
}

/* A queue that is killed takes its runs with it; they leave checkpoints as if interrupted. */
Test(queue, runs_do_not_outlive_their_queue)
{
    tiny t = tiny_create();
    char *grid = write_experiment(&t, "grid.json", LONG_GRID), *out = test_folder_path(t.folder, "stdout");
    const pid_t child = start_queue(&t, grid, out, out);
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    expect_unlocked(&t);
    expect_state(&t, 1, "interrupted");
    expect_state(&t, 2, "interrupted");
    free(grid);
    free(out);
    tiny_destroy(&t);
}

Test(queue, threads_are_parted_among_the_runs_there_are)
{
    tiny t = tiny_create();
    char *grid =
        write_experiment(&t, "grid.json", "{\"base\": \"tiny.json\", " SHORTEST ", \"grid\": {\"seed\": [1, 2]}}");
    outcome run = QUANTDRIFT("run", grid, "--quiet", "--jobs", "4", "--threads", "5");
    expect_done(&run);
    for (int seed = 1; seed <= 2; seed++) {
        char *path = qd_format("%s/seed_%d/manifest.json", t.out, seed), *text = read_text(path);
        expect_piece(text, seed == 1 ? "\"threads\": 3," : "\"threads\": 2,");
        free(text);
        free(path);
    }
    outcome_free(&run);
    free(grid);
    tiny_destroy(&t);
}

/* Results that somebody edited, or that a bad disk cut, are not a run that needs nothing. */
Test(queue, changed_results_are_not_taken_for_complete)
{
    tiny t = tiny_create();
    char *grid =
        write_experiment(&t, "grid.json", "{\"base\": \"tiny.json\", " SHORTEST ", \"grid\": {\"seed\": [1, 2]}}");
    outcome run = QUANTDRIFT("run", grid, "--quiet");
    expect_done(&run);
    outcome_free(&run);
    char *results = qd_format("%s/seed_2/efficientnet_b0_results.json", t.out);
    replace_in_file(results, "\"val_acc\": ", "\"val_acc\":9");
    outcome shown = QUANTDRIFT("run", grid, "--dry-run", "--rate", "9");
    expect_done(&shown);
    expect_piece(shown.out, "\nchanged ");
    outcome_free(&shown);
    run = QUANTDRIFT("run", grid, "--quiet");
    cr_assert_eq(run.code, 1, "%s", run.out);
    expect_piece(run.out, "seed_2: its results were changed after it was complete");
    expect_piece(run.out, "2 runs: 1 complete before, 1 failed\n");
    outcome_free(&run);
    free(results);
    free(grid);
    tiny_destroy(&t);
}

/* ---- status and verify ---- */

Test(queue, verify_finds_what_was_changed_and_tells_what_it_could_not_check)
{
    tiny t = tiny_create();
    outcome run = QUANTDRIFT("run", t.experiment, "--quiet");
    expect_done(&run);
    outcome_free(&run);
    outcome verified = QUANTDRIFT("verify", t.out);
    expect_done(&verified);
    expect_piece(verified.out, "equal      EfficientNet-B0, epoch 1: INT8 numbers are the file's\n");
    expect_piece(verified.out, "15 equal, 0 different, 0 unchecked\n");
    outcome_free(&verified);

    char *results = test_folder_path(t.out, "efficientnet_b0_results.json");
    replace_in_file(results, "\"zero_point\": -128", "\"zero_point\": -127");
    verified = QUANTDRIFT("verify", t.out, "--quiet");
    cr_assert_eq(verified.code, 1, "%s", verified.out);
    expect_piece(verified.out, "DIFFERENT  efficientnet_b0_results.json: the hash is ");
    expect_piece(verified.out, ", zero_point: the file says -127, computed again it is -128\n");
    outcome_free(&verified);
    replace_in_file(results, "\"zero_point\": -127", "\"zero_point\": -128");

    /* A manifest that names other files than the run left vouches for none of them. */
    char *manifest = test_folder_path(t.out, "manifest.json"), *aside = test_folder_path(t.folder, "aside");
    replace_in_file(manifest, "\"metrics.csv\"", "\"metrics.txt\"");
    replace_in_file(manifest, "\"checkpoints/efficientnet_b0_best", "\"checkpoints/efficientnet_b0_past");
    verified = QUANTDRIFT("verify", t.out, "--quiet");
    cr_assert_eq(verified.code, 1, "%s", verified.out);
    expect_piece(verified.out, "DIFFERENT  metrics.csv: the manifest has no hash of it\n");
    expect_piece(verified.out, "unchecked  checkpoints/efficientnet_b0_best.safetensors: the manifest has no hash");
    outcome_free(&verified);
    replace_in_file(manifest, "\"metrics.txt\"", "\"metrics.csv\"");
    replace_in_file(manifest, "\"checkpoints/efficientnet_b0_past", "\"checkpoints/efficientnet_b0_best");
    cr_assert_eq(rename(results, aside), 0);
    verified = QUANTDRIFT("verify", t.out, "--quiet");
    cr_assert_eq(verified.code, 1, "%s", verified.out);
    expect_piece(verified.out, "DIFFERENT  EfficientNet-B0: the run is complete and its results are gone\n");
    outcome_free(&verified);
    cr_assert_eq(rename(aside, results), 0);

    char *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_epoch_1.safetensors");
    cr_assert_eq(unlink(checkpoint), 0);
    verified = QUANTDRIFT("verify", t.out, "--quiet");
    expect_done(&verified);
    expect_piece(verified.out, "unchecked  checkpoints/efficientnet_b0_epoch_1.safetensors: not there\n");
    expect_piece(verified.out, "unchecked  EfficientNet-B0, epoch 1: no checkpoint to compute its numbers from\n");
    outcome_free(&verified);
    char *checkpoints = test_folder_path(t.out, "checkpoints");
    cr_assert_eq(rename(checkpoints, aside), 0);
    verified = QUANTDRIFT("verify", t.out, "--quiet");
    expect_done(&verified);
    expect_piece(verified.out, "unchecked  EfficientNet-B0, epoch 0: no checkpoint to compute its numbers from\n");
    outcome_free(&verified);
    cr_assert_eq(rename(aside, checkpoints), 0);

    char *moved = test_folder_path(t.folder, "moved"), *image = first_image(&t, moved);
    cr_assert_eq(rename(t.data, moved), 0);
    verified = QUANTDRIFT("verify", t.out, "--quiet");
    expect_done(&verified);
    expect_piece(verified.out, "unchecked  nothing is computed again: ");
    outcome_free(&verified);
    verified = QUANTDRIFT("verify", t.out, "--quiet", "--data", moved);
    expect_done(&verified);
    cr_assert_null(strstr(verified.out, "nothing is computed again"), "%s", verified.out);
    outcome_free(&verified);
    cr_assert_eq(unlink(image), 0);
    verified = QUANTDRIFT("verify", t.out, "--quiet", "--data", moved);
    cr_assert_eq(verified.code, 1);
    expect_piece(verified.out, "is not what the run was made with");
    outcome_free(&verified);
    expect_refusal(QUANTDRIFT("verify", t.folder), 3, "is no run's folder");
    expect_refusal(QUANTDRIFT("status", t.data), 3, "data");
    free(image);
    free(moved);
    free(checkpoint);
    free(checkpoints);
    free(aside);
    free(manifest);
    free(results);
    tiny_destroy(&t);
}

Test(queue, status_tells_from_files_alone)
{
    tiny t = tiny_create();
    qd_context *ctx = test_context_create(1);
    char *other = test_folder_path(t.folder, "other");
    outcome run = QUANTDRIFT("run", t.experiment, "--quiet");
    expect_done(&run);
    outcome_free(&run);
    run = QUANTDRIFT("run", t.experiment, "--quiet", "--out", other, "--set", "lr=1e30", "--set", "num_epochs=2");
    cr_assert_eq(run.code, 1);
    outcome_free(&run);
    outcome status = QUANTDRIFT("status", t.folder);
    expect_done(&status);
    char *failed = qd_format("failed                   %s: training efficientnet_b0, epoch 1, step ", other);
    char *complete =
        qd_format("complete                 %s\n    EfficientNet-B0                  epoch 1/1  val ", t.out);
    expect_piece(status.out, failed);
    expect_piece(status.out, complete);
    expect_piece(status.out, " % (epoch 1)\n");
    outcome_free(&status);

    /* As a killed process leaves it, and with one at work. */
    char *manifest = test_folder_path(other, "manifest.json");
    replace_in_file(manifest, "\"failed\",", "\"running\"");
    replace_in_file(manifest, "\"reason\"", ",\"reaso\"");
    status = QUANTDRIFT("status", other);
    expect_done(&status);
    expect_piece(status.out, "killed   ");
    outcome_free(&status);
    qd_folder_lock lock = {0};
    TEST_OK(ctx, qd_folder_lock_take(ctx, other, &lock));
    char *running = qd_format("running (process %lld)", (long long)getpid());
    status = QUANTDRIFT("status", other);
    expect_done(&status);
    expect_piece(status.out, running);
    outcome_free(&status);
    expect_refusal(QUANTDRIFT("verify", other), 2, "is at work in it");
    expect_refusal(QUANTDRIFT("run", t.experiment, "--quiet", "--out", other), 1, "is at work in it");
    qd_folder_lock_release(&lock);
    char *texts[] = {other, failed, complete, manifest, running};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    qd_context_destroy(ctx);
    tiny_destroy(&t);
}
