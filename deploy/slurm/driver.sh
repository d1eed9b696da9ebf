#!/bin/bash
# The driver of a run: a small job that submits the workers as jobs of their own and gives them work.
# sbatch driver.sh EXPERIMENT.yaml   (from the folder that holds .venv, or with LDAS_VENV=/path/to/.venv)
# Two minutes before its time is over, Slurm interrupts the run, which then cancels its worker jobs and ends with status
# 130. Submitted again, it resumes.
#SBATCH --job-name=ldas
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=1-00:00:00
#SBATCH --output=ldas-%j.log
#SBATCH --signal=B:INT@120
set -euo pipefail

experiment=${1:?usage: sbatch driver.sh EXPERIMENT.yaml}
# shellcheck disable=SC1091  # made by `make env`
source "${LDAS_VENV:-.venv}/bin/activate"
exec ldas run "$experiment" # in place of this shell, so that the signal reaches it
