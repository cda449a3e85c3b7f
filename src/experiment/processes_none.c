/* A build without MPI: every process is alone. */
#include "base/error.h"
#include "experiment/data_parallel.h"
#include <stddef.h>

enum qd_status qd_processes_join(qd_context *ctx, const volatile int *interrupt, qd_processes **out)
{
    (void)interrupt;
    (void)out;
    return qd_fail(
        ctx, QD_ERR_USAGE,
        "started as one of several processes, but this program was built without MPI and each would do the "
        "whole work; build it with `make MPI=1`, or start it once");
}

void qd_processes_leave(qd_processes *processes)
{
    (void)processes;
}

int qd_processes_rank(const qd_processes *processes)
{
    (void)processes;
    return 0;
}

int qd_processes_count(const qd_processes *processes)
{
    (void)processes;
    return 1;
}

const qd_communicator *qd_processes_communicator(const qd_processes *processes)
{
    (void)processes;
    return NULL;
}
