/* Bad input: one sentence, the right exit code, nothing lost. */
#include "base/file.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN(t, ...) QUANTDRIFT("run", (t)->experiment, "--quiet", __VA_ARGS__)
/* The shortest run that writes results and a checkpoint. */
#define RUN_SHORT(t, ...) RUN(t, "--set", "num_epochs=0", "--set", "quantization.enabled=false", __VA_ARGS__)

static void remove_tree(const char *path)
{
    test_folder_remove(strdup(path));
}

static char *folder_in(const tiny *t, const char *name)
{
    char *path = test_folder_path(t->folder, name);
    cr_assert_eq(mkdir(path, 0700), 0);
    return path;
}

static void copy_file(const char *from, const char *to, size_t max_bytes)
{
    char *data = NULL;
    size_t size = 0;
    cr_assert_eq(qd_file_read(NULL, from, SIZE_MAX, &data, &size), QD_OK);
    test_file_write(to, data, size < max_bytes ? size : max_bytes);
    free(data);
}

Test(refusals, missing_and_empty_data_folders)
{
    tiny t = tiny_create();
    expect_refusal(RUN(&t, "--data", "/no/such/folder"), 3, "/no/such/folder");
    char *empty = folder_in(&t, "empty");
    expect_refusal(RUN(&t, "--data", empty), 3, "empty");
    char *train = test_folder_path(empty, "train"), *val = test_folder_path(empty, "val");
    cr_assert_eq(mkdir(train, 0700), 0);
    cr_assert_eq(mkdir(val, 0700), 0);
    expect_refusal(RUN(&t, "--data", empty), 3, "train");
    expect_refusal(QUANTDRIFT("dataset", empty), 3, "train");
    cr_assert_not(qd_file_exists(t.out), "a refused run leaves no output folder");
    free(train);
    free(val);
    free(empty);
    tiny_destroy(&t);
}

Test(refusals, one_class)
{
    tiny t = tiny_create();
    for (int n = 0; n < 9; n++) {
        char *train = tiny_class(&t, "train", 0), *val = tiny_class(&t, "val", 0);
        remove_tree(train);
        remove_tree(val);
        free(train);
        free(val);
    }
    expect_refusal(RUN(&t, "--threads", "1"), 3, "class");
    tiny_destroy(&t);
}

Test(refusals, validation_classes_that_differ)
{
    tiny t = tiny_create();
    char *missing = tiny_class(&t, "val", 3);
    const char *missing_name = strrchr(missing, '/') + 1;
    char *extra = qd_format("%s/val/zebra", t.data);
    cr_assert_eq(rename(missing, extra), 0);
    outcome result = RUN(&t, "--threads", "1");
    cr_assert_not_null(strstr(result.err, missing_name), "the missing class is named: %s", result.err);
    expect_refusal(result, 3, "zebra");
    result = QUANTDRIFT("dataset", t.data);
    cr_assert_not_null(strstr(result.out, "fingerprint"), "the table is printed all the same");
    expect_refusal(result, 3, "zebra");
    free(missing);
    free(extra);
    tiny_destroy(&t);
}

Test(refusals, num_classes_against_folders)
{
    tiny t = tiny_create();
    expect_refusal(RUN(&t, "--set", "num_classes=7"), 3, "7");
    tiny_destroy(&t);
}

Test(refusals, mistyped_keys_and_values)
{
    tiny t = tiny_create();
    expect_refusal(RUN(&t, "--set", "num_epoch=3"), 2, "num_epochs");
    expect_refusal(RUN(&t, "--set", "lr=\"fast\""), 2, "lr");
    expect_refusal(RUN(&t, "--set", "nonsense"), 2, "key=value");
    expect_refusal(RUN(&t, "--set", "models=[\"resnet81\"]"), 2, "resnet18");
    test_file_write(t.experiment, "{\"seed\": 1,,}", 13);
    outcome result = RUN(&t, "--threads", "1");
    cr_assert(result.code == 2 || result.code == 3, "exit code %d", result.code);
    expect_refusal(result, result.code, "tiny.json");
    expect_refusal(QUANTDRIFT("run", "/no/such/experiment.json", "--quiet"), 2, "/no/such/experiment.json");
    tiny_destroy(&t);
}

