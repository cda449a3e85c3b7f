/* The processes of one data-parallel training, started together by mpirun or srun. Built in with `make MPI=1`. */
#ifndef QUANTDRIFT_PROCESSES_H
#define QUANTDRIFT_PROCESSES_H

#include <quantdrift/context.h>

typedef struct qd_processes qd_processes;

/*
 * Joins the processes that were started together; all of them call this, once in a process's life, before they
 * compute. `interrupt` as in qd_run_options: non-zero makes a process look closer at whether the others are still
 * there. Errors: QD_ERR_USAGE (a build without MPI), QD_ERR_IO, QD_ERR_MEMORY. Only the calling thread may use it.
 */
enum qd_status qd_processes_join(qd_context *ctx, const volatile int *interrupt, qd_processes **out);

/* Ends it, together with the others where none is gone; NULL is accepted. */
void qd_processes_leave(qd_processes *processes);

/* QD_OK when every process brings QD_OK; else in all of them status and sentence of the first that does not. NULL:
 * `status`. */
enum qd_status qd_processes_agree(qd_context *ctx, const qd_processes *processes, enum qd_status status);

/* 0 for the one that leads: it reads, writes and reports. */
int qd_processes_rank(const qd_processes *processes);
int qd_processes_count(const qd_processes *processes);

#endif
