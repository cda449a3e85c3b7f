/* Images chosen from a data set: more asked for than there are is all of them, each once. */
#include "experiment/selection.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "support/tiny_data.h"
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 11 };

static qd_context *ctx;
static char *folder;
static qd_dataset *dataset;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    tiny_data_write(folder);
    char *train = test_folder_path(folder, "data/train");
    TEST_OK(ctx, qd_dataset_open(ctx, train, QD_BAD_IMAGE_ERROR, &dataset));
    cr_assert_eq(qd_dataset_count(dataset), IMAGES);
    free(train);
}

static void tear_down(void)
{
    qd_dataset_destroy(dataset);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(selection, .init = set_up, .fini = tear_down);

static void expect_each_once(const int64_t *indices, int64_t count)
{
    bool seen[IMAGES] = {false};

    for (int64_t i = 0; i < count; i++) {
        cr_assert(indices[i] >= 0 && indices[i] < IMAGES && !seen[indices[i]], "place %lld: image %lld", (long long)i,
                  (long long)indices[i]);
        seen[indices[i]] = true;
    }
}

Test(selection, random_images_are_drawn_without_repetition)
{
    static const int64_t wanted[] = {1, 4, IMAGES - 1, IMAGES, IMAGES + 1, 1000, INT64_MAX};
    int64_t all[IMAGES], some[IMAGES], other[IMAGES], count;

    TEST_OK(ctx, qd_select_random(ctx, dataset, 3, IMAGES, all, &count));
    for (size_t k = 0; k < sizeof wanted / sizeof wanted[0]; k++) {
        TEST_OK(ctx, qd_select_random(ctx, dataset, 3, wanted[k], some, &count));
        cr_assert_eq(count, wanted[k] < IMAGES ? wanted[k] : IMAGES, "%lld asked for, %lld given",
                     (long long)wanted[k], (long long)count);
        expect_each_once(some, count);
        cr_assert_arr_eq(some, all, (size_t)count * sizeof *some, "fewer are the first of more");
    }
    TEST_OK(ctx, qd_select_random(ctx, dataset, 4, IMAGES, other, &count));
    cr_assert_neq(memcmp(all, other, sizeof all), 0, "another seed draws in another order");
}

Test(selection, balanced_images_take_the_classes_in_turn)
{
    static const int64_t wanted[] = {1, 2, 5, IMAGES, IMAGES + 1, INT64_MAX};
    int64_t indices[IMAGES], of_class[2];

    for (size_t k = 0; k < sizeof wanted / sizeof wanted[0]; k++) {
        const int64_t count = qd_select_balanced(dataset, wanted[k], indices);
        cr_assert_eq(count, wanted[k] < IMAGES ? wanted[k] : IMAGES, "%lld asked for, %lld given",
                     (long long)wanted[k], (long long)count);
        expect_each_once(indices, count);
        memset(of_class, 0, sizeof of_class);
        for (int64_t i = 0; i < count; i++)
            of_class[qd_dataset_get(dataset, indices[i])->label]++;
        /* 6 and 5 there are, so that neither class runs out before the last. */
        cr_assert(of_class[0] - of_class[1] == count % 2, "%lld and %lld of the classes", (long long)of_class[0],
                  (long long)of_class[1]);
    }
}
