#include "base/error.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>

typedef struct import_values {
    cli_common common;
    qd_network_config network;
    const char *out;
} import_values;

static const char *check(void *values)
{
    const import_values *v = values;
    if (!v->network.checkpoint)
        return "name a file of weights, such as resnet18.pth";
    return v->out ? NULL : "-o is missing: say where to write the checkpoint";
}

static enum qd_status import(qd_context *ctx, void *values)
{
    const import_values *v = values;
    qd_network *network = NULL;
    QD_TRY(qd_network_load(ctx, &v->network, &network));
    if (qd_network_is_quantized(network)) {
        qd_network_destroy(network);
        return qd_fail(
            ctx, QD_ERR_INPUT,
            "import: '%s' is a quantized model, no float weights; eval, inspect and bench infer take it as it is",
            v->network.checkpoint);
    }
    enum qd_status status = qd_network_save(network, v->out);
    if (status == QD_OK) {
        cli_print_network(network);
        printf(", %" PRId64 " parameters: ", qd_network_parameter_count(network));
        cli_print_padded(v->out, 0);
        putchar('\n');
    }
    qd_network_destroy(network);
    return status;
}

static const cli_option options[] = {
    {"output", 'o', "CHECKPOINT", "File to write (required)", CLI_TEXT(import_values, out)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_NETWORK_GROUP(offsetof(import_values, network))},
    .usage = "FILE",
    .argument = "file",
    .argument_at = offsetof(import_values, network.checkpoint),
    .doc = "Makes a checkpoint of weights that PyTorch saved: a .pth file with a state_dict (perhaps under "
           "'model_state_dict', 'state_dict' or 'model') or a safetensors file, under torchvision's names."
           "\vNothing in the file is executed. A prefix like 'module.' is stripped; heads of any size, "
           "torchvision's classifier.1 and the binary head are recognised.\n\n"
           "Example: quantdrift import resnet18.pth --model resnet18 -o resnet18.safetensors",
    .check = check,
    .run = import,
};

int cli_command_import(int argc, char **argv)
{
    import_values values = {.network = {.max_batch = 1}}; /* nothing is run here */
    return cli_run(&command, argc, argv, &values);
}
