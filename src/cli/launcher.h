/* Whether mpirun or srun started this program several times over. */
#ifndef QD_CLI_LAUNCHER_H
#define QD_CLI_LAUNCHER_H

/* Processes of the job step this one belongs to; 1 when it was started by itself. */
int cli_launched_processes(void);

#endif
