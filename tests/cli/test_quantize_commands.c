/* quantize and eval as people call them. */
#include "base/file.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "formats/safetensors.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(quantize_commands);

/* A tiny data set, a checkpoint of ResNet18 trained on it for a step, and paths beside them. */
typedef struct bench {
    tiny t;
    char *checkpoint, *model, *encodings, *other, *other_encodings, *json;
} bench;

static bench bench_create(void)
{
    bench b = {.t = tiny_create()};
    expect_success(QUANTDRIFT("run", b.t.experiment, "--quiet", "--set", "models=[\"resnet18\"]", "--set",
                              "max_steps=1", "--set", "quantization.enabled=false"));
    b.checkpoint = tiny_checkpoint(&b.t, "resnet18_last.safetensors");
    b.model = test_folder_path(b.t.folder, "int8.safetensors");
    b.encodings = test_folder_path(b.t.folder, "int8_encodings.json");
    b.other = test_folder_path(b.t.folder, "other.safetensors");
    b.other_encodings = test_folder_path(b.t.folder, "other_encodings.json");
    b.json = test_folder_path(b.t.folder, "found.json");
    return b;
}

static void bench_destroy(bench *b)
{
    free(b->checkpoint);
    free(b->model);
    free(b->encodings);
    free(b->other);
    free(b->other_encodings);
    free(b->json);
    tiny_destroy(&b->t);
}

#define QUANTIZE(b, ...) QUANTDRIFT("quantize", (b)->checkpoint, __VA_ARGS__)

static double file_bytes(const char *path)
{
    struct stat info;
    cr_assert_eq(stat(path, &info), 0, "no '%s'", path);
    return (double)info.st_size;
}

Test(quantize_commands, a_quantized_model_runs_by_itself)
{
    bench b = bench_create();
    char *weights = test_folder_path(b.t.folder, "float.safetensors");
    outcome made = QUANTIZE(&b, "--data", b.t.data, "-o", b.model);
    expect_done(&made);
    cr_assert_not_null(strstr(made.out, "ResNet18 INT8 for 10 classes at 32 px"), "%s", made.out);
    outcome_free(&made);
    expect_success(QUANTDRIFT("export", b.checkpoint, "--format", "safetensors", "-o", weights));
    cr_assert_leq(file_bytes(b.model), 0.28 * file_bytes(weights));

    /* The scales are those of an export, and the loss of a run's INT8 network. */
    expect_success(
        QUANTDRIFT("export", b.checkpoint, "--format", "encodings", "--data", b.t.data, "-o", b.other_encodings));
    expect_same_file(b.encodings, b.other_encodings);

    char *checkpoint = b.checkpoint;
    outcome seen = QUANTDRIFT("eval", checkpoint, b.model, "--data", b.t.data, "--json", b.json);
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "ResNet18 float32 at 32 px: loss "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "ResNet18 INT8 at 32 px: loss "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "B against A: same prediction for "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "95 % interval "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "confusion of B"), "%s", seen.out);
    outcome_free(&seen);
    cJSON *root = test_json_read(b.json);
    const cJSON *networks = cJSON_GetObjectItem(root, "networks"), *network;
    cr_assert_eq(test_json_number(root, "images"), 20);
    cr_assert_eq(cJSON_GetArraySize(networks), 2);
    cJSON_ArrayForEach(network, networks)
    {
        const cJSON *row, *cell, *class;
        double images = 0, correct = 0, diagonal = 0;
        int i = 0;
        cJSON_ArrayForEach(row, cJSON_GetObjectItem(network, "confusion"))
        {
            int k = 0;
            cJSON_ArrayForEach(cell, row)
            {
                images += cell->valuedouble;
                diagonal += i == k++ ? cell->valuedouble : 0;
            }
            i++;
        }
        cJSON_ArrayForEach(class, cJSON_GetObjectItem(network, "classes")) correct +=
            test_json_number(class, "correct");
        cr_assert(images == 20 && diagonal == correct && correct == test_json_number(network, "correct"));
        cr_assert_float_eq(test_json_number(network, "accuracy_percent"), 5 * correct, 1e-12);
    }
    const cJSON *against = cJSON_GetObjectItem(cJSON_GetArrayItem(networks, 1), "against_first");
    cr_assert_leq(test_json_number(against, "drop_low_points"), test_json_number(against, "drop_points"));
    cr_assert_geq(test_json_number(against, "drop_high_points"), test_json_number(against, "drop_points"));
    cr_assert_null(cJSON_GetObjectItem(cJSON_GetArrayItem(networks, 0), "against_first"));
    cJSON_Delete(root);

    seen = QUANTDRIFT("inspect", b.model, "--json", b.json);
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "quantized model, "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "layer1.0.relu#1"), "%s", seen.out);
    outcome_free(&seen);
    root = test_json_read(b.json);
    const cJSON *quantizers = cJSON_GetObjectItem(root, "quantizers");
    cJSON *encodings = test_json_read(b.encodings);
    const cJSON *activations = cJSON_GetObjectItem(encodings, "activations");
    const cJSON *listed = cJSON_GetObjectItem(encodings, "weights");
    cr_assert_eq(cJSON_GetArraySize(quantizers), cJSON_GetArraySize(activations) + cJSON_GetArraySize(listed));
    const cJSON *quantizer;
    cJSON_ArrayForEach(quantizer, quantizers)
    {
        const char *name = cJSON_GetObjectItem(quantizer, "tensor")->valuestring;
        const cJSON *encoding = cJSON_GetObjectItemCaseSensitive(activations, name);
        encoding = encoding ? encoding : cJSON_GetObjectItemCaseSensitive(listed, name);
        cr_assert_not_null(encoding, "'%s'", name);
        cr_assert_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(quantizer, "scale"), 0)->valuedouble,
                     test_json_number(encoding, "scale"));
        cr_assert_eq(cJSON_GetArrayItem(cJSON_GetObjectItem(quantizer, "zero_point"), 0)->valuedouble,
                     test_json_number(encoding, "zero_point"));
    }
    cJSON_Delete(encodings);
    cJSON_Delete(root);
    free(weights);
    bench_destroy(&b);
}

