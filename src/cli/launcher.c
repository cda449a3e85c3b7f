#include "cli/launcher.h"
#include <limits.h>
#include <stdlib.h>

static int number_in(const char *variable)
{
    const char *text = getenv(variable);
    if (!text)
        return 0;
    char *end = NULL;
    const long value = strtol(text, &end, 10);
    return end != text && *end == '\0' && value > 0 && value < INT_MAX ? (int)value : 0;
}

int cli_launched_processes(void)
{
    /* Open MPI's mpirun; MPICH's and Intel's, and srun --mpi=pmi2; srun --mpi=pmix, whose tasks Slurm counts. A plain
     * srun starts tasks that are no MPI processes. */
    int count = number_in("OMPI_COMM_WORLD_SIZE");
    if (count == 0)
        count = number_in("PMI_SIZE");
    if (count == 0 && getenv("PMIX_RANK"))
        count = number_in("SLURM_STEP_NUM_TASKS");
    return count > 0 ? count : 1;
}
