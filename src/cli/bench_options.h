/* Options of the subcommands that measure speed. */
#ifndef QD_CLI_BENCH_OPTIONS_H
#define QD_CLI_BENCH_OPTIONS_H

#include "cli/options.h"
#include <quantdrift/benchmark.h>

/* A group of --model, --batch, --size and --steps, into the qd_benchmark_config at `offset`, with the defaults of
 * cli_bench_defaults(). */
#define CLI_BENCH_GROUP(offset)                                                                                      \
    {                                                                                                                \
        .heading = "What to measure:", .options = cli_bench_options, .at = (offset)                                  \
    }
extern const cli_option cli_bench_options[];

qd_benchmark_config cli_bench_defaults(void);

#endif