/* Replaces the first `from` behind `after` in a text file. */
static void edit(const char *path, const char *after, const char *from, const char *to)
{
    char *text = program_read_file(path, NULL);
    char *place = strstr(text, after);
    cr_assert_not_null(place, "no '%s' in '%s'", after, path);
    char *found = strstr(place, from);
    cr_assert_not_null(found, "no '%s' behind '%s'", from, after);
    char *edited = qd_format("%.*s%s%s", (int)(found - text), text, to, found + strlen(from));
    test_file_write(path, edited, strlen(edited));
    free(edited);
    free(text);
}

/* A tensor's object becomes another text. */
static void replace_entry(const char *path, const char *name, const char *to)
{
    char *text = program_read_file(path, NULL), *key = qd_format("\"%s\": ", name);
    char *begin = strstr(text, key);
    cr_assert_not_null(begin, "no '%s'", name);
    begin += strlen(key);
    char *end = strchr(begin, '}') + 1;
    char *edited = qd_format("%.*s%s%s", (int)(begin - text), text, to, end);
    test_file_write(path, edited, strlen(edited));
    free(edited);
    free(key);
    free(text);
}

Test(quantize_commands, encodings_go_in_a_circle)
{
    bench b = bench_create();
    static const char *const forms[][2] = {{"--per-channel", "--unsigned"}, {"--symmetric", "--weight-bits=6"}};
    for (int i = 0; i < 2; i++) {
        expect_success(
            QUANTIZE(&b, "--data", b.t.data, "--calibration-images", "8", forms[i][0], forms[i][1], "-o", b.model));
        /* Given back unedited, without images, under the same form: the same bytes. */
        expect_success(QUANTIZE(&b, "--encodings", b.encodings, forms[i][0], forms[i][1], "-o", b.other));
        expect_same_file(b.model, b.other);
        expect_same_file(b.encodings, b.other_encodings);
    }
    bench_destroy(&b);
}

