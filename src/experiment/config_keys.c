/* The table of configuration keys. experiments/README.md documents the same keys; a test holds the two together. */
#include "experiment/config.h"
#include "quantize/calibrators/calibrator_list.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const keep_choices[] = {[QD_KEEP_ALL] = "all", [QD_KEEP_LAST] = "last", NULL};
static const char *const bad_image_choices[] = {[QD_BAD_IMAGE_ERROR] = "error", [QD_BAD_IMAGE_SKIP] = "skip", NULL};

static const char *const calibrator_choices[] = {
#define CALIBRATOR_CHOICE(name) #name,
    QD_CALIBRATOR_LIST(CALIBRATOR_CHOICE) NULL
#undef CALIBRATOR_CHOICE
};

/* Integers beyond 2^53 are not exact in JSON readers that use doubles. */
#define MAX_EXACT 9007199254740992.0
/* Beyond any run, small enough that products of two counts stay in 64 bits. */
#define MAX_COUNT 1e9

#define AT(field) offsetof(qd_config, field)

/* A key of the recipe, which options of the command line name as well: per_channel, --per-channel. */
#define RECIPE(name, kind, field, min, max, choices, doc)                                                            \
    {                                                                                                                \
        QD_RECIPE_SECTION name, kind, AT(quantization.recipe field), min, max, choices, QD_DECIDES_RECIPE, doc       \
    }

