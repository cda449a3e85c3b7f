/* Folders as ImageFolder sees them, and what is wrong with the ones that are refused. */
#include "base/file.h"
#include "dataset/folder_scan.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/pixel_facts.h"
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder of a test. */
typedef struct scan_bench {
    qd_context *ctx;
    char *folder;
} scan_bench;

static scan_bench bench_create(int threads)
{
    return (scan_bench){.ctx = test_context_create(threads), .folder = test_folder_create()};
}

static void bench_destroy(scan_bench *bench)
{
    test_folder_remove(bench->folder);
    qd_context_destroy(bench->ctx);
}

static void add_folder(scan_bench *bench, const char *name)
{
    char *path = test_folder_path(bench->folder, name);
    TEST_OK(bench->ctx, qd_folder_create(bench->ctx, path));
    free(path);
}

/* Writes a file, and the folders on its way. */
static void add_file(scan_bench *bench, const char *name, const void *data, size_t bytes)
{
    char *path = test_folder_path(bench->folder, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    TEST_OK(bench->ctx, qd_folder_create(bench->ctx, path));
    *slash = '/';
    test_file_write(path, data, bytes);
    free(path);
}

static void add_image(scan_bench *bench, const char *name)
{
    size_t bytes;
    char *data = fixture_read("pixels/train/jpeg/one_pixel.jpg", &bytes);
    add_file(bench, name, data, bytes);
    free(data);
}

static qd_dataset *open_bench(scan_bench *bench, enum qd_on_bad_image on_bad)
{
    qd_dataset *dataset;
    TEST_OK(bench->ctx, qd_dataset_open(bench->ctx, bench->folder, on_bad, &dataset));
    return dataset;
}

static void expect_order(const qd_dataset *dataset, const char *const *names, int64_t count)
{
    cr_assert_eq(qd_dataset_count(dataset), count);
    for (int64_t i = 0; i < count; i++)
        cr_expect_str_eq(qd_dataset_get(dataset, i)->path + strlen(qd_dataset_folder(dataset)) + 1, names[i]);
}

/* Roots and names are sorted apart, as sorted(os.walk()) does: "a-b" before "a/c", since '-' < '/'. Extensions count
 * in any case. */
Test(dataset_scan, files_come_in_imagefolders_order)
{
    static const char *const names[] = {"B/10.jpg",    "B/9.JPG", "B/z.jpeg", "B/a-b/x.jpg",
                                        "B/a/c/1.jpg", "a/.jpg",  "a/1.jpg",  "a/link/x.jpg"};
    scan_bench bench = bench_create(2);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strstr(names[i], "link"))
            add_image(&bench, names[i]);
    add_file(&bench, "a/notes.txt", "no image", 8);
    add_file(&bench, "README.jpg", "not in a class", 14);
    char *link_path = test_folder_path(bench.folder, "a/link");
    cr_assert_eq(symlink("../B/a-b", link_path), 0); /* followed */
    free(link_path);
    qd_dataset *dataset = open_bench(&bench, QD_BAD_IMAGE_ERROR);
    cr_expect_eq(qd_dataset_class_count(dataset), 2);
    cr_expect_str_eq(qd_dataset_class_name(dataset, 0), "B");
    cr_expect_str_eq(qd_dataset_class_name(dataset, 1), "a");
    expect_order(dataset, names, sizeof(names) / sizeof(names[0]));
    cr_expect_eq(qd_dataset_get(dataset, 7)->label, 1);
    cr_expect_eq(qd_dataset_get(dataset, 0)->width, 1);
    cr_expect_eq(qd_dataset_skipped_count(dataset), 0);
    qd_dataset_destroy(dataset);
    bench_destroy(&bench);
}

/* Python turns bytes that are no UTF-8 into U+DC80 … U+DCFF: behind U+D7FF, before U+E000 and emoji. */
Test(dataset_scan, names_are_ordered_by_code_point)
{
    static const char *const sorted[] = {"a",     "b",    "\xC3\xA9",     "\xED\x9F\xBF",    "\x80",
                                         "\xC3(", "\xFF", "\xEE\x80\x80", "\xF0\x9F\x90\x95"};
    size_t count = sizeof(sorted) / sizeof(sorted[0]);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            int order = qd_name_compare(sorted[i], strlen(sorted[i]), sorted[j], strlen(sorted[j]));
            cr_expect_eq((order > 0) - (order < 0), (i > j) - (i < j), "%zu against %zu", i, j);
        }
    cr_expect_lt(qd_name_compare("a", 1, "ab", 2), 0);
    cr_expect_eq(qd_name_compare("ab", 1, "ac", 1), 0);
}

