/* Experiment files: defaults, errors and suggestions, settings, printing, hashing, documentation. */
#include "experiment/config.h"
#include "experiment/grid_file.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static qd_config config;

static void set_up(void)
{
    ctx = test_context_create(1);
    TEST_OK(ctx, qd_config_init(ctx, &config));
}

static void tear_down(void)
{
    qd_config_free(&config);
    qd_context_destroy(ctx);
}

TestSuite(config, .init = set_up, .fini = tear_down);

static enum qd_status apply(const char *text)
{
    cJSON *json = cJSON_Parse(text);
    cr_assert_not_null(json, "test text is no JSON: %s", text);
    enum qd_status status = qd_config_apply(ctx, &config, "x.json", json);
    cJSON_Delete(json);
    return status;
}

Test(config, defaults_are_the_recipe)
{
    cr_assert_str_eq(config.data_dir, "data/imagewoof2-320");
    cr_assert_eq(config.model_count, 2);
    cr_assert_str_eq(config.models[0]->name, "resnet18");
    cr_assert_str_eq(config.models[1]->name, "efficientnet_b0");
    cr_assert_eq(config.batch_size, 64);
    cr_assert_eq(config.num_epochs, 25);
    cr_assert_eq(config.log_every, 5);
    cr_assert_eq(config.lr, 0.01);
    cr_assert_eq(config.momentum, 0.9);
    cr_assert_eq(config.weight_decay, 1e-4);
    cr_assert_eq(config.seed, 42);
    cr_assert_eq(config.image_size, 224);
    cr_assert_not(config.drop_last);
    cr_assert_eq(config.quantization.calibration_images, 1000);
    cr_assert_eq(config.quantization.eval_images, QD_CONFIG_NULL);
    cr_assert_eq(config.quantization.sqnr_images, 64);
}

Test(config, takes_every_kind_of_value)
{
    TEST_OK(
        ctx,
        apply("{\"lr\": 1, \"seed\": 7, \"log_all\": true, \"models\": [\"efficientnet_b0\"], \"head\": \"binary\","
              " \"max_steps\": 3, \"on_bad_image\": \"skip\", \"output_dir\": \"o\","
              " \"quantization\": {\"eval_images\": 5, \"enabled\": false}}"));
    cr_assert_eq(config.lr, 1.0);
    cr_assert_eq(config.seed, 7);
    cr_assert(config.log_all);
    cr_assert_eq(config.model_count, 1);
    cr_assert_str_eq(config.models[0]->name, "efficientnet_b0");
    cr_assert_eq(config.head, QD_HEAD_BINARY);
    cr_assert_eq(config.max_steps, 3);
    cr_assert_eq(config.on_bad_image, QD_BAD_IMAGE_SKIP);
    cr_assert_str_eq(config.output_dir, "o");
    cr_assert_eq(config.quantization.eval_images, 5);
    cr_assert_not(config.quantization.enabled);
    TEST_OK(ctx, apply("{\"max_steps\": null}"));
    cr_assert_eq(config.max_steps, QD_CONFIG_NULL);
}

Test(config, refuses_unknown_keys_with_the_nearest_known_one)
{
    TEST_FAILS(ctx, apply("{\"batchsize\": 3}"), QD_ERR_USAGE, "unknown key 'batchsize'; did you mean 'batch_size'?");
    TEST_FAILS(ctx, apply("{\"num_epoch\": 3}"), QD_ERR_USAGE, "'num_epochs'");
    TEST_FAILS(ctx, apply("{\"weigth_decay\": 3}"), QD_ERR_USAGE, "'weight_decay'");
    TEST_FAILS(ctx, apply("{\"calibration_images\": 3}"), QD_ERR_USAGE, "'quantization.calibration_images'");
    TEST_FAILS(ctx, apply("{\"quantization\": {\"evalimages\": 3}}"), QD_ERR_USAGE,
               "unknown key 'quantization.evalimages'; did you mean 'quantization.eval_images'?");
    TEST_FAILS(ctx, apply("{\"quantisation\": {\"eval_images\": 3}}"), QD_ERR_USAGE, "did you mean 'quantization'?");
    TEST_FAILS(ctx, apply("{\"learning_rate\": 3}"), QD_ERR_USAGE, "did you mean 'lr'?");
    TEST_FAILS(ctx, apply("{\"wd\": 3}"), QD_ERR_USAGE, "did you mean 'weight_decay'?");
    TEST_FAILS(ctx, apply("{\"epochs\": 3}"), QD_ERR_USAGE, "did you mean 'num_epochs'?");
    TEST_FAILS(ctx, apply("{\"\": 3}"), QD_ERR_USAGE, "unknown key ''");
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "LR=3"), QD_ERR_USAGE, "'lr'");
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "quantization=5"), QD_ERR_USAGE,
               "setting, key 'quantization': expected an object of keys");
}

