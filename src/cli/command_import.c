#include "cli/cli.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>

typedef struct import_options {
    cli_common common;
    qd_network_config network;
    const char *out;
} import_options;

static const struct argp_option option_list[] = {
    {"output", 'o', "CHECKPOINT", 0, "File to write (required)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    import_options *options = state->input;
    switch (key) {
    case 'o':
        options->out = arg;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->network;
        state->child_inputs[1] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->network.checkpoint)
            argp_error(state, "one file at a time: '%s' is too much", arg);
        options->network.checkpoint = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->network.checkpoint)
            argp_error(state, "name a file of weights, such as resnet18.pth");
        if (!options->out)
            argp_error(state, "-o is missing: say where to write the checkpoint");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum qd_status import(qd_context *ctx, const import_options *options)
{
    qd_network *network = NULL;
    QD_TRY(qd_network_load(ctx, &options->network, &network));
    enum qd_status status = qd_network_save(network, options->out);
    if (status == QD_OK) {
        printf(
            "%s for %" PRId64 " classes at %" PRId64 " px, %" PRId64 " parameters: ", qd_network_model_name(network),
            qd_network_class_count(network), qd_network_image_size(network), qd_network_parameter_count(network));
        cli_print_padded(options->out, 0);
        putchar('\n');
    }
    qd_network_destroy(network);
    return status;
}

int cli_command_import(int argc, char **argv)
{
    const struct argp_child children[] = {
        {&cli_network_argp, 0, CLI_NETWORK_HEADING, 1}, {&cli_common_argp, 0, "Common options:", 2}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "FILE",
        .doc = "Makes a checkpoint of weights that PyTorch saved: a .pth file with a state_dict (perhaps under "
               "'model_state_dict', 'state_dict' or 'model') or a safetensors file, under torchvision's names."
               "\vNothing in the file is executed. A prefix like 'module.' is stripped; heads of any size, "
               "torchvision's classifier.1 and the binary head are recognised.\n\n"
               "Example: quantdrift import resnet18.pth --model resnet18 -o resnet18.safetensors",
        .children = children,
    };
    import_options options = {.network = {.max_batch = 1}}; /* nothing is run here */
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    int code = cli_report(ctx, import(ctx, &options));
    qd_context_destroy(ctx);
    return code;
}