Test(quantize_commands, what_is_marked_float_stays_float)
{
    bench b = bench_create();
    expect_success(QUANTIZE(&b, "--data", b.t.data, "-o", b.model));
    replace_entry(b.encodings, "layer1.0.relu", "\"float\"");
    replace_entry(b.encodings, "layer2.0.conv1.weight", "\"float\"");
    expect_success(QUANTIZE(&b, "--encodings", b.encodings, "-o", b.other));
    outcome seen = QUANTDRIFT("inspect", b.other);
    expect_done(&seen);
    const char *line = strstr(seen.out, "layer2.0.conv1.weight");
    cr_assert_not_null(strstr(line, "float32"), "%s", line);
    outcome_free(&seen);
    cJSON *root = test_json_read(b.other_encodings);
    const cJSON *marked = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(root, "activations"), "layer1.0.relu");
    cr_assert_str_eq(cJSON_GetStringValue(marked), "float");
    cJSON_Delete(root);
    expect_success(QUANTDRIFT("eval", b.model, b.other, "--data", b.t.data));
    /* A tensor that is not named is calibrated, and needs images. */
    edit(b.encodings, "\"activations\"", "\"input\": ", "\"fc\": ");
    expect_refusal(QUANTIZE(&b, "--encodings", b.encodings, "-o", b.other), 3, "has no tensor 'fc'");
    root = test_json_read(b.encodings);
    cJSON_DeleteItemFromObject(cJSON_GetObjectItem(root, "activations"), "fc");
    cr_assert_eq(qd_json_write(NULL, b.encodings, root), QD_OK);
    cJSON_Delete(root);
    expect_refusal(QUANTIZE(&b, "--encodings", b.encodings, "-o", b.other), 2, "calibration images");
    expect_success(QUANTIZE(&b, "--encodings", b.encodings, "--data", b.t.data, "-o", b.other));
    bench_destroy(&b);
}

static const cJSON *activation(const cJSON *encodings, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(encodings, "activations"), name);
    cr_assert_not_null(item, "no '%s'", name);
    return item;
}

static const cJSON *weight(const cJSON *encodings, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItem(encodings, "weights"), name);
    cr_assert_not_null(item, "no '%s'", name);
    return item;
}

/* Quantizes with options and returns the encodings. */
#define ENCODINGS(b, ...)                                                                                            \
    (expect_success(QUANTIZE(b, "--data", (b)->t.data, "-o", (b)->model, "--calibration-images", "8", __VA_ARGS__)), \
     test_json_read((b)->encodings))

static void expect_word(const cJSON *encoding, const char *key, const char *value)
{
    cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(encoding, key)), value);
}