Test(config, refuses_wrong_types_and_ranges_with_what_is_expected)
{
    TEST_FAILS(ctx, apply("{\"lr\": \"fast\"}"), QD_ERR_USAGE,
               "x.json, key 'lr': expected a number from 0 to 1e+300, got \"fast\"");
    TEST_FAILS(ctx, apply("{\"lr\": -0.1}"), QD_ERR_USAGE, "got -0.1");
    TEST_FAILS(ctx, apply("{\"batch_size\": 0}"), QD_ERR_USAGE, "a whole number from 1 to 65536, got 0");
    TEST_FAILS(ctx, apply("{\"batch_size\": 1.5}"), QD_ERR_USAGE, "got 1.5");
    TEST_FAILS(ctx, apply("{\"batch_size\": null}"), QD_ERR_USAGE, "got null");
    TEST_FAILS(ctx, apply("{\"image_size\": 31}"), QD_ERR_USAGE, "from 32");
    TEST_FAILS(ctx, apply("{\"drop_last\": 1}"), QD_ERR_USAGE, "expected true or false, got 1");
    TEST_FAILS(ctx, apply("{\"max_steps\": 0}"), QD_ERR_USAGE, "null or a whole number from 1");
    TEST_FAILS(ctx, apply("{\"head\": \"tail\"}"), QD_ERR_USAGE, "\"num_classes\" or \"binary\", got \"tail\"");
    TEST_FAILS(ctx, apply("{\"data_dir\": \"\"}"), QD_ERR_USAGE, "a string that is not empty");
    TEST_FAILS(ctx, apply("{\"models\": []}"), QD_ERR_USAGE, "\"resnet18\" \"efficientnet_b0\"");
    TEST_FAILS(ctx, apply("{\"models\": [\"resnet50\"]}"), QD_ERR_USAGE, "resnet50");
    TEST_FAILS(ctx, apply("{\"models\": [\"resnet18\", \"resnet18\"]}"), QD_ERR_USAGE, "different names");
    TEST_FAILS(ctx, apply("{\"quantization\": 3}"), QD_ERR_USAGE, "key 'quantization': expected an object");
    TEST_FAILS(ctx, apply("[1]"), QD_ERR_USAGE, "expected a JSON object");
    cr_assert_eq(config.model_count, 2, "a refused list changed the models");
}

Test(config, settings_take_json_or_a_string)
{
    TEST_OK(ctx, qd_config_assign(ctx, &config, "num_epochs=10"));
    TEST_OK(ctx, qd_config_assign(ctx, &config, "quantization.eval_images=500"));
    TEST_OK(ctx, qd_config_assign(ctx, &config, "models=[\"resnet18\"]"));
    TEST_OK(ctx, qd_config_assign(ctx, &config, "data_dir=/tmp/with = sign"));
    cr_assert_eq(config.num_epochs, 10);
    cr_assert_eq(config.quantization.eval_images, 500);
    cr_assert_eq(config.model_count, 1);
    cr_assert_str_eq(config.data_dir, "/tmp/with = sign");
    TEST_OK(ctx, qd_config_assign(ctx, &config, "data_dir=2024"));
    cr_assert_str_eq(config.data_dir, "2024");
    TEST_OK(ctx, qd_config_assign(ctx, &config, "data_dir=\"quoted\""));
    cr_assert_str_eq(config.data_dir, "quoted");
    TEST_OK(ctx, qd_config_assign(ctx, &config, "models=efficientnet_b0"));
    cr_assert_str_eq(config.models[0]->name, "efficientnet_b0");
    TEST_OK(ctx, qd_config_assign(ctx, &config, "quantization={\"eval_images\": null}"));
    cr_assert_eq(config.quantization.eval_images, QD_CONFIG_NULL);
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "num_epochs"), QD_ERR_USAGE, "expected key=value");
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "num_epochs=ten"), QD_ERR_USAGE, "got \"ten\"");
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "num_epochs="), QD_ERR_USAGE, "got \"\"");
}

