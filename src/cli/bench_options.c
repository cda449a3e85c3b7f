#include "cli/bench_options.h"

const cli_option cli_bench_options[] = {
    {"model", 0, "NAME", "resnet18, efficientnet_b0 or a variant", CLI_TEXT(qd_benchmark_config, model)},
    {"batch", 0, "N", "Images a step (default 32)", CLI_INT(qd_benchmark_config, batch, 1, 4096)},
    {"size", 0, "PIXELS", "Side of the images (default 224)",
     CLI_INT(qd_benchmark_config, image_size, CLI_MIN_IMAGE_SIZE, CLI_MAX_IMAGE_SIZE)},
    {"steps", 0, "K", "Steps that count, after one that does not (default 5)",
     CLI_INT(qd_benchmark_config, steps, 1, 100000)},
    {0},
};

qd_benchmark_config cli_bench_defaults(void)
{
    return (qd_benchmark_config){.training = true, .batch = 32, .image_size = 224, .steps = 5};
}