Test(quantize_commands, every_option_of_a_recipe_reaches_the_network)
{
    bench b = bench_create();
    cJSON *plain = ENCODINGS(&b, "--threads", "1");
    expect_word(activation(plain, "relu"), "calibrator", "minmax");

    cJSON *found = ENCODINGS(&b, "--weight-bits", "5", "--activation-bits", "6", "--symmetric", "--unsigned");
    cr_assert_eq(test_json_number(activation(found, "relu"), "bits"), 6);
    cr_assert_eq(test_json_number(activation(found, "relu"), "zero_point"), 32);
    cr_assert_eq(test_json_number(weight(found, "fc.weight"), "bits"), 5);
    cJSON_Delete(found);

    static const char *const calibrators[][3] = {{"moving_minmax", "--moving-average", "0.5"},
                                                 {"percentile", "--percentile", "90"},
                                                 {"entropy", "--quiet", "--quiet"},
                                                 {"mse", "--quiet", "--quiet"}};
    for (int i = 0; i < 4; i++) {
        /* Other options than the defaults show: nothing is cut by a percentile of 99.99 of few values. */
        found = ENCODINGS(&b, "--calibrator", calibrators[i][0], calibrators[i][1], calibrators[i][2],
                          "--calibration-images=17"); /* two batches */
        expect_word(activation(found, "relu"), "calibrator", calibrators[i][0]);
        cr_assert_lt(test_json_number(activation(found, "relu"), "max"),
                     test_json_number(activation(plain, "relu"), "max"), "%s", calibrators[i][0]);
        cJSON_Delete(found);
    }

    found = ENCODINGS(
        &b, "--exclude", "layer2", "--exclude=conv1", "--overrides",
        "{\"layer4.1.relu\": {\"bits\": 4}, \"fc.weight\": {\"per_channel\": true}, \"avgpool\": \"float\"}");
    expect_word(cJSON_GetObjectItem(found, "activations"), "layer2.1.relu", "float");
    expect_word(cJSON_GetObjectItem(found, "weights"), "layer2.0.conv1.weight", "float");
    expect_word(cJSON_GetObjectItem(found, "weights"), "conv1.weight", "float");
    expect_word(cJSON_GetObjectItem(found, "activations"), "avgpool", "float");
    cr_assert_eq(test_json_number(activation(found, "layer4.1.relu"), "bits"), 4);
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(weight(found, "fc.weight"), "scale")), 10);
    cJSON_Delete(found);

    /* Remedies: what each of them changes. */
    found = ENCODINGS(&b, "--reestimate-batchnorm");
    cr_assert_neq(test_json_number(activation(found, "relu"), "max"),
                  test_json_number(activation(plain, "relu"), "max"));
    cJSON_Delete(found);
    found = ENCODINGS(&b, "--equalize");
    cr_assert_neq(test_json_number(weight(found, "layer1.0.conv1.weight"), "scale"),
                  test_json_number(weight(plain, "layer1.0.conv1.weight"), "scale"));
    cJSON_Delete(found);
    expect_success(QUANTIZE(&b, "--data", b.t.data, "-o", b.other, "--calibration-images", "8"));
    static const char *const mended[][4] = {
        {"--correct-bias", "--remedy-images=4", "--quiet", "--quiet"},
        {"--correct-bias", "--remedy-images=8", "--quiet", "--quiet"},
        {"--adaround", "--adaround-iterations=4", "--adaround-rows=16", "--adaround-batch=8"},
        {"--adaround", "--adaround-iterations=4", "--adaround-rows=16", "--adaround-seed=7"},
    };
    char *last = program_read_file(b.other, NULL);
    size_t last_size = (size_t)file_bytes(b.other);
    for (int i = 0; i < 4; i++) {
        cJSON_Delete(ENCODINGS(&b, mended[i][0], mended[i][1], mended[i][2], mended[i][3]));
        size_t size;
        char *bytes = program_read_file(b.model, &size);
        cr_assert(size != last_size || memcmp(bytes, last, size) != 0, "%s %s", mended[i][0], mended[i][1]);
        free(last);
        last = bytes;
        last_size = size;
    }
    free(last);
    cJSON_Delete(plain);
    bench_destroy(&b);
}

Test(quantize_commands, recipes_that_no_file_can_hold_are_refused)
{
    bench b = bench_create();
    static const char *const refused[][2] = {
        {"--dynamic", "dynamic ranges exist in simulation only"},
        {"--fused-silu", "a fused SiLU exist in simulation only"},
        {"--weight-bits=9", "9 bits exist in simulation only"},
        {"--activation-bits=16", "16 bits exist in simulation only"},
        {"--overrides={\"relu\": {\"bits\": 12}}", "12 bits exist in simulation only"},
        {"--weight-bits=17", "--weight-bits: expected a whole number from 2 to 16, got 17"},
        {"--calibrator=best", "--calibrator: expected \"minmax\""},
        {"--percentile=50", "--percentile: expected a number"},
        {"--overrides=relu", "--overrides: expected an object of tensors and weights"},
        {"--overrides={\"rulu\": \"float\"}", "has no tensor of this name"},
        {"--overrides={\"fd.weight\": \"float\"}", "has no weights of this name"},
        {"--exclude=layer9", "has no module of this name"},
    };
    const int files = test_folder_count(b.t.folder);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        expect_refusal(QUANTIZE(&b, "--data", b.t.data, "-o", b.model, refused[i][0]), 2, refused[i][1]);
    expect_refusal(
        QUANTDRIFT("export", b.checkpoint, "--format", "encodings", "--data", b.t.data, "-o", b.model, "--dynamic"),
        2, "dynamic ranges exist in simulation only");
    /* ONNX's codes have 8 bits, and each tensor has some. */
    static const char *const no_onnx[] = {"--activation-bits=7", "--exclude=fc", "--overrides={\"relu\": \"float\"}"};
    for (int i = 0; i < 3; i++)
        expect_refusal(
            QUANTDRIFT("export", b.checkpoint, "--format", "onnx-qdq", "--data", b.t.data, "-o", b.model, no_onnx[i]),
            2, "ONNX has codes of 8 bits");
    cr_assert_eq(test_folder_count(b.t.folder), files, "a refusal writes nothing");
    bench_destroy(&b);
}