/* What stands where an image should be, and the file it stands in. */
static void expect_bad_image(const char *what, const char *bytes, size_t size)
{
    tiny t = tiny_create();
    char *image = tiny_image(&t, "train", 4);
    const char *name = strrchr(image, '/') + 1;
    if (bytes)
        test_file_write(image, bytes, size);
    else
        copy_file(image, image, size);
    expect_refusal(RUN(&t, "--threads", "1"), 3, name);
    outcome scan = QUANTDRIFT("dataset", t.data);
    cr_assert_eq(scan.code, 3, "%s: the scan ends with %d: %s", what, scan.code, scan.err);
    cr_assert_not_null(strstr(scan.out, name), "%s: the scan names the file: %s", what, scan.out);
    outcome_free(&scan);
    outcome skipped = RUN_SHORT(&t, "--set", "on_bad_image=\"skip\"");
    expect_done(&skipped);
    outcome_free(&skipped);
    free(image);
    tiny_destroy(&t);
}

Test(refusals, a_file_that_is_no_image)
{
    static const char text[] = "this is no image, whatever its name says\n";
    expect_bad_image("text", text, sizeof text - 1);
}

Test(refusals, a_zero_byte_image)
{
    expect_bad_image("zero bytes", "", 0);
}

Test(refusals, a_truncated_image)
{
    /* 300 bytes hold headers and tables of a JPEG or the first chunks of a PNG, and not all pixels. */
    expect_bad_image("truncated", NULL, 300);
}

Test(refusals, a_link_to_nowhere_in_place_of_an_image)
{
    tiny t = tiny_create();
    char *image = tiny_image(&t, "train", 1);
    cr_assert_eq(unlink(image), 0);
    cr_assert_eq(symlink("/no/such/image", image), 0);
    outcome result = RUN(&t, "--threads", "1");
    cr_assert_not_null(strstr(result.err, "on_bad_image"), "what to do is said: %s", result.err);
    expect_refusal(result, 3, image);
    free(image);
    tiny_destroy(&t);
}

Test(refusals, output_folders_that_cannot_be)
{
    tiny t = tiny_create();
    char *file = test_folder_path(t.folder, "file"), *below = test_folder_path(t.folder, "file/out");
    test_file_write(file, "kept", 4);
    expect_refusal(RUN(&t, "--out", file), 1, "file' is there and is no folder");
    expect_refusal(RUN(&t, "--out", below), 1, "file' is there and is no folder");
    expect_refusal(RUN(&t, "--out", ""), 2, "output_dir");
    expect_refusal(RUN_SHORT(&t, "--step-log", t.folder), 1, "Is a directory");
    expect_refusal(RUN_SHORT(&t, "--step-log", "/no/such/folder/steps.jsonl"), 1, "/no/such/folder/steps.jsonl");
    free(below);
    free(file);
    tiny_destroy(&t);
}

Test(refusals, names_that_are_no_utf8_are_shown_escaped)
{
    tiny t = tiny_create();
    char *train = tiny_class(&t, "train", 9), *val = tiny_class(&t, "val", 9);
    char *new_train = qd_format("%s/train/z\xff\033[31mred", t.data),
         *new_val = qd_format("%s/val/z\xff\033[31mred", t.data);
    cr_assert_eq(rename(train, new_train), 0);
    cr_assert_eq(rename(val, new_val), 0);
    outcome scan = QUANTDRIFT("dataset", t.data);
    expect_done(&scan);
    cr_assert_not_null(strstr(scan.out, "z\\xFF\\x1B[31mred"), "escaped: %s", scan.out);
    cr_assert_null(strchr(scan.out, '\033'));
    outcome_free(&scan);
    outcome run = RUN_SHORT(&t, "--threads", "1");
    expect_done(&run);
    outcome_free(&run);
    char *bad = qd_format("%s/broken.jpg", new_train);
    test_file_write(bad, "", 0);
    expect_refusal(RUN(&t, "--set", "seed=2"), 3, "z\\xFF\\x1B[31mred");
    free(bad);
    free(train);
    free(val);
    free(new_train);
    free(new_val);
    tiny_destroy(&t);
}

