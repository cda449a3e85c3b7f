/* Options of the subcommands that load a checkpoint. */
#ifndef QD_CLI_NETWORK_OPTIONS_H
#define QD_CLI_NETWORK_OPTIONS_H

#include <argp.h>
#include <quantdrift/network.h>

/* Child parser for --model, --image-size and --num-classes; its input is a qd_network_config. */
extern const struct argp cli_network_argp;

/* Heading of the options in --help. */
#define CLI_NETWORK_HEADING "Where the checkpoint does not say:"

#endif
