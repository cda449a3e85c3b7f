/* `quantdrift bench infer`: options and tables of its own. */
#ifndef QD_CLI_BENCH_INFER_H
#define QD_CLI_BENCH_INFER_H

/* argv[0] is "infer". Returns the exit code. */
int cli_bench_infer(int argc, char **argv);

#endif