Test(dataset_scan, names_that_are_no_utf8_work)
{
    scan_bench bench = bench_create(1);
    add_image(&bench, "caf\xE9/\xFF.jpg");
    add_image(&bench, "dog/1.jpg");
    qd_dataset *dataset = open_bench(&bench, QD_BAD_IMAGE_SKIP);
    cr_expect_str_eq(qd_dataset_class_name(dataset, 0), "caf\xE9");
    qd_dataset_destroy(dataset);
    add_file(&bench, "caf\xE9/\xFE.png", "x", 1);
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "caf\\xE9/\\xFE.png");
    bench_destroy(&bench);
}

Test(dataset_scan, folders_that_are_no_data_set_are_refused)
{
    scan_bench bench = bench_create(1);
    qd_dataset *dataset;
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, "/no/such/folder", QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "'/no/such/folder': there is no such folder");
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "no class found");
    add_image(&bench, "dog/1.jpg");
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "single class");
    add_folder(&bench, "cat");
    add_file(&bench, "bird/list.txt", "x", 1);
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "'bird', 'cat'");
    bench_destroy(&bench);
}

Test(dataset_scan, a_link_to_a_parent_is_refused)
{
    scan_bench bench = bench_create(1);
    qd_dataset *dataset;
    add_image(&bench, "dog/1.jpg");
    add_image(&bench, "cat/sub/1.jpg");
    char *link_path = test_folder_path(bench.folder, "cat/sub/loop");
    cr_assert_eq(symlink("..", link_path), 0);
    free(link_path);
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "leads back");
    bench_destroy(&bench);
}

/* Bad files of every sort in front of, between and behind good ones. */
static void add_bad_files(scan_bench *bench)
{
    size_t bytes;
    char *data = fixture_read("pixels/broken/truncated.jpg", &bytes);
    add_file(bench, "cat/0_truncated.jpg", data, bytes);
    free(data);
    add_file(bench, "cat/5_empty.png", "", 0);
    add_file(bench, "dog/9_picture.webp", "RIFF....WEBP", 12);
    char *path = test_folder_path(bench->folder, "dog/7_pipe.jpg");
    cr_assert_eq(mkfifo(path, 0600), 0);
    free(path);
    path = test_folder_path(bench->folder, "dog/8_broken_link.jpg");
    cr_assert_eq(symlink("nowhere", path), 0);
    free(path);
}

Test(dataset_scan, bad_images_are_errors_or_leave_the_list)
{
    static const char *const good[] = {"cat/1.jpg", "cat/6.jpg", "dog/1.jpg"};
    static const char *const reasons[] = {"truncated", "empty", "regular file", "8_broken_link.jpg", "WebP"};
    scan_bench bench = bench_create(3);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        add_image(&bench, good[i]);
    add_bad_files(&bench);
    qd_dataset *dataset;
    /* The truncated file's header is fine: the first that the scan can see is the empty one. */
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_ERROR, &dataset), QD_ERR_INPUT,
               "cat/5_empty.png");
    dataset = open_bench(&bench, QD_BAD_IMAGE_SKIP);
    expect_order(dataset, good, 3);
    cr_assert_eq(qd_dataset_skipped_count(dataset), 5);
    for (int64_t i = 0; i < 5; i++)
        cr_expect_not_null(strstr(qd_dataset_skipped_reason(dataset, i), reasons[i]), "%s",
                           qd_dataset_skipped_reason(dataset, i));
    qd_dataset_destroy(dataset);
    bench_destroy(&bench);
}

Test(dataset_scan, a_class_may_not_be_emptied_by_skipping)
{
    scan_bench bench = bench_create(1);
    qd_dataset *dataset;
    add_image(&bench, "dog/1.jpg");
    add_file(&bench, "cat/1.jpg", "x", 1);
    TEST_FAILS(bench.ctx, qd_dataset_open(bench.ctx, bench.folder, QD_BAD_IMAGE_SKIP, &dataset), QD_ERR_INPUT,
               "'cat'");
    bench_destroy(&bench);
}