static const qd_config_key keys[] = {
    {"data_dir", QD_KEY_STRING, AT(data_dir), 0, 0, NULL, QD_DECIDES_NOTHING,
     "image folder with train/ and val/, one subfolder a class"},
    {"output_dir", QD_KEY_STRING, AT(output_dir), 0, 0, NULL, QD_DECIDES_NOTHING,
     "folder for results, table and checkpoints"},
    {"models", QD_KEY_MODELS, 0, 0, 0, NULL, QD_DECIDES_NOTHING, "models to train, in this order"},
    {"seed", QD_KEY_INT, AT(seed), 0, MAX_EXACT, NULL, QD_DECIDES_TRAINING, "torch.manual_seed of the run"},
    {"batch_size", QD_KEY_INT, AT(batch_size), 1, 65536, NULL, QD_DECIDES_TRAINING,
     "images a training and validation batch"},
    {"num_epochs", QD_KEY_INT, AT(num_epochs), 0, MAX_COUNT, NULL, QD_DECIDES_TRAINING,
     "training epochs, and T_max of the cosine; 0 leaves the epoch-0 log and checkpoint only"},
    {"log_every", QD_KEY_INT, AT(log_every), 1, MAX_COUNT, NULL, QD_DECIDES_TRAINING,
     "epochs between activation logs; epoch 0 and the last are always logged"},
    {"log_all", QD_KEY_BOOL, AT(log_all), 0, 0, NULL, QD_DECIDES_TRAINING,
     "log every called module, with zeros_pct and outlier_ratio"},
    {"lr", QD_KEY_DOUBLE, AT(lr), 0, 1e300, NULL, QD_DECIDES_TRAINING, "learning rate of the first epoch"},
    {"momentum", QD_KEY_DOUBLE, AT(momentum), 0, 1, NULL, QD_DECIDES_TRAINING, "SGD momentum"},
    {"weight_decay", QD_KEY_DOUBLE, AT(weight_decay), 0, 1e300, NULL, QD_DECIDES_TRAINING,
     "SGD weight decay, on every parameter"},
    {"weight_decay_batchnorm", QD_KEY_BOOL, AT(weight_decay_batchnorm), 0, 0, NULL, QD_DECIDES_TRAINING,
     "weight decay acts on BatchNorm's weights and biases too"},
    {"range_penalty", QD_KEY_DOUBLE, AT(range_penalty), 0, 1e300, NULL, QD_DECIDES_TRAINING,
     "weight in the loss of the ranges that BatchNorms allow, max(beta + 3|gamma|) - min(beta - 3|gamma|); 0: none"},
    {"gamma_clamp", QD_KEY_DOUBLE, AT(gamma_clamp), 0, 1e300, NULL, QD_DECIDES_TRAINING,
     "largest |gamma| of a BatchNorm, enforced after each step; 0: no limit"},
    {"image_size", QD_KEY_INT, AT(image_size), 32, 4096, NULL, QD_DECIDES_TRAINING,
     "side of the network's square input, pixels"},
    {"drop_last", QD_KEY_BOOL, AT(drop_last), 0, 0, NULL, QD_DECIDES_TRAINING,
     "leave out a last training batch that is not full"},
    {"sync_batchnorm", QD_KEY_BOOL, AT(sync_batchnorm), 0, 0, NULL, QD_DECIDES_TRAINING,
     "of several processes (mpirun): BatchNorm's statistics are those of the whole batch, not of each one's part"},
    {"num_classes", QD_KEY_INT_OR_NULL, AT(num_classes), 2, 65536, NULL, QD_DECIDES_TRAINING,
     "classes, checked against the folders; null: as many as there are"},
    {"head", QD_KEY_CHOICE, AT(head), 0, 0, qd_head_names, QD_DECIDES_TRAINING,
     "\"num_classes\": one Linear; \"binary\": Dropout, Linear(128), ReLU, Dropout, Linear(1) for two classes"},
    {"max_steps", QD_KEY_INT_OR_NULL, AT(max_steps), 1, MAX_COUNT, NULL, QD_DECIDES_TRAINING,
     "stop each model after this many steps, then validate and log once; null: no limit"},
    {"threads", QD_KEY_INT, AT(threads), 0, 1024, NULL, QD_DECIDES_NOTHING,
     "compute threads; 0: as the command line says, else all"},
    {"loader_threads", QD_KEY_INT, AT(loader_threads), 0, 1024, NULL, QD_DECIDES_NOTHING,
     "threads that decode images; 0: as many as compute threads"},
    {"cache_images", QD_KEY_BOOL, AT(cache_images), 0, 0, NULL, QD_DECIDES_NOTHING,
     "keep decoded images in memory after the first epoch"},
    {"on_bad_image", QD_KEY_CHOICE, AT(on_bad_image), 0, 0, bad_image_choices, QD_DECIDES_TRAINING,
     "\"error\": an unreadable image ends the run; \"skip\": it leaves the list at the scan and is counted"},
    {"export", QD_KEY_FORMATS, 0, 0, 0, NULL, QD_DECIDES_FILES,
     "formats in which the trained networks are left beside the results, as quantdrift export writes them"},
    {"tensorboard", QD_KEY_BOOL, AT(tensorboard), 0, 0, NULL, QD_DECIDES_FILES,
     "leave event files for TensorBoard: curves an epoch, distributions of the parameters at logged epochs"},
    {"keep_checkpoints", QD_KEY_CHOICE, AT(keep_checkpoints), 0, 0, keep_choices, QD_DECIDES_FILES,
     "\"all\": checkpoints of every logged epoch, the best and the last; \"last\": the best and the last only"},
    {"quantization.enabled", QD_KEY_BOOL, AT(quantization.enabled), 0, 0, NULL, QD_DECIDES_QUANTIZATION,
     "quantize the network at every logged epoch"},
    {"quantization.calibration_images", QD_KEY_INT, AT(quantization.calibration_images), 1, MAX_COUNT, NULL,
     QD_DECIDES_QUANTIZATION, "training images, with the validation transform, whose ranges set the scales"},
    {"quantization.calibration_seed", QD_KEY_INT, AT(quantization.calibration_seed), 0, MAX_EXACT, NULL,
     QD_DECIDES_QUANTIZATION, "seed of the generator, its own, that draws the calibration images"},
    {"quantization.eval_images", QD_KEY_INT_OR_NULL, AT(quantization.eval_images), 1, MAX_COUNT, NULL,
     QD_DECIDES_QUANTIZATION, "validation images, class-balanced, for INT8 accuracy; null: all"},
    {"quantization.sqnr_images", QD_KEY_INT, AT(quantization.sqnr_images), 1, MAX_COUNT, NULL,
     QD_DECIDES_QUANTIZATION, "validation images, class-balanced, for signal-to-quantization-noise ratios"},
    {"quantization.batch_size", QD_KEY_INT, AT(quantization.batch_size), 1, 65536, NULL, QD_DECIDES_QUANTIZATION,
     "images a batch of the quantized network; decides its memory, and the order in which noise energies are summed"},
    RECIPE("weight_bits", QD_KEY_WORD, .scheme.weight_bits, 2, 16, NULL,
           "bits of weights; above 8 in simulation only"),
    RECIPE("per_channel", QD_KEY_BOOL, .scheme.weight_per_channel, 0, 0, NULL,
           "a scale for every output channel's weights instead of one for the tensor"),
    RECIPE("activation_bits", QD_KEY_WORD, .scheme.activation_bits, 2, 16, NULL,
           "bits of activations; above 8 in simulation only"),
    RECIPE("unsigned", QD_KEY_NOT, .scheme.activation_signed, 0, 0, NULL,
           "activations as uint8 instead of int8: the same values under other codes"),
    RECIPE("symmetric", QD_KEY_BOOL, .scheme.activation_symmetric, 0, 0, NULL,
           "activations with zero point 0 instead of affine"),
    RECIPE("dynamic", QD_KEY_BOOL, .scheme.activation_dynamic, 0, 0, NULL,
           "ranges of activations found anew for every image; in simulation only"),
    RECIPE("fused_silu", QD_KEY_BOOL, .scheme.fused_silu, 0, 0, NULL,
           "a convolution and its SiLU write one tensor; in simulation only"),
    RECIPE("calibrator", QD_KEY_NAME, .calibrator.name, 0, 0, calibrator_choices,
           "what chooses ranges from the calibration images: minmax, moving_minmax, percentile, entropy or mse"),
    RECIPE("moving_average", QD_KEY_DOUBLE, .calibrator.moving_average, 1e-9, 1, NULL,
           "share of each new batch in moving_minmax's ranges"),
    RECIPE("percentile", QD_KEY_DOUBLE, .calibrator.percentile, 50.000001, 100, NULL,
           "values in percent that percentile's ranges hold"),
    RECIPE("exclude", QD_KEY_EXCLUDED, , 0, 0, NULL, "modules that stay in float32, with all they hold"),
    RECIPE("overrides", QD_KEY_OVERRIDES, , 0, 0, NULL,
           "tensors and weights that differ: {\"NAME\": \"float\" or {\"bits\": 4, \"symmetric\" or "
           "\"per_channel\": true}}"),
    RECIPE("reestimate_batchnorm", QD_KEY_BOOL, .remedies.reestimate_batchnorm, 0, 0, NULL,
           "remedy: BatchNorm's running statistics taken again from the calibration images"),
    RECIPE("equalize", QD_KEY_BOOL, .remedies.equalize, 0, 0, NULL,
           "remedy: ranges of channels equalized across layers, where that is valid"),
    RECIPE("adaround", QD_KEY_BOOL, .remedies.adaround, 0, 0, NULL, "remedy: roundings of weights that are learnt"),
    RECIPE("correct_bias", QD_KEY_BOOL, .remedies.correct_bias, 0, 0, NULL,
           "remedy: biases corrected by what quantization shifts a channel's mean"),
    RECIPE("remedy_images", QD_KEY_INT, .remedies.images, 1, 65536, NULL,
           "calibration images that adaround and correct_bias look at, all in memory at once"),
    RECIPE("adaround_rows", QD_KEY_INT, .remedies.adaround_settings.rows, 1, MAX_COUNT, NULL,
           "output positions that adaround fits a layer to"),
    RECIPE("adaround_batch", QD_KEY_INT, .remedies.adaround_settings.batch, 1, MAX_COUNT, NULL,
           "positions a step of adaround"),
    RECIPE("adaround_iterations", QD_KEY_INT, .remedies.adaround_settings.iterations, 1, MAX_COUNT, NULL,
           "steps a layer of adaround"),
    RECIPE("adaround_learning_rate", QD_KEY_DOUBLE, .remedies.adaround_settings.learning_rate, 1e-9, 1e9, NULL,
           "Adam's learning rate in adaround"),
    RECIPE("adaround_weight", QD_KEY_DOUBLE, .remedies.adaround_settings.weight, 0, 1e9, NULL,
           "weight of adaround's term that drives roundings to 0 or 1"),
    RECIPE("adaround_warm_start", QD_KEY_DOUBLE, .remedies.adaround_settings.warm_start, 0, 0.999999, NULL,
           "share of adaround's steps without that term"),
    RECIPE("adaround_seed", QD_KEY_INT, .remedies.adaround_settings.seed, 0, MAX_EXACT, NULL,
           "seed that draws adaround's positions"),
    {"qat.num_epochs", QD_KEY_INT, AT(qat.num_epochs), 0, MAX_COUNT, NULL, QD_DECIDES_QAT,
     "epochs of quantization-aware training after the others; 0: none"},
    {"qat.from", QD_KEY_STRING, AT(qat.from), 0, 0, NULL, QD_DECIDES_QAT,
     "where it begins: \"last\", the run's own last checkpoint; else a file, or a folder with "
     "<model>_last.safetensors"},
    {"qat.lr", QD_KEY_DOUBLE, AT(qat.lr), 0, 1e300, NULL, QD_DECIDES_QAT,
     "its learning rate in the first epoch; cosine annealing to 0 over qat.num_epochs"},
    {"qat.averaging", QD_KEY_DOUBLE, AT(qat.averaging), 1e-6, 1, NULL, QD_DECIDES_QAT,
     "share of a new batch in the moving averages of ranges"},
};