/* What has no integer form is simulated in a run, and its results tell no scale where there is none. */
Test(quantize_commands, a_run_quantizes_by_its_recipe)
{
    tiny t = tiny_create();
    char *results = test_folder_path(t.out, "resnet18_results.json");
    expect_success(QUANTDRIFT("run", t.experiment, "--quiet", "--set", "models=resnet18", "--set", "max_steps=1",
                              "--set", "num_epochs=0", "--set", "quantization.dynamic=true", "--set",
                              "quantization.exclude=[\"fc\"]"));
    cJSON *root = test_json_read(results);
    const cJSON *epoch = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "quantization"), "epoch_0");
    const cJSON *told = cJSON_GetObjectItem(
        cJSON_GetObjectItem(cJSON_GetObjectItem(root, "environment"), "configuration"), "quantization");
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(told, "dynamic")) && !cJSON_GetObjectItem(told, "equalize"));
    cr_assert(cJSON_IsNull(
        cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(epoch, "tensors"), "relu"), "scale")));
    cr_assert(cJSON_IsNull(
        cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(epoch, "weights"), "fc.weight"), "scale")));
    cr_assert_gt(
        test_json_number(cJSON_GetObjectItem(cJSON_GetObjectItem(epoch, "weights"), "conv1.weight"), "scale"), 0);
    cJSON_Delete(root);
    expect_success(QUANTDRIFT("verify", t.out));
    /* Another recipe: the logged checkpoints are quantized again. */
    expect_success(QUANTDRIFT("run", t.experiment, "--quiet", "--set", "models=resnet18", "--set", "max_steps=1",
                              "--set", "num_epochs=0", "--set", "quantization.per_channel=true", "--resume"));
    root = test_json_read(results);
    epoch = cJSON_GetObjectItem(cJSON_GetObjectItem(root, "quantization"), "epoch_0");
    cr_assert_gt(test_json_number(cJSON_GetObjectItem(cJSON_GetObjectItem(epoch, "tensors"), "relu"), "scale"), 0);
    cr_assert(cJSON_IsNull(
        cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(epoch, "weights"), "conv1.weight"), "scale")));
    cJSON_Delete(root);
    free(results);
    tiny_destroy(&t);
}

Test(quantize_commands, groups_are_folders)
{
    bench b = bench_create();
    char *class = tiny_class(&b.t, "val", 3), *image = tiny_image(&b.t, "val", 3);
    char *video = qd_format("%s/video7", class), *moved = qd_format("%s/video7/frame%s", class, strrchr(image, '.'));
    cr_assert_eq(mkdir(video, 0700), 0);
    cr_assert_eq(rename(image, moved), 0);
    outcome seen = QUANTDRIFT("eval", b.checkpoint, "--data", b.t.data, "--group-by", "folder", "--json", b.json);
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "\nvideo7"), "%s", seen.out);
    outcome_free(&seen);
    cJSON *root = test_json_read(b.json);
    const cJSON *group, *groups = cJSON_GetObjectItem(root, "groups");
    double images = 0;
    cr_assert_eq(cJSON_GetArraySize(groups), 11);
    cJSON_ArrayForEach(group, groups)
    {
        const bool is_video = strcmp(cJSON_GetObjectItem(group, "group")->valuestring, "video7") == 0;
        images += test_json_number(group, "images");
        if (is_video)
            cr_assert_eq(test_json_number(group, "images"), 1);
    }
    cr_assert_eq(images, 20);
    cJSON_Delete(root);
    free(class);
    free(image);
    free(video);
    free(moved);
    bench_destroy(&b);
}

