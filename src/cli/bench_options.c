#include "cli/bench_options.h"
#include "cli/cli.h"

enum { KEY_MODEL = 0x300, KEY_BATCH, KEY_SIZE, KEY_STEPS };

static const struct argp_option option_list[] = {
    {"model", KEY_MODEL, "NAME", 0, "resnet18, efficientnet_b0 or a variant", 0},
    {"batch", KEY_BATCH, "N", 0, "Images a step (default 32)", 0},
    {"size", KEY_SIZE, "PIXELS", 0, "Side of the images (default 224)", 0},
    {"steps", KEY_STEPS, "K", 0, "Steps that count, after one that does not (default 5)", 0},
    {0},
};

qd_benchmark_config cli_bench_defaults(void)
{
    return (qd_benchmark_config){.training = true, .batch = 32, .image_size = 224, .steps = 5};
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    qd_benchmark_config *config = state->input;
    switch (key) {
    case KEY_MODEL:
        config->model = arg;
        return 0;
    case KEY_BATCH:
        config->batch = cli_parse_int(state, "--batch", arg, 1, 4096);
        return 0;
    case KEY_SIZE:
        /* Networks of five halvings see nothing below 32; 4096 keeps sizes far from overflow. */
        config->image_size = cli_parse_int(state, "--size", arg, 32, 4096);
        return 0;
    case KEY_STEPS:
        config->steps = cli_parse_int(state, "--steps", arg, 1, 100000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_bench_argp = {.options = option_list, .parser = parse_option};