Test(config, printed_and_read_again_is_the_same)
{
    qd_config again;
    TEST_OK(ctx, apply("{\"lr\": 0.1, \"models\": [\"efficientnet_b0\", \"resnet18\"], \"num_classes\": 3}"));
    TEST_OK(ctx, qd_config_init(ctx, &again));
    cJSON *json = qd_config_json(&config, false);
    TEST_OK(ctx, qd_config_apply(ctx, &again, "printed", json));
    cJSON *json_again = qd_config_json(&again, false);
    char *text = qd_json_print(json), *text_again = qd_json_print(json_again);
    cr_assert_str_eq(text, text_again);
    free(text);
    free(text_again);
    cJSON_Delete(json);
    cJSON_Delete(json_again);
    qd_config_free(&again);
}

static void expect_hash_change(const char *assignment, bool changes)
{
    char before[65], after[65];
    TEST_OK(ctx, qd_config_hash(ctx, &config, 0, before));
    TEST_OK(ctx, qd_config_assign(ctx, &config, assignment));
    TEST_OK(ctx, qd_config_hash(ctx, &config, 0, after));
    cr_assert_eq(strcmp(before, after) != 0, changes, "%s", assignment);
}

Test(config, the_hash_follows_what_decides_the_training)
{
    char first[65], second[65];
    expect_hash_change("lr=0.5", true);
    expect_hash_change("gamma_clamp=2", true);
    expect_hash_change("lr=0.01", true);
    expect_hash_change("quantization.calibration_seed=9", false); /* checkpoints are quantized again */
    expect_hash_change("qat.num_epochs=3", false);                /* begins where the training ends */
    expect_hash_change("threads=2", false);
    expect_hash_change("output_dir=elsewhere", false);
    expect_hash_change("data_dir=elsewhere", false); /* the data has a fingerprint of its own */
    /* The second model starts from the generator that the first one leaves. */
    TEST_OK(ctx, qd_config_hash(ctx, &config, 0, first));
    TEST_OK(ctx, qd_config_hash(ctx, &config, 1, second));
    cr_assert_str_neq(first, second);
    expect_hash_change("models=[\"resnet18\"]", false);
    expect_hash_change("models=[\"efficientnet_b0\"]", true);
}

/* ---- recipes ---- */

/* Key by key: the bytes between a structure's fields are nobody's. */
static void expect_same_recipe(const qd_quant_recipe *a, const qd_quant_recipe *b, const char *what)
{
    qd_config one = config, other = config;
    one.quantization.recipe = *a;
    other.quantization.recipe = *b;
    char *lines[] = {qd_grid_recipe_line(&one), qd_grid_recipe_line(&other)};
    cr_assert(lines[0] && lines[1]);
    cr_expect_str_eq(lines[0], lines[1], "%s", what);
    free(lines[0]);
    free(lines[1]);
}

Test(config, the_recipe_is_the_post_s_by_default)
{
    const qd_quant_recipe defaults = qd_quant_recipe_defaults(), *r = &config.quantization.recipe;
    expect_same_recipe(r, &defaults, "another default");
    cr_assert(r->scheme.weight_bits == 8 && !r->scheme.weight_per_channel && r->scheme.activation_bits == 8);
    cr_assert(r->scheme.activation_signed && !r->scheme.activation_symmetric && !r->scheme.activation_dynamic);
    cr_assert_str_eq(r->calibrator.name, "minmax");
}