Test(dataset_scan, an_unreadable_image_is_named_by_the_loader)
{
    scan_bench bench = bench_create(1);
    add_image(&bench, "dog/1.jpg");
    add_image(&bench, "cat/1.jpg");
    size_t bytes;
    char *data = fixture_read("pixels/broken/truncated.jpg", &bytes);
    add_file(&bench, "dog/2.jpg", data, bytes);
    free(data);
    qd_dataset *dataset = open_bench(&bench, QD_BAD_IMAGE_ERROR);
    qd_loader_config config = {
        .dataset = dataset, .batch_size = 2, .image_size = 8, .loader_threads = 2, .prefetch_batches = 2};
    qd_loader *loader;
    const qd_batch *batch;
    qd_rng rng;
    qd_rng_seed(&rng, 1);
    TEST_OK(bench.ctx, qd_loader_create(bench.ctx, &config, &loader));
    TEST_OK(bench.ctx, qd_loader_start_epoch(loader, &rng, 0));
    TEST_OK(bench.ctx, qd_loader_next(loader, &batch));
    TEST_FAILS(bench.ctx, qd_loader_next(loader, &batch), QD_ERR_INPUT, "dog/2.jpg");
    TEST_FAILS(bench.ctx, qd_loader_next(loader, &batch), QD_ERR_INPUT, "truncated: the file ends after");
    TEST_FAILS(bench.ctx, qd_loader_next(loader, &batch), QD_ERR_INPUT, "remove it or set on_bad_image");
    /* A file that changed since the scan would be cropped outside of itself. */
    data = fixture_read("pixels/train/jpeg/wide.jpg", &bytes);
    add_file(&bench, "cat/1.jpg", data, bytes);
    free(data);
    TEST_OK(bench.ctx, qd_loader_start_epoch(loader, &rng, 0));
    TEST_FAILS(bench.ctx, qd_loader_next(loader, &batch), QD_ERR_INPUT, "cat/1.jpg': the file changed");
    qd_loader_destroy(loader);
    qd_dataset_destroy(dataset);
    bench_destroy(&bench);
}

Test(dataset_scan, classes_of_two_splits_are_compared)
{
    scan_bench train = bench_create(1), val = bench_create(1), same = bench_create(1);
    static const char *const names[] = {"ant/1.jpg", "bee/1.jpg", "cow/1.jpg"};
    for (int i = 0; i < 3; i++) {
        add_image(&train, names[i]);
        add_image(&same, names[i]);
    }
    add_image(&val, "bee/1.jpg");
    add_image(&val, "dog/1.jpg");
    qd_dataset *a = open_bench(&train, QD_BAD_IMAGE_ERROR), *b = open_bench(&val, QD_BAD_IMAGE_ERROR),
               *c = open_bench(&same, QD_BAD_IMAGE_ERROR);
    TEST_OK(train.ctx, qd_dataset_check_classes(train.ctx, a, c));
    TEST_FAILS(train.ctx, qd_dataset_check_classes(train.ctx, a, b), QD_ERR_INPUT,
               "missing 'ant', 'cow'; extra 'dog'");
    qd_dataset_destroy(a);
    qd_dataset_destroy(b);
    qd_dataset_destroy(c);
    bench_destroy(&train);
    bench_destroy(&val);
    bench_destroy(&same);
}

/* The same names and sizes in another folder are the same data; one more byte or another name is not. */
Test(dataset_scan, the_fingerprint_follows_the_data)
{
    scan_bench a = bench_create(1), b = bench_create(2);
    char first[QD_FINGERPRINT_BYTES], second[QD_FINGERPRINT_BYTES];
    for (int i = 0; i < 2; i++) {
        add_image(i ? &b : &a, "cat/1.jpg");
        add_image(i ? &b : &a, "dog/2.jpg");
    }
    qd_dataset *dataset = open_bench(&a, QD_BAD_IMAGE_ERROR);
    qd_dataset_fingerprint(dataset, first);
    qd_dataset_destroy(dataset);
    char *with_slash = test_folder_path(b.folder, "");
    TEST_OK(b.ctx, qd_dataset_open(b.ctx, with_slash, QD_BAD_IMAGE_ERROR, &dataset));
    free(with_slash);
    qd_dataset_fingerprint(dataset, second);
    qd_dataset_destroy(dataset);
    cr_expect_str_eq(first, second);
    cr_expect_eq(strlen(first), 64);
    add_image(&b, "dog/3.jpg");
    dataset = open_bench(&b, QD_BAD_IMAGE_ERROR);
    qd_dataset_fingerprint(dataset, second);
    qd_dataset_destroy(dataset);
    cr_expect_str_neq(first, second);
    bench_destroy(&a);
    bench_destroy(&b);
}
