#include "cli/network_options.h"
#include "cli/cli.h"

enum { KEY_MODEL = 0x200, KEY_IMAGE_SIZE, KEY_NUM_CLASSES };

static const struct argp_option option_list[] = {
    {"model", KEY_MODEL, "NAME", 0, "resnet18, efficientnet_b0 or a variant (default: as the file says)", 0},
    {"image-size", KEY_IMAGE_SIZE, "PIXELS", 0, "Side of the images (default: as the file says, else 224)", 0},
    {"num-classes", KEY_NUM_CLASSES, "N", 0, "Classes (default: as the file says, or its head's shape)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    qd_network_config *config = state->input;
    switch (key) {
    case KEY_MODEL:
        config->model = arg;
        return 0;
    case KEY_IMAGE_SIZE:
        /* Networks of five halvings see nothing below 32; 4096 keeps sizes far from overflow. */
        config->image_size = cli_parse_int(state, "--image-size", arg, 32, 4096);
        return 0;
    case KEY_NUM_CLASSES:
        config->num_classes = cli_parse_int(state, "--num-classes", arg, 1, 100000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_network_argp = {.options = option_list, .parser = parse_option};