Test(config, every_key_of_the_recipe_reaches_it)
{
    TEST_OK(ctx, apply("{\"quantization\": {\"weight_bits\": 5, \"per_channel\": true, \"activation_bits\": 16,"
                       " \"unsigned\": true, \"symmetric\": true, \"dynamic\": true, \"fused_silu\": true,"
                       " \"calibrator\": \"percentile\", \"moving_average\": 0.5, \"percentile\": 99,"
                       " \"reestimate_batchnorm\": true, \"equalize\": true, \"adaround\": true,"
                       " \"correct_bias\": true, \"remedy_images\": 9, \"adaround_rows\": 10,"
                       " \"adaround_batch\": 11, \"adaround_iterations\": 12, \"adaround_learning_rate\": 0.25,"
                       " \"adaround_weight\": 0.125, \"adaround_warm_start\": 0.75, \"adaround_seed\": 13}}"));
    const qd_quant_scheme *s = &config.quantization.recipe.scheme;
    const qd_calibrator_settings *c = &config.quantization.recipe.calibrator;
    const qd_remedies *r = &config.quantization.recipe.remedies;
    const qd_adaround_settings *a = &r->adaround_settings;
    cr_assert(s->weight_bits == 5 && s->weight_per_channel && s->activation_bits == 16 && !s->activation_signed);
    cr_assert(s->activation_symmetric && s->activation_dynamic && s->fused_silu);
    cr_assert_str_eq(c->name, "percentile");
    cr_assert(c->moving_average == 0.5 && c->percentile == 99.0);
    cr_assert(r->reestimate_batchnorm && r->equalize && r->adaround && r->correct_bias && r->images == 9);
    cr_assert(a->rows == 10 && a->batch == 11 && a->iterations == 12 && a->learning_rate == 0.25);
    cr_assert(a->weight == 0.125 && a->warm_start == 0.75 && a->seed == 13);
}

Test(config, lists_of_the_recipe)
{
    const qd_quant_recipe *r = &config.quantization.recipe;
    TEST_OK(ctx,
            apply("{\"quantization\": {\"exclude\": [\"features.0\", \"fc\"], \"overrides\": {\"relu\": \"float\","
                  " \"fc.weight\": {\"bits\": 4}, \"layer1.0\": {\"symmetric\": true, \"bits\": 6},"
                  " \"conv1.weight\": {\"per_channel\": false}, \"layer2.0.conv1.weight\": \"float\"}}}"));
    cr_assert(r->excluded_count == 2 && r->tensor_count == 2 && r->weight_count == 3);
    cr_assert_str_eq(r->excluded[1], "fc");
    cr_assert_str_eq(r->tensors[0].name, "relu");
    cr_assert(r->tensors[0].is_float && r->tensors[1].bits == 6 && r->tensors[1].symmetric == 1);
    cr_assert(r->weights[0].bits == 4 && r->weights[0].per_channel == QD_AS_SCHEME && !r->weights[0].is_float);
    cr_assert(r->weights[1].bits == 0 && r->weights[1].per_channel == 0 && r->weights[2].is_float);
    cJSON *json = qd_config_key_json(&config, qd_config_find_key("quantization.overrides"));
    char *overrides = qd_json_print_line(json);
    cJSON_Delete(json);
    cr_assert_str_eq(overrides, "{\"relu\":\"float\",\"layer1.0\":{\"bits\":6,\"symmetric\":true},"
                                "\"fc.weight\":{\"bits\":4},\"conv1.weight\":{\"per_channel\":false},"
                                "\"layer2.0.conv1.weight\":\"float\"}");
    free(overrides);
    TEST_OK(ctx, apply("{\"quantization\": {\"exclude\": [], \"overrides\": {}}}"));
    cr_assert(r->excluded_count == 0 && r->tensor_count == 0 && r->weight_count == 0);
}

