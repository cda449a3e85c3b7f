/* What `eval` found, as tables and as JSON. */
#ifndef QD_CLI_EVAL_REPORT_H
#define QD_CLI_EVAL_REPORT_H

#include <quantdrift/evaluation.h>
#include <quantdrift/network.h>

/* Letters stand for files in the tables. */
#define CLI_EVAL_MAX_FILES 26

/* One file's run over the images. */
typedef struct cli_evaluated {
    const char *path;  /* borrowed from argv */
    const char *model; /* "ResNet18", static */
    int64_t image_size;
    bool quantized;
    int64_t *predicted; /* [images], owned */
    qd_evaluation result;
} cli_evaluated;

typedef struct cli_eval_report {
    const qd_dataset *dataset;
    const cli_evaluated *networks; /* the first is what the others are compared with */
    int count;
    const qd_grouping *grouping; /* NULL: none wanted */
} cli_eval_report;

/* Prints to standard output. Errors: QD_ERR_MEMORY. */
enum qd_status cli_eval_print(qd_context *ctx, const cli_eval_report *report);

/* Errors: QD_ERR_MEMORY, QD_ERR_IO. */
enum qd_status cli_eval_write_json(qd_context *ctx, const cli_eval_report *report, const char *path);

#endif