#define KEY_COUNT ((int)(sizeof(keys) / sizeof(keys[0])))

const qd_config_key *qd_config_keys(int *count)
{
    *count = KEY_COUNT;
    return keys;
}

const qd_config_key *qd_config_find_key(const char *name)
{
    for (int i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

/* No key is longer; longer input is compared by its beginning, which is enough for a suggestion. */
#define MAX_KEY_LENGTH 64

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Levenshtein's distance with two rows; capitals count as small letters. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[MAX_KEY_LENGTH + 1];
    size_t m = strnlen(a, MAX_KEY_LENGTH), n = strnlen(b, MAX_KEY_LENGTH);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t above = row[j];
            size_t best = diagonal + !same_letter(a[i - 1], b[j - 1]);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[n];
}

/* True when `letters` are the first letters of the words of `words`: "lr" of "learning_rate". */
static bool are_initials(const char *letters, const char *words)
{
    while (*letters && *words && same_letter(*letters, *words)) {
        const char *end = strchr(words, '_');
        letters++;
        words = end ? end + 1 : "";
    }
    return *letters == '\0' && *words == '\0';
}

/* How far `name` is from being `key`: one typing error, or a short form, or a part of it. */
static size_t distance_to(const char *name, const char *key)
{
    enum { SHORT_FORM = 1, PART = 2, LEAST_PART_LENGTH = 4 };
    size_t distance = edit_distance(name, key);
    if (distance > SHORT_FORM && (are_initials(key, name) || are_initials(name, key)))
        return SHORT_FORM;
    if (distance > PART && strlen(name) >= LEAST_PART_LENGTH && strcasestr(key, name))
        return PART;
    return distance;
}

void qd_config_nearest_name(const char *name, char nearest[QD_CONFIG_NAME_BYTES])
{
    size_t smallest = SIZE_MAX;
    for (int i = 0; i < KEY_COUNT; i++) {
        const char *key = keys[i].name, *dot = strchr(key, '.');
        size_t distance = distance_to(name, key), length = strlen(key);
        if (dot) {
            /* A nested key may be meant by its last part, and the object that holds it may be misspelt itself. */
            size_t tail = distance_to(name, dot + 1) + 1, section_length = (size_t)(dot - key);
            char section[QD_CONFIG_NAME_BYTES];
            snprintf(section, sizeof section, "%.*s", (int)section_length, key);
            size_t head = edit_distance(name, section);
            distance = tail < distance ? tail : distance;
            if (head < distance) {
                distance = head;
                length = section_length;
            }
        }
        if (distance < smallest) {
            smallest = distance;
            snprintf(nearest, QD_CONFIG_NAME_BYTES, "%.*s", (int)length, key);
        }
    }
}
