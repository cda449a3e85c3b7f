/* The analysis of a checkpoint: the ten values by hand, and what one image shows against what observe tells. */
#include "experiment/analysis_impl.h"
#include "experiment/post_layers.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "support/tiny_data.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Σx = 25.08, Σx² = 156.2414: mean 2.508, biased variance 15.62414 − 6.290064 = 9.334076, √(9.334076 + 1e-5) =
 * 3.0551736. The largest value: 12.0095 · 7.492 / 3.0551736 − 2.5319 = 26.9182; the least: 12.0095 · −4.508 /
 * 3.0551736 − 2.5319 = −20.2523; with the other pair 0.6440 · 7.492 / 3.0551736 − 0.3257 = 1.2535 and −1.2759.
 */
Test(analysis, ten_values_by_hand)
{
    const qd_batchnorm_example example = qd_batchnorm_example_make();
    const qd_example_case wide = qd_example_case_make(&example, 12.0095, -2.5319);
    const qd_example_case narrow = qd_example_case_make(&example, 0.6440, -0.3257);
    cr_assert_float_eq(example.mean, 2.508, 1e-12);
    cr_assert_float_eq(example.variance, 9.334076, 1e-12);
    cr_assert_eq(example.eps, 1e-5);
    /* four decimals by hand */
    cr_assert_float_eq(wide.max, 26.9182, 5e-5);
    cr_assert_float_eq(wide.min, -20.2523, 5e-5);
    cr_assert_float_eq(narrow.max, 1.2535, 5e-5);
    cr_assert_float_eq(narrow.min, -1.2759, 5e-5);
    cr_assert_eq(wide.y[9], wide.max);
    cr_assert_eq(wide.y[1], wide.min);
    cr_assert_float_eq(wide.y[2], -12.3905, 5e-5); /* 12.0095 · −2.508 / 3.0551736 − 2.5319 */
}

static qd_context *ctx;
static char *folder, *image;
static qd_quantize_options quantization;

static void set_up(void)
{
    qd_dataset *dataset;
    ctx = test_context_create(2);
    folder = test_folder_create();
    tiny_data_write(folder);
    char *train = test_folder_path(folder, "data/train");
    TEST_OK(ctx, qd_dataset_open(ctx, train, QD_BAD_IMAGE_ERROR, &dataset));
    image = strdup(qd_dataset_get(dataset, 0)->path);
    qd_dataset_destroy(dataset);
    free(train);
}

