#!/bin/bash
# A grid as a job array of a Slurm cluster, one run a job on a node of its own, each in one process:
#   sbatch --array=1-21 scripts/slurm_grid.sh experiments/causes.json [OPTION...]
# `quantdrift run experiments/causes.json --dry-run` lists the runs in the order of their numbers. Submitted again, complete
# runs are skipped and interrupted ones go on. `quantdrift status results/causes` tells what became of them.
#SBATCH --job-name=quantdrift-grid
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@1200
set -euo pipefail

exec srun --cpu-bind=cores build/gcc/quantdrift run "$@" --only "$SLURM_ARRAY_TASK_ID" --resume
