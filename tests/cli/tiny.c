#include "cli/tiny.h"
#include "base/file.h"
#include "cli/program.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

tiny tiny_create(void)
{
    tiny t = {.folder = test_folder_create()};
    t.data = test_folder_path(t.folder, "data");
    t.out = test_folder_path(t.folder, "out");
    t.experiment = test_folder_path(t.folder, "tiny.json");
    outcome made = QUANTDRIFT("synth", "--out", t.data, "--train", "4", "--val", "2", "--size", "32", "--quiet");
    expect_done(&made);
    outcome_free(&made);
    /* The model with fewer weights: most of a tiny run's time goes into checkpoints. */
    char *text =
        qd_format("{\"models\": [\"efficientnet_b0\"], \"data_dir\": \"%s\", \"output_dir\": \"%s\",\n"
                  " \"image_size\": 32, \"batch_size\": 8, \"num_epochs\": 1, \"threads\": 1,\n"
                  " \"quantization\": {\"calibration_images\": 8, \"eval_images\": 10, \"sqnr_images\": 10}}\n",
                  t.data, t.out);
    test_file_write(t.experiment, text, strlen(text));
    free(text);
    return t;
}

void tiny_destroy(tiny *t)
{
    free(t->data);
    free(t->out);
    free(t->experiment);
    test_folder_remove(t->folder);
    *t = (tiny){0};
}

/* Path of the n-th entry in order of names. */
static char *nth_entry(const char *folder, int n)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, alphasort);
    cr_assert_gt(count, n + 2, "'%s' has no entry %d", folder, n);
    char *path = test_folder_path(folder, entries[n + 2]->d_name); /* "." and ".." come first */
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return path;
}

char *tiny_class(const tiny *t, const char *split, int n)
{
    char *folder = test_folder_path(t->data, split);
    char *path = nth_entry(folder, n);
    free(folder);
    return path;
}

char *tiny_image(const tiny *t, const char *split, int n)
{
    char *folder = tiny_class(t, split, n);
    char *path = nth_entry(folder, 0);
    free(folder);
    return path;
}

char *tiny_checkpoint(const tiny *t, const char *name)
{
    char *path = qd_format("%s/checkpoints/%s", t->out, name);
    cr_assert_not_null(path);
    return path;
}