static void tear_down(void)
{
    free(image);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(network_analysis, .init = set_up, .fini = tear_down);

/* Freshly initialised, but for one gamma of 7 with a beta of −0.5. */
static qd_network *load(const char *model, const char *batchnorm)
{
    const qd_network_config config = {.model = model, .image_size = 32, .num_classes = 2, .seed = 3, .max_batch = 1};
    qd_network *network;
    char name[QD_NAME_BYTES + 8];
    TEST_OK(ctx, qd_network_load(ctx, &config, &network));
    snprintf(name, sizeof name, "%s.weight", batchnorm);
    ((float *)qd_state_param(network->state, QD_BLOCK_PARAMS, qd_graph_find_param(network->graph, name)).data)[6] =
        7.0f;
    snprintf(name, sizeof name, "%s.bias", batchnorm);
    ((float *)qd_state_param(network->state, QD_BLOCK_PARAMS, qd_graph_find_param(network->graph, name)).data)[6] =
        -0.5f;
    return network;
}

static qd_analysis *analyze(qd_network *network, const qd_analysis_options *options)
{
    qd_analysis *analysis;
    TEST_OK(ctx, qd_network_analyze(network, options, &analysis));
    return analysis;
}

static qd_analysis_options base_options(void)
{
    return (qd_analysis_options){
        .checkpoint = "none", .image = image, .quantization = &quantization, .values = {7.0, 7.5}, .value_count = 2};
}

static const qd_module_view *find(const qd_analysis *analysis, const char *path)
{
    for (int i = 0; i < analysis->module_count; i++)
        if (strcmp(analysis->modules[i].report.path, path) == 0)
            return &analysis->modules[i];
    cr_assert_fail("no module '%s'", path);
    return NULL;
}

/* Statistics are observe's; scale and zero point follow from section 1's formulas; the worst are the widest. */
Test(network_analysis, modules_are_what_observe_tells)
{
    qd_network *network = load("efficientnet_b0", "features.0.1");
    const qd_analysis_options options = base_options();
    qd_analysis *a = analyze(network, &options);
    qd_module_report *reports;
    int count;
    double before = INFINITY;
    TEST_OK(ctx, qd_network_observe(network, a->memory->image, 1, &reports, &count));
    cr_assert_eq(a->module_count, count);
    for (int i = 0; i < count; i++) {
        const qd_module_view *view = &a->modules[i];
        cr_assert_str_eq(view->report.path, reports[i].path);
        cr_assert_eq(view->report.min, reports[i].min);
        cr_assert_eq(view->report.std, reports[i].std);
        const double low = fmin(reports[i].min, 0.0), high = fmax(reports[i].max, 0.0);
        if (high > low) {
            cr_assert_eq(view->scale, (double)(float)((high - low) / 255.0), "'%s'", reports[i].path);
            cr_assert_eq(view->zero_point, (int64_t)rint(-128.0 - low / view->scale), "'%s'", reports[i].path);
        }
    }
    for (int i = 0; i < a->range_count; i++) {
        const qd_module_report *r = &a->modules[a->by_range[i]].report;
        cr_assert_leq(r->max - r->min, before);
        before = r->max - r->min;
        cr_assert(i >= QD_ANALYSIS_WORST || a->modules[a->by_range[i]].detailed);
    }
    /* A container returns what its last module did: it is told, and does not count twice. Identities neither. */
    cr_assert(find(a, "features.0")->repeats);
    cr_assert_not(find(a, "features.0.2")->repeats);
    cr_assert(find(a, "features.2.1.stochastic_depth")->repeats);
    cr_assert_not(find(a, "features.2.1")->repeats); /* the sum is no other module's */
    cr_assert(find(a, "")->repeats);
    cr_assert_eq(find(a, "avgpool")->channel_count, 0);
    cr_assert_eq(find(a, "features.0.0")->channel_count, 32);
    free(reports);
    qd_analysis_destroy(a);
    qd_network_destroy(network);
}

Test(network_analysis, batchnorms_and_the_largest_gamma)
{
    qd_network *network = load("resnet18", "layer1.0.bn1");
    const qd_analysis_options options = base_options();
    qd_analysis *a = analyze(network, &options);
    int posts = 0;
    cr_assert_eq(a->batchnorm_count, 20);
    cr_assert_eq(a->ratio_count, 20);
    for (int i = 0; i < a->batchnorm_count; i++) {
        const qd_batchnorm_view *b = &a->batchnorms[i];
        const bool changed = strcmp(b->name, "layer1.0.bn1") == 0;
        cr_assert_eq(b->gamma.max, changed ? 7.0 : 1.0);
        cr_assert_eq(b->gamma.min, 1.0);
        cr_assert_eq(b->largest_channel, changed ? 6 : 0);
        /* one 7 among 64: mean 1 + 6/64, unbiased variance 36 (1/64)(63/64) 64/63 = 36/64 */
        cr_assert_float_eq(b->gamma.mean, changed ? 1.0 + 6.0 / 64.0 : 1.0, 1e-15);
        cr_assert_float_eq(b->gamma.std, changed ? 6.0 / 8.0 : 0.0, 1e-15);
    }
    for (int i = 0; i < a->ratio_count; i++) {
        const qd_module_report *before = &a->modules[a->ratios[i].convolution].report;
        const qd_module_report *behind = &a->modules[a->ratios[i].batchnorm].report;
        cr_assert_eq(a->ratios[i].ratio, (behind->max - behind->min) / (before->max - before->min));
        cr_assert_eq(a->ratios[i].post, strcmp(behind->path, "layer1.0.bn1") == 0);
        posts += a->ratios[i].post;
    }
    cr_assert_eq(posts, 1);
    cr_assert(find(a, "layer1.0.conv1")->detailed);
    cr_assert_eq(a->example.case_count, 3);
    cr_assert_str_eq(a->example.cases[0].batchnorm, "layer1.0.bn1");
    cr_assert_eq(a->example.cases[0].channel, 6);
    cr_assert_eq(a->example.cases[0].gamma, 7.0);
    cr_assert_eq(a->example.cases[0].beta, -0.5);
    qd_analysis_destroy(a);
    qd_network_destroy(network);
}

/* Like with like: outputs of activations, and what BatchNorm hands to them. */
Test(network_analysis, values_fall_on_the_widest_of_each_side)
{
    static const char *const models[] = {"resnet18", "efficientnet_b0"};
    static const char *const activations[] = {"ReLU", "SiLU"};
    static const char *const batchnorms[] = {"bn1", "features.0.1"};
    for (int m = 0; m < 2; m++) {
        qd_network *network = load(models[m], batchnorms[m]);
        const qd_analysis_options options = base_options();
        qd_analysis *a = analyze(network, &options);
        const qd_module_view *after = &a->modules[a->collapse[QD_COLLAPSE_AFTER].module];
        const qd_module_view *before = &a->modules[a->collapse[QD_COLLAPSE_BEFORE].module];
        cr_assert_str_eq(after->report.class_name, activations[m]);
        cr_assert_str_eq(before->report.path, batchnorms[m]); /* gamma 7 makes it the widest */
        for (int side = 0; side < 2; side++) {
            const qd_module_view *view = side == QD_COLLAPSE_AFTER ? after : before;
            for (int v = 0; v < 2; v++) {
                const qd_placed_value *place = &a->collapse[side].places[v];
                const double code = rint(options.values[v] / view->scale) + (double)view->zero_point;
                cr_assert_eq(place->code, (int64_t)fmin(fmax(code, -128.0), 127.0));
                cr_assert_eq(place->saturated, options.values[v] > view->scale * (127.5 - (double)view->zero_point));
            }
        }
        qd_analysis_destroy(a);
        qd_network_destroy(network);
    }
}

/* The tensors are those of the quantized network; without calibration images the one image chose their ranges. */
Test(network_analysis, tensors_of_one_image)
{
    static const char *const layers[] = {"features.1.0.block.1", "features.1.0.block.0"};
    qd_network *network = load("efficientnet_b0", "features.0.1");
    qd_analysis_options options = base_options();
    options.layers = layers;
    options.layer_count = 2;
    qd_analysis *a = analyze(network, &options);
    cr_assert_eq(a->calibration_images, 1);
    cr_assert_str_eq(a->tensors[0].name, "input");
    for (int i = 0; i < a->tensor_count; i++) {
        const qd_tensor_view *t = &a->tensors[i];
        cr_assert_float_eq(t->min, fmin(t->low, 0.0), 0.0);
        cr_assert_float_eq(t->max, fmax(t->high, 0.0), 0.0);
        if (strcmp(t->name, "features.1.0.block.1") == 0)
            cr_assert(t->detailed, "chosen");
        if (strcmp(t->name, "features.0.1") == 0) {
            cr_assert(t->detailed, "a convolution's");
            cr_assert_eq(t->high_channel, 6);
            /* BatchNorm folded in rounds each weight once more */
            cr_assert_float_eq(t->max, find(a, "features.0.1")->report.max, 1e-5 * t->max);
        }
    }
    cr_assert(find(a, "features.1.0.block.0")->detailed);
    qd_analysis_destroy(a);

    options.layers = (const char *const[]){"layer1.0.conv1"};
    options.layer_count = 1;
    TEST_FAILS(ctx, qd_network_analyze(network, &options, &a), QD_ERR_USAGE,
               "no module and no quantized tensor 'layer1.0.conv1'");
    options.layer_count = 0;
    options.value_count = QD_ANALYSIS_MAX_VALUES + 1;
    TEST_FAILS(ctx, qd_network_analyze(network, &options, &a), QD_ERR_USAGE, "at most 16 values");
    options.value_count = 0;
    options.image = "/no/such/image.png";
    TEST_FAILS(ctx, qd_network_analyze(network, &options, &a), QD_ERR_INPUT, "/no/such/image.png");
    qd_network_destroy(network);
}
