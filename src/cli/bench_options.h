/* Options of the subcommands that measure speed. */
#ifndef QD_CLI_BENCH_OPTIONS_H
#define QD_CLI_BENCH_OPTIONS_H

#include <argp.h>
#include <quantdrift/benchmark.h>

/* Child parser for --model, --batch, --size and --steps; its input is a qd_benchmark_config with the defaults of
 * cli_bench_defaults(). --model may be missing: the caller decides. */
extern const struct argp cli_bench_argp;

qd_benchmark_config cli_bench_defaults(void);

#endif