Test(refusals, one_value_a_channel_in_training_batchnorm)
{
    /* At 32 px the network ends at 1x1: a last batch of one image leaves one value a channel. 40 = 13*3 + 1. */
    tiny t = tiny_create();
    outcome result = RUN(&t, "--set", "batch_size=3");
    cr_assert_neq(result.code, 0);
    expect_refusal(result, result.code, "features.6");
    tiny_destroy(&t);
}

Test(refusals, a_loss_that_is_not_finite)
{
    tiny t = tiny_create();
    outcome result = RUN(&t, "--set", "lr=1e30", "--set", "num_epochs=2", "--set", "quantization.enabled=false");
    cr_assert_not_null(strstr(result.err, "epoch 1"), "the epoch is named: %s", result.err);
    cr_assert_not_null(strstr(result.err, "step "), "the step is named: %s", result.err);
    expect_refusal(result, 1, "finite");
    char *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_epoch_0.safetensors");
    cr_assert(qd_file_exists(checkpoint), "the last good checkpoint stays");
    outcome eval = QUANTDRIFT("eval", checkpoint, "--data", t.data, "--quiet");
    expect_done(&eval);
    outcome_free(&eval);
    free(checkpoint);
    tiny_destroy(&t);
}

Test(refusals, checkpoints_of_another_model_or_none)
{
    tiny t = tiny_create();
    outcome run = RUN_SHORT(&t, "--threads", "1");
    expect_done(&run);
    outcome_free(&run);
    char *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_epoch_0.safetensors");
    char *image = tiny_image(&t, "val", 0);
    expect_refusal(QUANTDRIFT("eval", checkpoint, "--data", t.data, "--model", "resnet18"), 3,
                   "efficientnet_b0_epoch_0");
    expect_refusal(QUANTDRIFT("observe", checkpoint, image, "--model", "resnet99"), 3, "resnet99");
    expect_refusal(QUANTDRIFT("observe", image, image), 3, image);
    expect_refusal(QUANTDRIFT("observe", "/no/such.safetensors", image), 3, "/no/such.safetensors");
    expect_refusal(QUANTDRIFT("observe", checkpoint, "/no/such.jpg"), 3, "/no/such.jpg");
    expect_refusal(QUANTDRIFT("observe", checkpoint, checkpoint), 3, "efficientnet_b0_epoch_0");
    char *cut = test_folder_path(t.folder, "cut.safetensors");
    copy_file(checkpoint, cut, 100000);
    expect_refusal(QUANTDRIFT("eval", cut, "--data", t.data), 3, "cut.safetensors");
    free(cut);
    free(image);
    free(checkpoint);
    tiny_destroy(&t);
}

Test(refusals, a_full_disk_loses_nothing)
{
    tiny t = tiny_create();
    outcome first = RUN_SHORT(&t, "--threads", "1");
    expect_done(&first);
    outcome_free(&first);
    /* Every file written now ends at 1 MiB; a checkpoint of EfficientNet-B0 takes 31. */
    const program full = {.max_file_bytes = 1 << 20};
    char *out = test_folder_path(t.folder, "other");
    outcome result =
        program_run(&full, (const char *const[]){"quantdrift", "run", t.experiment, "--quiet", "--out", out, NULL});
    expect_refusal(result, 1, "safetensors");
    char *checkpoints = test_folder_path(out, "checkpoints");
    cr_assert_eq(test_folder_count(checkpoints), 0, "no half-written checkpoint, no temporary file");
    char *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_epoch_0.safetensors");
    outcome eval = QUANTDRIFT("eval", checkpoint, "--data", t.data, "--quiet");
    expect_done(&eval);
    outcome_free(&eval);
    free(checkpoint);
    free(checkpoints);
    free(out);
    tiny_destroy(&t);
}

Test(refusals, a_really_full_disk)
{
    tiny t = tiny_create();
    char *disk = folder_in(&t, "disk");
    /* 8 MiB: room for results, not for a checkpoint. */
    if (mount("none", disk, "tmpfs", 0, "size=8m") != 0) {
        free(disk);
        tiny_destroy(&t);
        cr_skip("mounting a small file system needs root");
    }
    outcome result = QUANTDRIFT("run", t.experiment, "--quiet", "--out", disk);
    int unmounted = umount(disk);
    expect_refusal(result, 1, "No space left on device");
    cr_assert_eq(unmounted, 0);
    free(disk);
    tiny_destroy(&t);
}
