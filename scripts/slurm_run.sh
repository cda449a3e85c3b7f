#!/bin/bash
# One run on many nodes of a Slurm cluster: sbatch scripts/slurm_run.sh experiments/imagewoof_divergence.json [OPTION...]
# What follows the experiment is handed to `quantdrift run`. Submitted again, it goes on where the last job stopped.
#SBATCH --job-name=quantdrift
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
# Twenty minutes before its time is up the batch script is told, so that the run ends with a checkpoint.
#SBATCH --signal=B:TERM@1200
set -euo pipefail

# Every process takes its part of each batch: batch_size of the experiment is that of all nodes together. The data folder
# must be the same on all of them. mpirun ends processes soon after it has told them to stop; writing a checkpoint takes longer.
mpirun --map-by "node:PE=$SLURM_CPUS_PER_TASK" --bind-to core --mca odls_base_sigkill_timeout 600 \
    build/gcc/quantdrift-mpi run "$@" --resume --set sync_batchnorm=true &
launcher=$!
trap 'kill -TERM "$launcher"' TERM
# The trap ends the first wait.
wait "$launcher" || wait "$launcher"