Test(config, a_wrong_recipe_is_refused)
{
    static const char *const wrong[][2] = {
        {"weight_bits\": 1", "from 2 to 16, got 1"},
        {"activation_bits\": 17", "from 2 to 16, got 17"},
        {"unsigned\": 1", "true or false, got 1"},
        {"calibrator\": \"kl\"", "\"entropy\" or \"mse\", got \"kl\""},
        {"calibrator\": null", "got null"},
        {"moving_average\": 0", "got 0"},
        {"moving_average\": 1.5", "got 1.5"},
        {"percentile\": 50", "got 50"},
        {"percentile\": 101", "got 101"},
        {"adaround_warm_start\": 1", "got 1"},
        {"remedy_images\": 0", "from 1"},
        {"exclude\": \"fc\"", "a list of module paths, got \"fc\""},
        {"exclude\": [1]", "got [1]"},
        {"exclude\": [\"\"]", "got [\"\"]"},
        {"overrides\": []", "an object of tensors and weights"},
        {"overrides\": {\"relu\": \"int4\"}", "int4"},
        {"overrides\": {\"relu\": {}}", "relu"},
        {"overrides\": {\"relu\": {\"bits\": 17}}", "17"},
        {"overrides\": {\"relu\": {\"bits\": 2.5}}", "2.5"},
        {"overrides\": {\"relu\": {\"per_channel\": true}}", "per_channel"},
        {"overrides\": {\"fc.weight\": {\"symmetric\": true}}", "symmetric"},
    };
    const qd_quant_recipe before = config.quantization.recipe;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[256], key[64];
        snprintf(text, sizeof text, "{\"quantization\": {\"%s}}", wrong[i][0]);
        snprintf(key, sizeof key, "x.json, key 'quantization.%.*s': expected", (int)strcspn(wrong[i][0], "\""),
                 wrong[i][0]);
        TEST_FAILS(ctx, apply(text), QD_ERR_USAGE, key);
        TEST_FAILS(ctx, apply(text), QD_ERR_USAGE, wrong[i][1]);
    }
    expect_same_recipe(&before, &config.quantization.recipe, "a refusal changed the recipe");
    TEST_FAILS(ctx, apply("{\"quantization\": {\"perchannel\": true}}"), QD_ERR_USAGE, "'quantization.per_channel'");
}

static char *told_quantization(void)
{
    cJSON *json = qd_config_json(&config, true);
    char *line = qd_json_print_line(cJSON_GetObjectItemCaseSensitive(json, "quantization"));
    cJSON_Delete(json);
    return line;
}

/* Results and hashes of before the recipe had keys stay what they are. */
Test(config, results_name_what_is_not_the_post_s_recipe)
{
    char before[65], after[65];
    char *told = told_quantization();
    cr_assert_str_eq(told, "{\"enabled\":true,\"calibration_images\":1000,\"calibration_seed\":0,"
                           "\"eval_images\":null,\"sqnr_images\":64,\"batch_size\":16}");
    free(told);
    TEST_OK(ctx, qd_config_run_hash(ctx, &config, before));
    /* of "/resnet18/efficientnet_b0": no key is named */
    cr_assert_str_eq(before, "91349b8878a418fc9c7bd58b43e6fdfee2d8fdb4478f8ca2b9834ea89a5183e5");
    TEST_OK(ctx, qd_config_assign(ctx, &config, "quantization.calibrator=mse"));
    TEST_OK(ctx, qd_config_assign(ctx, &config, "quantization.exclude=[\"fc\"]"));
    told = told_quantization();
    cr_assert_not_null(strstr(told, "\"batch_size\":16,\"calibrator\":\"mse\",\"exclude\":[\"fc\"]}"), "%s", told);
    free(told);
    TEST_OK(ctx, qd_config_run_hash(ctx, &config, after));
    cr_assert_str_neq(before, after);
    expect_hash_change("quantization.adaround=true", false); /* the training's own stays */
}

/* Results without quantization-aware training say nothing of it, and folders that have none stay complete. */
Test(config, training_for_quantization_is_told_when_there_is_any)
{
    char none[65], some[65];
    cJSON *json = qd_config_json(&config, true);
    cr_assert_null(cJSON_GetObjectItemCaseSensitive(json, "qat"));
    cJSON_Delete(json);
    TEST_OK(ctx, qd_config_run_hash(ctx, &config, none));
    TEST_OK(ctx, qd_config_assign(ctx, &config, "qat.num_epochs=2"));
    TEST_OK(ctx, qd_config_run_hash(ctx, &config, some));
    cr_assert_str_neq(none, some);
    json = qd_config_json(&config, true);
    const cJSON *qat = cJSON_GetObjectItemCaseSensitive(json, "qat");
    cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(qat, "from")->valuestring, "last");
    cJSON_Delete(json);
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "qat.num_epochs=-1"), QD_ERR_USAGE, "qat.num_epochs");
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "qat.averaging=0"), QD_ERR_USAGE, "qat.averaging");
    TEST_FAILS(ctx, qd_config_assign(ctx, &config, "qat.num_epoch=1"), QD_ERR_USAGE, "qat.num_epochs");
}