/* The checkpoint with the tensors that begin with `prefix` set to 0. */
static void silence(const char *from, const char *to, const char *prefix)
{
    qd_safetensors *file = NULL;
    cr_assert_eq(qd_safetensors_open(NULL, from, &file), QD_OK);
    const int count = qd_safetensors_count(file), entries = qd_safetensors_metadata_count(file);
    qd_tensor *tensors = calloc((size_t)count, sizeof *tensors);
    qd_metadata_entry *metadata = calloc((size_t)entries, sizeof *metadata);
    int kept = 0;
    cr_assert(tensors && metadata);
    for (int i = 0; i < count; i++) {
        tensors[i] = *qd_safetensors_get(file, i);
        if (strncmp(tensors[i].name, prefix, strlen(prefix)) == 0 && tensors[i].dtype == QD_F32)
            memset(tensors[i].data, 0, (size_t)qd_tensor_count(&tensors[i]) * sizeof(float));
    }
    qd_safetensors_metadata_entries(file, metadata);
    for (int i = 0; i < entries; i++)
        if (strcmp(metadata[i].key, "sha256") != 0)
            metadata[kept++] = metadata[i];
    cr_assert_eq(qd_safetensors_write(NULL, to, tensors, count, metadata, kept), QD_OK);
    free(tensors);
    free(metadata);
    qd_safetensors_close(file);
}

