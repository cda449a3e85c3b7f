/* Grids of recipes as they are written: spreading, the post's recipe first, each once, and what is refused. */
#include "experiment/grid_file.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "g.json");
}

static void tear_down(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(grid_file, .init = set_up, .fini = tear_down);

static enum qd_status read_text(const char *text, qd_grid_file *out)
{
    test_file_write(path, text, strlen(text));
    return qd_grid_file_read(ctx, path, out);
}

static const qd_quant_recipe *recipe(const qd_grid_file *file, int index)
{
    cr_assert_lt(index, file->count);
    return &file->recipes[index].quantization.recipe;
}

Test(grid_file, lists_spread_the_last_one_fastest)
{
    qd_grid_file file;
    TEST_OK(ctx,
            read_text("// a comment\n{\"eval_images\": 7, \"calibration_images\": 9, \"adaround_iterations\": 20,\n"
                      "\"recipes\": [{\"per_channel\": [false, true], \"weight_bits\": 4,\n"
                      " \"calibrator\": [\"minmax\", \"mse\"]}, {\"equalize\": true}]}",
                      &file));
    cr_assert_eq(file.settings.quantization.eval_images, 7);
    cr_assert_eq(file.settings.quantization.calibration_images, 9);
    cr_assert_eq(file.count, 6);
    qd_config plain;
    TEST_OK(ctx, qd_config_init(ctx, &plain));
    char *expected = qd_grid_recipe_line(&plain), *first = qd_grid_recipe_line(&file.recipes[0]);
    cr_assert(expected && first);
    cr_assert_str_eq(first, expected, "the first one is the post's");
    free(expected);
    free(first);
    qd_config_free(&plain);
    for (int i = 1; i < 5; i++) {
        cr_assert_eq(recipe(&file, i)->scheme.weight_per_channel, i > 2);
        cr_assert_eq(recipe(&file, i)->scheme.weight_bits, 4);
        cr_assert_str_eq(recipe(&file, i)->calibrator.name, i % 2 == 1 ? "minmax" : "mse");
        cr_assert_eq(recipe(&file, i)->remedies.adaround_settings.iterations, 20,
                     "keys beside the list hold for all");
    }
    cr_assert(recipe(&file, 5)->remedies.equalize && !recipe(&file, 5)->scheme.weight_per_channel);
    qd_grid_file_free(&file);
}

Test(grid_file, equal_recipes_are_there_once)
{
    qd_grid_file file;
    TEST_OK(ctx, read_text("{\"recipes\": [{}, {\"weight_bits\": [8, 8]}, {\"calibrator\": \"mse\"}, "
                           "{\"calibrator\": [\"minmax\", \"mse\"], \"dynamic\": false}]}",
                           &file));
    cr_assert_eq(file.count, 2);
    qd_grid_file_free(&file);
}

Test(grid_file, lists_of_lists_spread_and_lists_do_not)
{
    qd_grid_file file;
    TEST_OK(
        ctx,
        read_text("{\"recipes\": [{\"exclude\": [\"fc\", \"conv1\"]}, {\"exclude\": [[], [\"fc\"], [\"a\", \"b\"]]},"
                  " {\"overrides\": [{\"relu\": \"float\"}, {\"fc.weight\": {\"bits\": 4}}]}]}",
                  &file));
    cr_assert_eq(file.count, 6); /* [] is the post's */
    cr_assert_eq(recipe(&file, 1)->excluded_count, 2);
    cr_assert_eq(recipe(&file, 2)->excluded_count, 1);
    cr_assert_str_eq(recipe(&file, 3)->excluded[1], "b");
    cr_assert_eq(recipe(&file, 4)->tensor_count, 1);
    cr_assert_eq(recipe(&file, 5)->weights[0].bits, 4);
    qd_grid_file_free(&file);
}

Test(grid_file, what_is_no_grid_is_refused)
{
    static const char *const wrong[][2] = {
        {"", "g.json"},
        {"[]", "expected a JSON object with \"recipes\""},
        {"{}", "expected \"recipes\""},
        {"{\"recipes\": []}", "expected \"recipes\""},
        {"{\"recipes\": {}}", "expected \"recipes\""},
        {"{\"recipes\": [1]}", "entry 1 of \"recipes\": expected an object"},
        {"{\"recipes\": [{}], \"calibratr\": 1}", "did you mean 'quantization.calibrator'"},
        {"{\"recipes\": [{}, {\"calibrator\": \"kl\"}]}", "entry 2 of \"recipes\", key 'quantization.calibrator'"},
        {"{\"recipes\": [{\"calibrator\": [\"mse\", 3]}]}", "got 3"},
        {"{\"recipes\": [{\"calibrator\": []}]}", "got []"},
        {"{\"recipes\": [{\"calibration_images\": 3}]}", "stands beside"},
        {"{\"recipes\": [{}], \"sqnr_images\": 3}", "'sqnr_images' decides nothing here"},
        {"{\"recipes\": [{}], \"enabled\": false}", "'enabled' decides nothing here"},
        {"{\"recipes\": [{\"weight_bits\": [2,3,4,5,6,7,8,9,10,11], \"activation_bits\": [2,3,4,5,6,7,8,9,10,11],"
         " \"remedy_images\": [1,2,3,4,5,6,7,8,9,10], \"adaround\": [false, true]}]}",
         "more than 1000 recipes"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        qd_grid_file file;
        TEST_FAILS(ctx, read_text(wrong[i][0], &file), QD_ERR_USAGE, wrong[i][1]);
        qd_grid_file_free(&file);
    }
    qd_grid_file file;
    TEST_FAILS(ctx, qd_grid_file_read(ctx, "/no/such/grid.json", &file), QD_ERR_USAGE, "/no/such/grid.json");
    qd_grid_file_free(&file);
}

/* 2 granularities x 4 activation schemes x 5 calibrators, 15 sets of remedies, and the rest of the file. */
Test(grid_file, the_committed_grid_has_what_it_promises)
{
    char *committed = fixture_source_path("experiments/calibrators.json");
    qd_grid_file file;
    int plain_static = 0, remedies = 0, dynamic = 0, trained = 0;
    TEST_OK(ctx, qd_grid_file_read(ctx, committed, &file));
    for (int i = 0; i < file.count; i++) {
        const qd_quant_scheme *s = &recipe(&file, i)->scheme;
        const qd_remedies *r = &recipe(&file, i)->remedies;
        const bool mended = r->reestimate_batchnorm || r->equalize || r->adaround || r->correct_bias;
        if (file.recipes[i].qat.num_epochs > 0) {
            trained++;
            continue;
        }
        plain_static += !mended && !s->activation_dynamic && !s->fused_silu;
        remedies += mended && !s->weight_per_channel;
        dynamic += s->activation_dynamic;
    }
    cr_assert(plain_static == 40 && remedies == 15 && dynamic == 4 && trained == 1, "%d, %d, %d, %d", plain_static,
              remedies, dynamic, trained);
    qd_grid_file_free(&file);
    free(committed);
}
