/* Options that subcommands share which load networks or choose scales. */
#ifndef QD_CLI_NETWORK_OPTIONS_H
#define QD_CLI_NETWORK_OPTIONS_H

#include "cli/options.h"
#include <quantdrift/network.h>

/* A group of --model, --image-size and --num-classes, into the qd_network_config at `at`. */
#define CLI_NETWORK_GROUP(at)                                                                                        \
    {                                                                                                                \
        "Where the checkpoint does not say:", cli_network_options, at                                                \
    }
extern const cli_option cli_network_options[];

/* A group of --data, --calibration-images, --calibration-seed, --per-channel and --unsigned, into the cli_scales at
 * `at`. */
#define CLI_SCALES_GROUP(at)                                                                                         \
    {                                                                                                                \
        "What chooses the scales:", cli_scale_options, at                                                            \
    }
extern const cli_option cli_scale_options[];

typedef struct cli_scales {
    qd_quantize_options quantize; /* its images are opened by cli_open_calibration() */
    const char *data;
    int64_t images, seed;
} cli_scales;

/* Opens DIR/train, or DIR when it has no such folder, as the images that choose scales; *out NULL without --data. The
 * caller frees it with qd_dataset_destroy() behind the last use of `scales->quantize`. Errors: qd_dataset_open()'s.
 */
enum qd_status cli_open_calibration(qd_context *ctx, cli_scales *scales, qd_dataset **out);

/* "ResNet18 for 10 classes at 224 px", printed. */
void cli_print_network(const qd_network *network);

#endif