Test(quantize_commands, bad_input_is_refused_with_one_sentence)
{
    bench b = bench_create();
    char *empty = test_folder_path(b.t.folder, "empty"), *dead = test_folder_path(b.t.folder, "dead.safetensors");
    cr_assert_eq(mkdir(empty, 0700), 0);
    expect_refusal(QUANTIZE(&b, "--data", b.t.data, "-o", b.checkpoint), 2, "is the checkpoint itself");
    expect_refusal(QUANTIZE(&b, "--data", empty, "-o", b.model), 3, "empty");
    expect_refusal(QUANTIZE(&b, "--data", "/no/such", "-o", b.model), 3, "/no/such");
    silence(b.checkpoint, dead, "layer3.0.bn1.");
    expect_refusal(QUANTDRIFT("quantize", dead, "--data", b.t.data, "-o", b.model), 3,
                   "tensor 'layer3.0.relu#1' was 0 for every calibration image");
    cr_assert(!qd_file_exists(b.model) && !qd_file_exists(b.encodings), "a refusal writes nothing");

    expect_success(QUANTIZE(&b, "--data", b.t.data, "-o", b.model));
    size_t size;
    char *bytes = program_read_file(b.model, &size), *text = program_read_file(b.encodings, NULL);
    static const struct {
        const char *after, *from, *to, *piece;
    } edits[] = {
        {"\"activations\"", "\"relu\": ", "\"rulu\": ", "has no tensor 'rulu'"},
        {"\"weights\"", "\"fc.weight\": ", "\"fd.weight\": ", "has no weight 'fd.weight'"},
        {"\"relu\": ", "\"scale\": ", "\"scale\": 0, \"x\": ", "expected an object of bits"},
        {"\"relu\": ", "\"scale\": ", "\"scale\": NaN, \"x\": ", "int8_encodings.json"},
        {"\"relu\": ", "\"scale\": 0.", "\"scale\": 1.", "do not belong to the range"},
        {"\"relu\": ", "\"scale\": 0.", "\"scale\": -0.", "a number above 0"},
        {"\"model\"", "\"activations\"", "\"actuations\"", "expected an object 'activations'"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        edit(b.encodings, edits[i].after, edits[i].from, edits[i].to);
        expect_refusal(QUANTIZE(&b, "--encodings", b.encodings, "-o", b.other), 3, edits[i].piece);
        test_file_write(b.encodings, text, strlen(text));
    }
    replace_entry(b.encodings, "relu",
                  "{\"bits\": 8, \"symmetric\": false, \"signed\": true, \"calibrator\": \"me\", \"scale\": 0, "
                  "\"zero_point\": 0}");
    expect_refusal(QUANTIZE(&b, "--encodings", b.encodings, "-o", b.other), 3, "a number above 0");
    cr_assert(!qd_file_exists(b.other) && !qd_file_exists(b.other_encodings), "a refusal writes nothing");

    test_file_write(b.other, bytes, size - 100);
    expect_refusal(QUANTDRIFT("eval", b.other, "--data", b.t.data), 3, "other.safetensors");
    for (size_t at = 40; at < size; at = 3 * at + 1) {
        bytes[at] = (char)(bytes[at] ^ 16);
        test_file_write(b.other, bytes, size);
        expect_refusal(QUANTDRIFT("eval", b.other, "--data", b.t.data), 3, "other.safetensors");
        expect_refusal(QUANTDRIFT("inspect", b.other), 3, "other.safetensors");
        bytes[at] = (char)(bytes[at] ^ 16);
    }

    /* A quantized model is not what other commands need, and cannot be made to be something else. */
    char *image = tiny_image(&b.t, "val", 0);
    expect_refusal(QUANTDRIFT("import", b.model, "-o", b.other), 3, "is a quantized model");
    expect_refusal(QUANTDRIFT("observe", b.model, image), 3, "this is a quantized model");
    expect_refusal(QUANTDRIFT("export", b.model, "--format", "pth", "-o", b.other), 3, "this is a quantized model");
    expect_refusal(QUANTDRIFT("quantize", b.model, "--data", b.t.data, "-o", b.other), 3,
                   "this is a quantized model");
    expect_refusal(QUANTDRIFT("eval", b.model, "--image-size", "64", "--data", b.t.data), 3, "another image size");

    /* A full disk leaves no half of a file, and no encodings without their model. */
    const program full = {.max_file_bytes = 1 << 20};
    char *third = test_folder_path(b.t.folder, "third.safetensors");
    const int files = test_folder_count(b.t.folder);
    expect_refusal(program_run(&full, (const char *const[]){"quantdrift", "quantize", b.checkpoint, "--data",
                                                            b.t.data, "-o", third, NULL}),
                   1, "third.safetensors");
    cr_assert_eq(test_folder_count(b.t.folder), files);
    /* Nor does a model that cannot be written change the encodings that are there. */
    char *folder_encodings = test_folder_path(b.t.folder, "data_encodings.json");
    test_file_write(folder_encodings, "kept", 4);
    expect_refusal(QUANTIZE(&b, "--data", b.t.data, "-o", b.t.data), 1, "found a folder");
    char *kept = program_read_file(folder_encodings, NULL);
    cr_assert_str_eq(kept, "kept");
    cr_assert_eq(test_folder_count(b.t.folder), files + 1);
    free(kept);
    free(folder_encodings);
    free(third);
    free(image);
    free(bytes);
    free(text);
    free(empty);
    free(dead);
    bench_destroy(&b);
}

/* What this processor has, worst first, as --version lists it: words separated by spaces. Freed with free(). */
static char *instruction_sets(void)
{
    outcome said = QUANTDRIFT("--version");
    cr_assert_eq(said.code, 0);
    char *line = strstr(said.out, "\ncpu ");
    cr_assert_not_null(line, "no line of instruction sets in: %s", said.out);
    line += strlen("\ncpu ");
    char *sets = strndup(line, strcspn(line, "\n"));
    outcome_free(&said);
    return sets;
}

/* Networks that were trained for some steps, scored by every instruction set that the machine has. */
Test(quantize_commands, trained_networks_score_alike_on_every_instruction_set)
{
    static const char *const forms[][2] = {{"--quiet", "--quiet"},
                                           {"--unsigned", "--quiet"},
                                           {"--per-channel", "--quiet"},
                                           {"--unsigned", "--per-channel"}};
    static const char *const models[] = {"resnet18_last.safetensors", "efficientnet_b0_last.safetensors"};
    tiny t = tiny_create();
    expect_success(QUANTDRIFT("run", t.experiment, "--quiet", "--set", "models=[\"resnet18\", \"efficientnet_b0\"]",
                              "--set", "quantization.enabled=false"));
    char *expected = test_folder_path(t.folder, "ref.json"), *found = test_folder_path(t.folder, "found.json");
    for (int m = 0; m < 2; m++) {
        char *checkpoint = tiny_checkpoint(&t, models[m]), *quantized[4];
        for (int f = 0; f < 4; f++) {
            char *name = qd_format("%d_%d.safetensors", m, f);
            quantized[f] = test_folder_path(t.folder, name);
            expect_success(
                QUANTDRIFT("quantize", checkpoint, "--data", t.data, "-o", quantized[f], forms[f][0], forms[f][1]));
            free(name);
        }
        char *sets = instruction_sets(), *rest = NULL, *set = strtok_r(sets, " ", &rest);
        cr_assert_str_eq(set, "ref");
        for (; set; set = strtok_r(NULL, " ", &rest)) {
            const bool is_first = set == sets + strspn(sets, " ");
            expect_success(QUANTDRIFT("eval", quantized[0], quantized[1], quantized[2], quantized[3], "--data",
                                      t.data, "--cpu", set, "--json", is_first ? expected : found));
            if (!is_first)
                expect_same_file(expected, found); /* the loss has all its digits there */
        }
        free(sets);
        for (int f = 0; f < 4; f++)
            free(quantized[f]);
        free(checkpoint);
    }
    free(expected);
    free(found);
    tiny_destroy(&t);
}

static void expect_usage(outcome result, const char *piece)
{
    cr_assert_eq(result.code, 2, "exit code %d: %s", result.code, result.err);
    cr_assert_not_null(strstr(result.err, piece), "'%s' is not in: %s", piece, result.err);
    outcome_free(&result);
}

Test(quantize_commands, wrong_usage)
{
    expect_usage(QUANTDRIFT("quantize"), "name a checkpoint");
    expect_usage(QUANTDRIFT("quantize", "a"), "-o is missing");
    expect_usage(QUANTDRIFT("quantize", "a", "-o", "b"), "--data is missing");
    expect_usage(QUANTDRIFT("quantize", "a", "b"), "one checkpoint at a time: 'b' is too much");
    expect_usage(QUANTDRIFT("quantize", "a", "-o", "b", "--data", "c", "--calibrator"), "requires an argument");
    expect_usage(QUANTDRIFT("eval", "--data", "x"), "name a checkpoint or quantized model");
    expect_usage(QUANTDRIFT("eval", "a", "--data", "x", "--group-by", "file"), "expected one of folder, got 'file'");
}

Test(quantize_commands, one_logit_heads)
{
    bench b = {.t = tiny_create()};
    for (int n = 0; n < 8; n++) {
        char *train = tiny_class(&b.t, "train", 0), *val = tiny_class(&b.t, "val", 0);
        test_folder_remove(train);
        test_folder_remove(val);
    }
    expect_success(QUANTDRIFT("run", b.t.experiment, "--quiet", "--set", "models=[\"resnet18\"]", "--set",
                              "max_steps=1", "--set", "quantization.enabled=false", "--set", "head=binary", "--set",
                              "num_classes=2"));
    b.checkpoint = tiny_checkpoint(&b.t, "resnet18_last.safetensors");
    b.model = test_folder_path(b.t.folder, "int8.safetensors");
    b.json = test_folder_path(b.t.folder, "found.json");
    expect_success(QUANTIZE(&b, "--data", b.t.data, "-o", b.model));
    expect_success(QUANTDRIFT("eval", b.model, b.checkpoint, "--data", b.t.data, "--json", b.json));
    cJSON *root = test_json_read(b.json);
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "networks"), 0);
    cr_assert_str_eq(cJSON_GetObjectItem(first, "form")->valuestring, "INT8");
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(first, "classes")), 2);
    cJSON_Delete(root);
    bench_destroy(&b);
}
