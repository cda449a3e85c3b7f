/* Options that subcommands share which load networks or choose scales. */
#ifndef QD_CLI_NETWORK_OPTIONS_H
#define QD_CLI_NETWORK_OPTIONS_H

#include "cli/options.h"
#include <quantdrift/network.h>
#include <quantdrift/recipe_settings.h>

/* A group of --model, --image-size and --num-classes, into the qd_network_config at `at`. */
#define CLI_NETWORK_GROUP(at)                                                                                        \
    {                                                                                                                \
        "Where the checkpoint does not say:", cli_network_options, at, NULL                                          \
    }
extern const cli_option cli_network_options[];

/* A group of --data, --calibration-images and --calibration-seed, and one of every key of a recipe, into the
 * cli_scales that is a member of the command's values. */
#define CLI_SCALES_GROUPS(type, member)                                                                              \
    {"Which images choose the scales:", cli_scale_options, offsetof(type, member), NULL},                            \
    {                                                                                                                \
        "How it is quantized (experiments/README.md tells more):", NULL, offsetof(type, member.recipe), NULL         \
    }

/* The same with those keys alone that name a scheme of one calibrator. */
#define CLI_SCHEME_GROUPS(type, member)                                                                              \
    {"Which images choose the scales:", cli_scale_options, offsetof(type, member), NULL},                            \
    {                                                                                                                \
        "How it is quantized:", NULL, offsetof(type, member.recipe), cli_scheme_keys                                 \
    }
extern const char *const cli_scheme_keys[];
extern const cli_option cli_scale_options[];

typedef struct cli_scales {
    cli_settings recipe;
    const char *data;
    int64_t images, seed;
    qd_quantize_options quantize; /* this and the next are filled by cli_open_calibration() */
    qd_recipe_settings *settings;
    qd_dataset *dataset;
} cli_scales;

/* Reads the recipe, and opens DIR/train, or DIR when it has no such folder, as the images that choose scales; none
 * without --data. cli_close_calibration() frees all that, also after a failure. Errors: qd_recipe_settings_set()'s,
 * qd_dataset_open()'s. */
enum qd_status cli_open_calibration(qd_context *ctx, cli_scales *scales);
void cli_close_calibration(cli_scales *scales);

/* "ResNet18 for 10 classes at 224 px", printed. */
void cli_print_network(const qd_network *network);

#endif