/* ---- documentation ---- */

Test(config, the_readme_documents_every_key_with_its_default)
{
    char *path = fixture_source_path("experiments/README.md");
    char *text = NULL;
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    FILE *file = fopen(path, "r");
    size_t capacity = 0;
    cr_assert_not_null(file, "%s", path);
    cr_assert_gt(getdelim(&text, &capacity, '\0', file), 0);
    fclose(file);
    for (int i = 0; i < count; i++) {
        char row[128], value_cell[256];
        snprintf(row, sizeof row, "\n| `%s`%s | ", keys[i].name,
                 keys[i].decides == QD_DECIDES_TRAINING || keys[i].kind == QD_KEY_MODELS ? " *" : "");
        const char *found = strstr(text, row);
        cr_assert_not_null(found, "experiments/README.md has no row of '%s'", keys[i].name);
        cJSON *json = qd_config_key_json(&config, &keys[i]);
        char *value = qd_json_print_line(json);
        snprintf(value_cell, sizeof value_cell, " | `%s` | ", value);
        const char *end = strchr(found + 1, '\n');
        const char *cell = strstr(found, value_cell);
        cr_assert(cell && cell < end, "experiments/README.md gives '%s' another default than %s", keys[i].name,
                  value);
        free(value);
        cJSON_Delete(json);
    }
    /* And no row of a key that does not exist. */
    int rows = 0;
    for (const char *table = strstr(text, "\n| key |"); table; table = strstr(table + 1, "\n| key |")) {
        for (const char *row = table + 1; *row == '|'; row = strchr(row, '\n') + 1)
            rows++;
        rows -= 2; /* the heading */
    }
    cr_assert_eq(rows, count, "experiments/README.md has %d keys, the table has %d", rows, count);
    free(text);
    free(path);
}

Test(config, committed_experiments_are_valid)
{
    const char *const files[] = {"experiments/imagewoof_divergence.json", "experiments/demo.json",
                                 "experiments/demo_qat.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = fixture_source_path(files[i]);
        qd_experiment *experiment;
        TEST_OK(ctx, qd_experiment_create(ctx, &experiment));
        TEST_OK(ctx, qd_experiment_read(experiment, path));
        qd_experiment_destroy(experiment);
        free(path);
    }
}

Test(config, the_divergence_experiment_is_the_defaults)
{
    char *path = fixture_source_path("experiments/imagewoof_divergence.json");
    qd_experiment *defaults, *experiment;
    TEST_OK(ctx, qd_experiment_create(ctx, &defaults));
    TEST_OK(ctx, qd_experiment_create(ctx, &experiment));
    TEST_OK(ctx, qd_experiment_read(experiment, path));
    char *expected = qd_experiment_print(defaults), *found = qd_experiment_print(experiment);
    cr_assert_str_eq(found, expected);
    free(expected);
    free(found);
    qd_experiment_destroy(defaults);
    qd_experiment_destroy(experiment);
    free(path);
}

Test(config, a_file_that_is_no_json_is_misuse)
{
    char *folder = test_folder_create();
    char *path = test_folder_path(folder, "broken.json");
    qd_experiment *experiment;
    TEST_OK(ctx, qd_experiment_create(ctx, &experiment));
    test_file_write(path, "{\"lr\": }", 8);
    TEST_FAILS(ctx, qd_experiment_read(experiment, path), QD_ERR_USAGE, "line 1");
    char *missing = test_folder_path(folder, "missing.json");
    TEST_FAILS(ctx, qd_experiment_read(experiment, missing), QD_ERR_USAGE, "missing.json");
    free(missing);
    qd_experiment_destroy(experiment);
    free(path);
    test_folder_remove(folder);
}
